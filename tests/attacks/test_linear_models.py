"""Attacks on linear classifiers: an image is robust iff its margin exceeds eps * dual norm."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.linear import Linear

from jaxvision.attacks import (
    apgd,
    balls,
    carlini_wagner,
    minimal,
    objectives,
    pgd,
    square,
)

pytestmark = pytest.mark.usefixtures('float64', 'short_blocks')


# Two classes: the gradient points straight to the boundary.
BINARY = {
    'fgsm': pgd.fgsm,
    'pgd': functools.partial(pgd.pgd, steps=10),
    'apgd': functools.partial(apgd.apgd, steps=20),
}
ONCE = {
    'momentum': functools.partial(
        pgd.pgd, steps=10, momentum=1.0, objective=objectives.margin
    ),
}


@pytest.mark.parametrize(
    ('attack', 'norm'),
    [(attack, norm) for norm in ('linf', 'l2') for attack in BINARY]
    + [(attack, 'linf') for attack in ONCE],
)
def test_two_classes_are_robust_exactly_where_the_margin_says_so(attack, norm):
    linear = Linear(classes=2)
    eps = linear.middle_eps(norm)
    images, success = (BINARY | ONCE)[attack](*linear.arguments(), eps=eps, norm=norm)
    expected = linear.critical(norm) < eps
    assert 0 < expected.sum() < len(expected)
    np.testing.assert_array_equal(success, expected)
    wrong = objectives.is_wrong(linear.logits(images), jnp.asarray(linear.labels))
    np.testing.assert_array_equal(wrong, expected)
    lengths = balls.distance(images, jnp.asarray(linear.images), norm)
    assert lengths.max() <= eps * (1 + 1e-9)


@pytest.mark.parametrize('norm', ['linf', 'l2'])
@pytest.mark.parametrize('attack', [apgd.apgd_targeted, minimal.fab_targeted])
def test_targets_of_all_ranks_together_find_every_fragile_image(attack, norm):
    linear = Linear(classes=4, seed=1)
    eps = linear.middle_eps(norm)
    attack = functools.partial(attack, eps=eps, norm=norm, steps=20)
    success = [attack(*linear.arguments(), rank=rank).success for rank in (1, 2, 3)]
    expected = linear.critical(norm) < eps
    np.testing.assert_array_equal(np.any(success, axis=0), expected)


@pytest.mark.parametrize('norm', ['linf', 'l2'])
@pytest.mark.parametrize('attack', [minimal.fab, minimal.deepfool])
def test_the_smallest_perturbations_equal_the_closed_form(attack, norm):
    linear = Linear(classes=4, channels=3, seed=2)
    images, success = attack(*linear.arguments(), norm=norm, steps=20)
    assert success.all()
    lengths = balls.distance(images, jnp.asarray(linear.images), norm)
    np.testing.assert_allclose(lengths, linear.critical(norm), rtol=1e-4)


def test_carlini_and_wagner_find_the_shortest_perturbations():
    linear = Linear(classes=4, seed=2)
    images, success = carlini_wagner.carlini_wagner(*linear.arguments())
    assert success.all()
    lengths = balls.distance(images, jnp.asarray(linear.images), 'l2')
    np.testing.assert_allclose(lengths, linear.critical('l2'), rtol=1e-4)
    eps = linear.middle_eps('l2')
    images, success = carlini_wagner.carlini_wagner(*linear.arguments(), eps=eps)
    np.testing.assert_array_equal(success, linear.critical('l2') < eps)
    kept = np.asarray(images)[~np.asarray(success)]
    np.testing.assert_array_equal(kept, linear.images[~np.asarray(success)])


def test_carlini_and_wagner_raise_black_pixels():
    """Closed form: the weights of pixels of 0 count where they are positive."""
    linear = Linear(classes=4, seed=2)
    linear.images[:, ::2, ::2] = 0.0
    linear.labels = linear.scores().argmax(-1)
    logits, originals, labels, keys = linear.arguments()
    shortest = np.full(len(labels), np.inf)
    for row, label in enumerate(linear.labels):
        scores = linear.scores()[row]
        pixels = linear.images[row].ravel()
        for other in set(range(4)) - {label}:
            slope = linear.weights[:, other] - linear.weights[:, label]
            slope = np.where(pixels > 0, slope, np.maximum(slope, 0))
            change = (scores[label] - scores[other]) * slope / (slope @ slope)
            length = np.linalg.norm(change)
            if length < shortest[row]:
                shortest[row] = length
                nearest = pixels + change
        assert nearest.min() >= 0 and nearest.max() <= 1
    images, success = carlini_wagner.carlini_wagner(logits, originals, labels, keys)
    assert success.all()
    lengths = balls.distance(images, originals, 'l2')
    np.testing.assert_allclose(lengths, shortest, rtol=0.01)


def test_square_finds_the_corner_of_the_cube():
    linear = Linear(classes=2)
    eps = linear.middle_eps('linf')
    success = square.square(*linear.arguments(), eps=eps, steps=500).success
    np.testing.assert_array_equal(success, linear.critical('linf') < eps)


def test_square_in_l2_breaks_the_most_fragile_images_and_no_robust_one():
    linear = Linear(classes=2, side=6, count=24)
    critical = linear.critical('l2')
    eps = float(np.quantile(critical, 0.9))
    images, success = square.square(*linear.arguments(), eps=eps, norm='l2', steps=500)
    assert success[critical < eps / 2].all()
    assert not success[critical > eps].any()
    lengths = balls.distance(images, jnp.asarray(linear.images), 'l2')
    assert lengths.max() <= eps * (1 + 1e-9)


@pytest.mark.parametrize(
    'attack',
    [pgd.pgd, functools.partial(square.square, steps=500)],
)
def test_a_targeted_attack_reaches_its_target_and_no_other_class(attack):
    linear = Linear(classes=2)
    logits, images, labels, keys = linear.arguments()
    targets = 1 - labels
    eps = linear.middle_eps('linf')
    attacked = attack(logits, images, labels, keys, eps=eps, targets=targets)
    np.testing.assert_array_equal(attacked.success, linear.critical('linf') < eps)
    # Towards the predicted class every image is a success, and goes away from the boundary.
    attacked = attack(logits, images, labels, keys, eps=eps, targets=labels)
    assert attacked.success.all()
    np.testing.assert_array_equal(logits(attacked.images).argmax(-1), labels)
