"""Mistakes that make a classifier look robust, or an attack strong, without any error."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.linear import Linear

from jaxvision.attacks import (
    apgd,
    balls,
    budgets,
    ensemble,
    loops,
    minimal,
    networks,
    objectives,
    pgd,
    square,
)
from jaxvision.core.errors import UserError
from jaxvision.core.task import Network

pytestmark = pytest.mark.usefixtures('short_blocks')

ATTACKS = {
    'pgd': functools.partial(pgd.pgd, steps=2, restarts=2, momentum=0.9),
    'apgd-t': functools.partial(apgd.apgd_targeted, steps=2),
    'fab-t': functools.partial(minimal.fab_targeted, steps=1, restarts=2),
    'square': functools.partial(square.square, steps=10),
}


def _wavy(weights, images):
    first, second = weights
    hidden = jnp.tanh((images.reshape(len(images), -1) - 0.5) @ first)
    return hidden @ second


def wavy(seed=0, count=6, pixels=16, classes=5):
    """(logits, images, labels, keys) of a small network that is not linear."""
    rng = np.random.default_rng(seed)
    weights = (
        jnp.asarray(rng.normal(size=(pixels, 12))),
        jnp.asarray(3 * rng.normal(size=(12, classes))),
    )
    side = int(pixels**0.5)
    images = jnp.asarray(rng.uniform(0.1, 0.9, (count, side, side, 1)))
    logits = jax.tree_util.Partial(_wavy, weights)
    labels = logits(images).argmax(-1).astype(jnp.int32)
    keys = jax.vmap(jax.random.key)(jnp.arange(count))
    return logits, images, labels, keys


@pytest.mark.parametrize('attack', ATTACKS)
def test_an_image_is_attacked_as_beside_other_images_and_under_jit(attack):
    """Fault 3: nothing of a neighbour enters, such as batch statistics."""
    with jax.enable_x64(True):
        logits, images, labels, keys = wavy()
        attack = functools.partial(ATTACKS[attack], eps=0.1, norm='linf')
        whole = attack(logits, images, labels, keys)
        order = jnp.array([3, 0, 0, 5, 1, 1])
        others = attack(logits, images[order], labels[order], keys[order])
        compiled = jax.jit(attack)(logits, images, labels, keys)
    for actual, expected in zip(others, whole, strict=True):
        np.testing.assert_allclose(actual, expected[order], atol=1e-9)
    for actual, expected in zip(compiled, whole, strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-9)
    assert not np.array_equal(whole.images, images)


def test_an_image_is_attacked_alone_as_in_a_batch():
    """Fault 7: a mean over the batch would make its momentum smaller."""
    with jax.enable_x64(True):
        logits, images, labels, keys = wavy()
        attack = functools.partial(ATTACKS['pgd'], eps=0.1, norm='linf')
        whole = attack(logits, images, labels, keys)
        row = slice(3, 4)
        alone = attack(logits, images[row], labels[row], keys[row])
    np.testing.assert_allclose(alone.images, whole.images[row], atol=1e-9)
    np.testing.assert_array_equal(alone.success, whole.success[row])


@pytest.mark.parametrize('norm', ['linf', 'l2'])
def test_eps_is_measured_in_pixels_and_not_in_normalised_values(norm):
    """Fault 1."""
    linear = Linear(classes=2)

    def normalize(pixels):
        return (pixels - 0.5) / 0.05

    def apply(variables, inputs):
        return inputs.reshape(len(inputs), -1) @ variables, {}

    network = Network(normalize=normalize, apply=apply)
    weights = jnp.asarray(linear.weights, jnp.float32)
    _, images, labels, keys = linear.arguments()
    logits = networks.logits_of(network, weights)
    np.testing.assert_allclose(
        logits(images), 20 * linear.logits(images), rtol=1e-4, atol=1e-4
    )
    images = pgd.pgd(logits, images, labels, keys, eps=8 / 255, norm=norm).images
    lengths = balls.distance(images, jnp.asarray(linear.images, jnp.float32), norm)
    np.testing.assert_allclose(lengths, 8 / 255, rtol=1e-3)


@pytest.mark.parametrize('value', ['8', 8, 8.0, '1.5', 'nan', '-1/255', 'much', '1/0'])
def test_an_eps_in_units_of_255_is_refused(value):
    """Fault 2."""
    with pytest.raises(UserError, match=r'--eps=.*expected'):
        budgets.parse_eps('--eps', value)
    if str(value) == '8':
        with pytest.raises(UserError, match='Write 8/255'):
            budgets.parse_eps('--eps', value)


def test_eps_may_be_a_fraction_or_a_number():
    assert budgets.parse_eps('eps', '8/255') == 8 / 255
    assert budgets.parse_eps('eps', 0.3) == budgets.parse_eps('eps', ' 0.3 ') == 0.3
    assert budgets.parse_eps('eps', '2.5', 'l2') == 2.5
    assert budgets.parse_eps('eps', 0) == 0


@pytest.mark.parametrize('norm', ['linf', 'l2'])
def test_random_starts_differ_between_images_and_restarts_and_fill_the_ball(norm):
    """Fault 5."""
    images = jnp.full((400, 2, 2, 1), 0.5)
    keys = jax.vmap(jax.random.key)(jnp.arange(400))
    start = functools.partial(balls.random_start, originals=images, eps=0.1, norm=norm)
    starts = start(keys)
    assert len(np.unique(np.asarray(starts)[:, 0, 0, 0])) > 390
    again = start(loops.restart_keys(keys, 1))
    assert not np.any(np.asarray(starts) == np.asarray(again))
    np.testing.assert_allclose(starts.mean(), 0.5, atol=0.01)
    # In four dimensions the norm of a uniform point is 4/5 of the radius on average.
    lengths = balls.distance(starts, images, norm)
    assert lengths.max() <= 0.1 + 1e-6
    np.testing.assert_allclose(lengths.mean(), 0.08, atol=0.003)


def test_an_attack_begins_at_random_unless_told_otherwise():
    """Fault 5: a classifier without a gradient shows the start."""
    linear = Linear(classes=2)
    _, images, labels, keys = linear.arguments()
    flat = jax.tree_util.Partial(lambda images: jnp.zeros((len(images), 2)))
    attack = functools.partial(pgd.pgd, flat, images, labels, keys, eps=0.1)
    np.testing.assert_array_equal(attack(start='original', keep='last').images, images)
    moved = np.abs(attack(keep='last').images - images).max((1, 2, 3))
    assert moved.min() > 0.02
    assert len(np.unique(moved)) == len(moved)


@pytest.mark.parametrize('norm', ['linf', 'l2'])
@pytest.mark.parametrize('eps', [8 / 255, 0.05])
def test_rounding_to_8_bits_stays_in_the_ball_and_survives_a_file(norm, eps):
    """Fault 6."""
    rng = np.random.default_rng(0)
    originals = jnp.asarray(rng.integers(0, 256, (20, 4, 4, 3)) / 255, jnp.float32)
    change = jnp.asarray(rng.uniform(-1, 1, originals.shape), jnp.float32)
    images = balls.project(originals + change, originals, eps, norm)
    rounded = balls.to_8_bits(images, originals, eps, norm)
    assert balls.distance(rounded, originals, norm).max() <= eps + 1e-6
    stored = np.round(np.asarray(rounded) * 255).astype(np.uint8)
    np.testing.assert_allclose(stored.astype(np.float32) / 255, rounded, atol=1e-7)
    assert np.abs(rounded - images).max() <= 1 / 255 + 1e-6
    whole = balls.project(originals + jnp.sign(change), originals, 8 / 255, 'linf')
    kept = balls.to_8_bits(whole, originals, 8 / 255, 'linf')
    np.testing.assert_allclose(kept, whole, atol=1e-6)


def test_gradients_are_sums_over_a_batch_and_of_logits():
    """Fault 7: the gradient of the cross-entropy of a linear model in closed form."""
    linear = Linear(classes=3)
    logits, images, labels, _ = linear.arguments()
    gradient, values, outputs = objectives.differentiate(
        logits, objectives.cross_entropy, images, labels, labels
    )
    scores = linear.scores()
    exponentials = np.exp(scores)
    probabilities = exponentials / exponentials.sum(-1, keepdims=True)
    one_hot = np.eye(3)[linear.labels]
    expected = (probabilities - one_hot) @ linear.weights.T
    np.testing.assert_allclose(
        gradient.reshape(expected.shape), expected, rtol=1e-3, atol=1e-5
    )
    np.testing.assert_allclose(
        values, -np.log(probabilities[one_hot > 0]), rtol=1e-3, atol=1e-5
    )
    np.testing.assert_allclose(outputs, scores, rtol=1e-3, atol=1e-4)


def test_a_confident_prediction_keeps_its_exact_direction():
    """Where the probability of the label rounds to 1, and its difference to 1 to 0."""
    logits = jnp.array([[30.0, 1.0, 0.0]])
    labels = jnp.array([0])
    derive = jax.jit(jax.jacobian(objectives.cross_entropy))
    gradient = derive(logits, labels, labels)[0, 0]
    expected = np.exp([1.0 - 30, 0.0 - 30])
    np.testing.assert_allclose(gradient[1:], expected, rtol=1e-5)
    np.testing.assert_allclose(gradient[0], -expected.sum(), rtol=1e-5)


def test_tiny_gradients_still_have_a_direction():
    gradient = jnp.full((1, 2, 2, 1), 1e-30, jnp.float32)
    np.testing.assert_allclose(balls.steepest(gradient, 'l2'), 0.5)
    np.testing.assert_array_equal(balls.steepest(gradient, 'linf'), 1)


def test_a_gradient_that_is_not_a_number_is_no_success():
    def broken(images):
        # The slope of the root is infinite at 0, times 0.
        mean = images.mean((1, 2, 3))
        return jnp.stack([1 + jnp.sqrt(0 * mean), 0 * mean], -1)

    images = jnp.full((2, 2, 2, 1), 0.5)
    keys = jax.vmap(jax.random.key)(jnp.arange(2))
    labels = jnp.zeros(2, jnp.int32)
    attacked = pgd.pgd(broken, images, labels, keys, eps=0.1)
    assert not attacked.success.any()
    assert np.isfinite(attacked.images).all()


def test_robust_accuracy_counts_wrong_originals_as_errors():
    """Fault 8."""
    linear = Linear(classes=2)
    logits, images, labels, keys = linear.arguments()
    labels = labels.at[:3].set(1 - labels[:3])
    eps = linear.middle_eps('linf')
    attack = functools.partial(pgd.pgd, eps=eps)
    stages = [ensemble.Stage('pgd', attack)]
    outcome = ensemble.run(
        stages, logits, np.asarray(images), np.asarray(labels), keys, batch_size=5
    )
    stands = linear.critical('linf') > eps
    stands[:3] = False
    np.testing.assert_array_equal(outcome.stands, stands)
    assert outcome.robust_accuracy == stands.mean()
    assert outcome.accuracy == 0.75


def _peak(images):
    """Class 1 in a narrow band: a step goes beyond it, and the gradient leads back."""
    mean = images.mean((1, 2, 3))
    height = 0.5 - jnp.square((mean - 0.53) / 0.02)
    return jnp.stack([jnp.zeros_like(mean), height], -1)


def test_the_best_iterate_is_kept_and_not_the_last():
    """Fault 9."""
    images = jnp.full((1, 2, 2, 1), 0.5)
    labels = jnp.zeros(1, jnp.int32)
    keys = jax.random.split(jax.random.key(0), 1)
    attack = functools.partial(
        pgd.pgd, _peak, images, labels, keys, eps=0.1, start='original', steps=2
    )
    assert attack(step_size=0.025, keep='last').success.tolist() == [False]
    attacked = attack(step_size=0.025)
    assert attacked.success.tolist() == [True]
    np.testing.assert_allclose(attacked.images, 0.525, atol=1e-6)


def test_a_step_that_helps_the_classifier_is_not_taken():
    """Fault 10: where the step reveals the label, a wrong original must stay wrong."""
    images = jnp.full((1, 2, 2, 1), 0.53)
    keys = jax.random.split(jax.random.key(0), 1)
    labels = jnp.zeros(1, jnp.int32)
    assert objectives.is_wrong(_peak(images), labels).all()
    attack = functools.partial(pgd.fgsm, _peak, images + 0.001, labels, keys, eps=0.1)
    assert attack(keep='last').success.tolist() == [False]
    attacked = attack()
    assert attacked.success.tolist() == [True]
    np.testing.assert_array_equal(attacked.images, images + 0.001)


@pytest.mark.parametrize('norm', ['linf', 'l2'])
def test_projections_obey_the_ball_and_the_pixels_at_once(norm):
    """Fault 11, at corners of [0, 1]."""
    rng = np.random.default_rng(0)
    originals = jnp.asarray(rng.integers(0, 2, (50, 3, 3, 1)), jnp.float32)
    images = originals + jnp.asarray(rng.normal(size=originals.shape), jnp.float32)
    projected = balls.project(images, originals, 0.3, norm)
    assert projected.min() >= 0 and projected.max() <= 1
    lengths = balls.distance(projected, originals, norm)
    assert lengths.max() <= 0.3 + 1e-6
    # No part of the length is wasted on changes that [0, 1] forbids.
    np.testing.assert_allclose(lengths, 0.3, rtol=1e-5)
    inside = balls.project(projected, originals, 0.3, norm)
    np.testing.assert_allclose(inside, projected, atol=1e-7)


def test_targets_are_approached_and_labels_are_left():
    """Fault 12: the signs of all objectives."""
    logits = jnp.array([[2.0, 1.0, 0.0, -1.0]])
    labels = jnp.array([0])
    targets = jnp.array([1])
    for objective, toward in [
        (objectives.cross_entropy, [-1, 1, 1, 1]),
        (objectives.margin, [-1, 1, 0, 0]),
        (objectives.dlr, [-1, 1, None, 0]),
        (objectives.targeted_cross_entropy, [-1, 1, -1, -1]),
        (objectives.targeted_margin, [-1, 1, 0, 0]),
        (objectives.targeted_dlr, [-1, 1, None, None]),
    ]:
        gradient = jax.jit(jax.jacobian(objective))(logits, labels, targets)
        for value, sign in zip(gradient[0, 0], toward, strict=True):
            assert sign is None or np.sign(value) == sign, objective


def test_the_ratio_of_logits_equals_its_definition():
    logits = jnp.array([[4.0, 1.0, 3.0, -1.0, 0.0]])
    labels, targets = jnp.array([2]), jnp.array([4])
    np.testing.assert_allclose(objectives.dlr(logits, labels, targets), (4 - 3) / 3)
    np.testing.assert_allclose(
        objectives.targeted_dlr(logits, labels, targets), (0 - 3) / (4 - 0.5)
    )
    with pytest.raises(ValueError, match='expected 4 or more'):
        objectives.targeted_dlr(logits[:, :3], labels, targets)


def test_an_infinite_logit_or_a_nan_is_judged_as_the_metrics_do():
    logits = jnp.array([[1.0, 1.0], [jnp.nan, 0.0], [-jnp.inf, 0.0], [1.0, 1.0]])
    wrong = objectives.is_wrong(logits, jnp.array([0, 1, 1, 1]))
    np.testing.assert_array_equal(wrong, [False, True, False, True])
