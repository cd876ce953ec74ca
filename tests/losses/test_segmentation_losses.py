"""Losses of segmentation against PyTorch's, against NumPy, and the rules for ignored pixels."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from jaxvision.losses import segmentation as losses

CLASSES = 4
WEIGHTS = jnp.array([0.5, 2.0, 1.0, 3.0])
LOSSES = {
    'cross_entropy': losses.cross_entropy,
    'weighted': functools.partial(losses.cross_entropy, class_weights=WEIGHTS),
    'focal': functools.partial(losses.focal, class_weights=WEIGHTS),
    'focal_root': functools.partial(losses.focal, gamma=0.5),
    'dice': losses.dice,
    'dice_smooth': functools.partial(losses.dice, smooth=1.0),
    'tversky': losses.tversky,
    'lovasz': losses.lovasz,
    'boundary': lambda logits, labels: losses.boundary(
        logits, labels, distance_of(labels, CLASSES)
    ),
}
every_loss = pytest.mark.parametrize('name', LOSSES)


def distance_of(labels, classes):
    """Stand-in for `signed_distances` that can be traced: known at each labelled pixel."""
    numbers = jnp.arange(classes)
    near = jnp.where(labels[..., None] == numbers, -0.5, 1.0 + numbers)
    return jnp.where(labels[..., None] == 255, 1e6, near).astype(jnp.float32)


def mean_of(name):
    """The compiled mean of a loss over an image, and its gradient."""

    def mean(logits, labels):
        value, weight = LOSSES[name](logits, labels)
        return value / jnp.where(weight == 0, 1, weight), weight

    return jax.jit(jax.value_and_grad(mean, has_aux=True))


MEANS = {name: mean_of(name) for name in LOSSES}


def image(seed, height=6, width=7, ignored=0.2):
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(height, width, CLASSES)).astype(np.float32)
    labels = rng.integers(0, CLASSES, (height, width)).astype(np.uint8)
    labels[rng.uniform(size=labels.shape) < ignored] = losses.IGNORED
    return logits, labels


@pytest.fixture(scope='module')
def stored():
    with np.load(Path(__file__).with_name('segmentation.npz')) as arrays:
        return dict(arrays)


@pytest.mark.parametrize('number', [0, 1, 2])
@pytest.mark.parametrize(
    'name',
    ['cross_entropy', 'weighted', 'dice', 'dice_smooth', 'tversky', 'lovasz'],
)
def test_losses_equal_those_of_pytorch_libraries(stored, name, number):
    labels = stored[f'labels_{number}']
    (value, _), gradient = MEANS[name](stored[f'logits_{number}'], labels)
    factor = 1
    if name.startswith(('dice', 'tversky')):
        # segmentation_models_pytorch counts absent classes as 0 in the mean.
        factor = CLASSES / len(set(labels.flat) - {losses.IGNORED})
    expected = factor * stored[f'{name}_{number}']
    np.testing.assert_allclose(value, expected, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(
        gradient, factor * stored[f'{name}_gradient_{number}'], atol=2e-6
    )


@pytest.mark.parametrize('gamma', [0.5, 1.0, 2.0, 3.5])
def test_focal_loss_equals_its_formula(gamma):
    logits, labels = image(1)
    chance = softmax(logits.astype(np.float64), axis=-1)
    total = 0.0
    for y, x in np.argwhere(labels != losses.IGNORED):
        label = labels[y, x]
        p = chance[y, x, label]
        total -= float(WEIGHTS[label]) * (1 - p) ** gamma * np.log(p)
    loss = functools.partial(losses.focal, gamma=gamma, class_weights=WEIGHTS)
    value, weight = jax.jit(loss)(logits, labels)
    assert float(value) == pytest.approx(total, rel=1e-5)
    expected = np.asarray(WEIGHTS)[labels[labels != losses.IGNORED]].sum()
    assert float(weight) == pytest.approx(expected)


@jax.jit
def region_losses(logits, labels):
    """Losses that are equal for some weights, or for certain answers."""
    values = {
        'dice': losses.dice(logits, labels),
        'half': losses.tversky(logits, labels, alpha=0.5, beta=0.5),
        'jaccard': losses.tversky(logits, labels, alpha=1.0, beta=1.0),
        'lovasz': losses.lovasz(logits, labels),
    }
    return {name: value for name, (value, _) in values.items()}


def test_tversky_with_weights_of_a_half_is_dice_and_of_one_is_jaccard():
    logits, labels = image(2)
    values = region_losses(logits, labels)
    assert float(values['half']) == pytest.approx(float(values['dice']), rel=1e-6)
    guess = np.roll(labels, 1, 0)
    labels[guess == losses.IGNORED] = losses.IGNORED
    certain = 200.0 * (guess[..., None] == np.arange(CLASSES))
    values = region_losses(certain.astype(np.float32), labels)
    expected = 1 - jaccard_mean(labels, guess)
    assert float(values['jaccard']) == pytest.approx(expected, rel=1e-5)
    # At the corners of the cube, the extension is the set function itself.
    assert float(values['lovasz']) == pytest.approx(expected, rel=1e-5)


def jaccard_mean(labels, guess):
    """The mean IoU over the classes of the labels, from sets of pixels."""
    ious = []
    for number in set(labels.flat) - {losses.IGNORED}:
        truth = set(np.flatnonzero(labels == number))
        found = set(np.flatnonzero((guess == number) & (labels != losses.IGNORED)))
        ious.append(len(truth & found) / len(truth | found))
    return np.mean(ious)


def test_slopes_of_lovasz_do_not_cancel_in_large_images():
    rng = np.random.default_rng(3)
    is_class = rng.uniform(size=300_000) < 0.01
    compiled = jax.jit(losses._lovasz_slopes)
    slopes = compiled(is_class[:, None].astype(np.float32))[:, 0]
    intersection = is_class.sum() - np.cumsum(is_class)
    union = is_class.sum() + np.cumsum(~is_class)
    jaccard = 1 - intersection / union
    expected = np.diff(jaccard, prepend=0.0)
    np.testing.assert_allclose(slopes, expected, rtol=1e-5, atol=1e-15)


def brute_distances(labels, classes):
    """Distances by comparing every pair of pixels."""
    cells = np.argwhere(labels != losses.IGNORED)
    result = np.zeros((*labels.shape, classes))
    values = labels[tuple(cells.T)]
    for number in range(classes):
        inside = cells[values == number]
        outside = cells[values != number]
        if not len(inside) or not len(outside):
            continue
        for y, x in cells:
            others = outside if labels[y, x] == number else inside
            nearest = np.sqrt(((others - (y, x)) ** 2).sum(1)).min()
            is_inside = labels[y, x] == number
            result[y, x, number] = 1 - nearest if is_inside else nearest
    return result


@pytest.mark.parametrize('seed', range(4))
def test_signed_distances_equal_those_of_all_pairs_of_pixels(seed):
    _, labels = image(seed, 9, 5)
    labels[labels == seed] = 0
    labels = labels.repeat(2, 0).repeat(2, 1)
    distances = losses.signed_distances(labels, CLASSES)
    np.testing.assert_allclose(distances, brute_distances(labels, CLASSES), rtol=1e-6)


def test_signed_distances_of_one_class_alone_are_zero():
    labels = np.full((4, 5), 2, np.uint8)
    assert not losses.signed_distances(labels, CLASSES).any()
    labels[0] = losses.IGNORED
    assert not losses.signed_distances(labels, CLASSES).any()


def test_boundary_loss_equals_its_formula_and_falls_as_the_answer_gets_nearer():
    logits, labels = image(4, 8, 8)
    distances = losses.signed_distances(labels, CLASSES)
    chance = softmax(logits.astype(np.float64), axis=-1)
    counted = labels != losses.IGNORED
    expected = (chance * distances).mean(-1)[counted].mean()
    value, weight = jax.jit(losses.boundary)(logits, labels, distances)
    assert float(value / weight) == pytest.approx(expected, rel=1e-5)
    assert float(weight) == counted.sum()

    square = np.zeros((12, 12), np.uint8)
    square[4:8, 4:8] = 1
    distances = losses.signed_distances(square, 2)
    by_shift = []
    compiled = jax.jit(losses.boundary)
    for shift in (0, 1, 3, 4):
        guess = np.roll(square, shift, 1)
        answer = 50.0 * (guess[..., None] == np.arange(2))
        value, _ = compiled(answer.astype(np.float32), square, distances)
        by_shift.append(float(value))
    assert by_shift == sorted(by_shift)
    assert by_shift[0] < by_shift[1]


@every_loss
@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_ignored_pixels_touch_nothing_whatever_the_network_answers(name, seed):
    logits, labels = image(seed)
    ignored = labels == losses.IGNORED
    hostile = logits.copy()
    rng = np.random.default_rng(seed)
    hostile[ignored] = rng.choice([np.nan, np.inf, -np.inf, 1e30, 7.0])
    (value, weight), gradient = MEANS[name](logits, labels)
    (same_value, same_weight), same_gradient = MEANS[name](hostile, labels)
    assert value == same_value
    assert weight == same_weight
    np.testing.assert_array_equal(gradient, same_gradient)
    assert not np.asarray(gradient)[ignored].any()
    assert np.isfinite(gradient).all()


@every_loss
@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10_000))
def test_padding_by_ignored_pixels_changes_nothing(name, seed):
    logits, labels = image(seed, 5, 4)
    # The place of the image on a canvas of one size, so that one program serves all seeds.
    rng = np.random.default_rng(seed)
    top, left = rng.integers([2, 4])
    canvas = rng.normal(size=(6, 7, CLASSES)).astype(np.float32)
    padded = np.full((6, 7), losses.IGNORED, np.uint8)
    canvas[top : top + 5, left : left + 4] = logits
    padded[top : top + 5, left : left + 4] = labels
    (value, weight), gradient = MEANS[name](logits, labels)
    (same_value, same_weight), whole = MEANS[name](canvas, padded)
    assert float(same_value) == pytest.approx(float(value), rel=1e-6, abs=1e-6)
    assert same_weight == weight
    inside = np.asarray(whole)[top : top + 5, left : left + 4]
    np.testing.assert_allclose(inside, gradient, rtol=1e-5, atol=1e-7)


@every_loss
@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10_000))
def test_the_order_of_the_pixels_does_not_matter(name, seed):
    logits, labels = image(seed)
    order = np.random.default_rng(seed).permutation(labels.size)
    (value, _), gradient = MEANS[name](logits, labels)
    mixed = logits.reshape(-1, CLASSES)[order].reshape(logits.shape)
    (same, _), mixed_gradient = MEANS[name](
        mixed, labels.reshape(-1)[order].reshape(labels.shape)
    )
    assert float(same) == pytest.approx(float(value), rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(
        np.asarray(mixed_gradient).reshape(-1, CLASSES),
        np.asarray(gradient).reshape(-1, CLASSES)[order],
        rtol=1e-4,
        atol=1e-7,
    )


@every_loss
def test_an_image_without_labels_has_no_value_no_weight_and_no_gradient(name):
    logits, labels = image(5)
    labels[:] = losses.IGNORED
    for answers in (logits, np.full_like(logits, np.nan)):
        (value, weight), gradient = MEANS[name](answers, labels)
        assert value == 0
        assert weight == 0
        assert not np.asarray(gradient).any()


@every_loss
def test_a_batch_of_images_has_the_values_of_each(name):
    images = [image(seed) for seed in range(3)]
    images[1][1][:] = losses.IGNORED
    logits = np.stack([logits for logits, _ in images])
    labels = np.stack([labels for _, labels in images])
    values, weights = jax.jit(jax.vmap(LOSSES[name]))(logits, labels)
    for row in range(3):
        (mean, weight), _ = MEANS[name](logits[row], labels[row])
        expected = float(mean) * float(weight)
        assert float(values[row]) == pytest.approx(expected, rel=1e-5, abs=1e-6)
        assert float(weights[row]) == float(weight)


@every_loss
def test_certain_answers_keep_value_and_gradient_finite(name):
    _, labels = image(6)
    classes = np.where(labels == losses.IGNORED, 0, labels)
    right = np.where(classes[..., None] == np.arange(CLASSES), 1e4, -1e4)
    for answers in (right, -right):
        (value, _), gradient = MEANS[name](answers.astype(np.float32), labels)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


@every_loss
def test_a_label_that_is_no_class_and_a_logit_of_nan_are_not_silent(name):
    logits, labels = image(7)
    wrong = labels.copy()
    wrong[2, 3] = CLASSES
    (value, _), _ = MEANS[name](logits, wrong)
    assert np.isnan(value)
    labels[2, 3] = 1
    logits[2, 3, 0] = np.nan
    (value, _), _ = MEANS[name](logits, labels)
    assert np.isnan(value)


@pytest.mark.parametrize('name', ['focal', 'dice', 'lovasz'])
def test_bfloat16_logits_lose_no_precision_in_the_loss(name):
    logits, labels = image(8)
    rounded = logits.astype(jnp.bfloat16)
    value, weight = jax.jit(LOSSES[name])(rounded, labels)
    (mean, _), _ = MEANS[name](rounded.astype(np.float32), labels)
    assert value.dtype == weight.dtype == jnp.float32
    assert float(value / weight) == pytest.approx(float(mean), rel=1e-6)


def test_binary_cross_entropy_is_the_sum_over_labelled_pixels():
    logits, labels = image(0)
    targets = np.random.default_rng(1).uniform(size=labels.shape).astype(np.float32)
    value, weight = losses.binary_cross_entropy(
        jnp.asarray(logits[..., 0]), jnp.asarray(targets), jnp.asarray(labels), 10.0
    )
    probability = expit(logits[..., 0].astype(np.float64))
    pixels = -10 * targets * np.log(probability)
    pixels -= (1 - targets) * np.log1p(-probability)
    counted = labels != 255
    np.testing.assert_allclose(value, pixels[counted].sum(), rtol=1e-5)
    assert weight == counted.sum() < labels.size


@pytest.mark.parametrize('hostile', [np.nan, np.inf, -np.inf])
def test_binary_cross_entropy_has_no_gradient_at_ignored_pixels(hostile):
    logits, labels = image(2)
    ignored = labels == 255
    truth = jnp.where(ignored, jnp.float32(hostile), jnp.float32(0.5))
    answers = np.where(ignored, np.float32(hostile), logits[..., 0])

    def loss(answers):
        return losses.binary_cross_entropy(answers, truth, jnp.asarray(labels))[0]

    value, gradient = jax.value_and_grad(loss)(jnp.asarray(answers))
    assert ignored.any()
    assert np.isfinite(value)
    np.testing.assert_array_equal(gradient[ignored], 0)
    assert np.all(np.isfinite(gradient))
    assert np.any(gradient != 0)
