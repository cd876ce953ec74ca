"""Classes under noise: independent of the batch, never clipped, as a linear classifier has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.linear import Linear
from scipy import stats

from jaxvision.attacks import smoothing

SAMPLES = 3000


@pytest.fixture(scope='module')
def black_images():
    """A linear classifier, black images on both sides of its boundary, and their distances.

    Clipped noise would move the mean of a black image: its probabilities differ by far.
    """
    linear = Linear(2, count=3)
    direction = linear.weights[:, 1] - linear.weights[:, 0]
    biases = np.array([-0.6, 0.1, 0.9]) * np.linalg.norm(direction)

    def logits(bias, images):
        pixels = images.reshape(len(images), -1)
        score = pixels @ jnp.asarray(direction) + bias
        return jnp.stack([jnp.zeros_like(score), score], -1)

    classifiers = [jax.tree_util.Partial(logits, jnp.float32(bias)) for bias in biases]
    return classifiers, biases / np.linalg.norm(direction)


def test_counts_are_those_of_a_linear_classifier(black_images):
    """Fault 13: noise has its std and is never clipped."""
    sigma = 0.5
    image = jnp.zeros((4, 4, 1))
    for place, (logits, distance) in enumerate(zip(*black_images, strict=True)):
        counts = smoothing.count(
            logits,
            image,
            jax.random.key(place),
            sigma=sigma,
            samples=SAMPLES,
            batch_size=SAMPLES,
        )
        assert counts.sum() == SAMPLES
        binomial = stats.binom(SAMPLES, stats.norm.cdf(distance / sigma))
        # The band holds but for one key in a million.
        assert binomial.ppf(5e-7) <= counts[1] <= binomial.isf(5e-7)


def test_counts_do_not_depend_on_the_batch(black_images):
    logits = black_images[0][1]
    image = jnp.zeros((4, 4, 1))

    def count(key, **options):
        return smoothing.count(
            logits, image, jax.random.key(key), sigma=0.5, **options
        ).tolist()

    whole = count(0, samples=50, batch_size=50)
    assert count(0, samples=50, batch_size=7) == whole
    assert count(1, samples=50, batch_size=50) != whole


def test_noise_is_independent_of_the_number_of_copies():
    key = jax.random.key(3)
    image = jnp.full((4, 5, 3), 0.2)
    copies = smoothing.noisy(key, image, 0.5, jnp.arange(400))
    again = smoothing.noisy(key, image, 0.5, jnp.array([7, 399]))
    np.testing.assert_array_equal(again, copies[jnp.array([7, 399])])
    noise = np.asarray(copies - image).ravel()
    # 24,000 values: a wrong std or correlated copies differ by far more.
    assert noise.std() == pytest.approx(0.5, rel=0.03)
    assert abs(noise.mean()) < 0.02
    assert copies.min() < -1 and copies.max() > 1.4
    means = np.asarray(copies - image).mean((1, 2, 3))
    assert means.std() == pytest.approx(0.5 / 60**0.5, rel=0.2)


def test_an_image_without_logits_counts_for_no_class():
    def logits(images):
        scores = jnp.stack([images[:, 0, 0, 0], jnp.zeros(len(images))], -1)
        return jnp.where(scores[:, :1] > 0, jnp.nan, scores)

    counts = smoothing.count(
        logits,
        jnp.zeros((1, 1, 1)),
        jax.random.key(0),
        sigma=1.0,
        samples=100,
        batch_size=100,
    )
    assert counts[0] == 0 and 20 < counts[1] < 80
