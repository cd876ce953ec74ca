import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.attribution import gradients, scores
from jaxvision.core.errors import UserError

# A non-square size: transposed axes would not fit.
SHAPE = (2, 5, 8, 3)


@pytest.fixture
def images():
    return jax.random.uniform(jax.random.key(0), SHAPE)


@pytest.fixture
def weights():
    return jax.random.normal(jax.random.key(1), SHAPE[1:])


@pytest.fixture
def linear(weights):
    return lambda images: jnp.einsum('bhwc,hwc->b', images, weights) + 3.0


@pytest.fixture
def cubic(weights):
    """A score whose gradient changes along the line from the baseline."""
    return jax.jit(lambda images: jnp.einsum('bhwc,hwc->b', images**3, weights))


def image_keys(*numbers):
    return jax.vmap(jax.random.fold_in, (None, 0))(
        jax.random.key(7), jnp.array(numbers)
    )


def test_the_gradient_of_a_linear_score_is_its_weights(linear, images, weights):
    got = gradients.gradient(linear, images)
    np.testing.assert_allclose(got, np.broadcast_to(weights, SHAPE), rtol=1e-6)


def test_products_of_a_linear_score_sum_to_the_score(linear, images):
    got = gradients.input_x_gradient(linear, images).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(got, linear(images) - 3.0, rtol=1e-5)


def test_smoothgrad_of_a_linear_score_is_its_gradient(linear, images, weights):
    got = gradients.smooth_grad(linear, images, image_keys(4, 9), samples=3)
    np.testing.assert_allclose(got, np.broadcast_to(weights, SHAPE), rtol=1e-5)


def test_the_noise_of_smoothgrad_is_a_fraction_of_the_range_of_the_image():
    def score(images):
        return (images**3).sum(axis=(1, 2, 3))

    # The range of the first image is 1, that of the second 0.5.
    images = jnp.linspace(0.0, 1.0, 2 * 600).reshape(2, 10, 20, 3)
    images = images.at[0].set(2 * images[0])
    got = gradients.smooth_grad(score, images, image_keys(4, 9), samples=16, noise=0.2)
    # The mean of 3 (x + e)^2 is 3 (x^2 + std^2).
    excess = (got - 3 * images**2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(excess, 3 * np.array([0.2, 0.1]) ** 2, rtol=0.2)


def test_smoothgrad_of_an_image_depends_on_its_key_and_not_on_its_neighbours(
    cubic, images
):
    both = gradients.smooth_grad(cubic, images, image_keys(4, 9), samples=2)
    alone = gradients.smooth_grad(cubic, images[1:], image_keys(9), samples=2)
    other = gradients.smooth_grad(cubic, images[1:], image_keys(4), samples=2)
    np.testing.assert_allclose(both[1:], alone, rtol=1e-6)
    assert np.abs(other - alone).max() > 1e-3


def test_integrated_gradients_of_a_cubic_score_have_their_closed_form(
    cubic, images, weights
):
    baselines = jnp.full_like(images, 0.25)
    got = gradients.integrated_gradients(cubic, images, baselines, 64)
    np.testing.assert_allclose(
        got.attribution, weights * (images**3 - baselines**3), atol=2e-4
    )
    assert (got.gap < 0.01).all()


def test_the_gap_is_the_error_of_the_sum(cubic, images):
    baselines = jnp.zeros_like(images)
    got = gradients.integrated_gradients(cubic, images, baselines, 1)
    difference = cubic(images) - cubic(baselines)
    expected = np.abs(got.attribution.sum(axis=(1, 2, 3)) - difference)
    np.testing.assert_allclose(got.gap, expected / np.abs(difference), rtol=1e-5)
    # One midpoint of x^3 is off by a fourth.
    assert (got.gap > 0.2).all()


def test_steps_double_for_each_image_until_its_gap_is_small(weights):
    @jax.jit
    def score(images):
        return jnp.einsum('bhwc,hwc->b', jax.nn.relu(images - 0.5) ** 2, weights)

    images = jnp.stack([jnp.full(SHAPE[1:], 0.9), jnp.full(SHAPE[1:], 0.53)])
    baselines = jnp.zeros_like(images)
    explain = functools.partial(
        gradients.converged_integrated_gradients, score, first_steps=2
    )
    got = explain(images, baselines)
    assert (got.gap <= 0.01).all()
    # The second image leaves its flat part at the very end.
    assert got.steps[1] > got.steps[0] > 2
    alone = explain(images[1:], baselines[1:])
    np.testing.assert_allclose(got.attribution[1:], alone.attribution, rtol=1e-6)
    assert alone.steps[0] == got.steps[1]


def test_a_gap_that_stays_large_is_returned(cubic, images):
    got = gradients.converged_integrated_gradients(
        cubic, images, jnp.zeros_like(images), first_steps=1, most_steps=2
    )
    assert (got.steps == 2).all()
    assert (got.gap > 0.05).all()


def test_a_black_baseline_gives_exactly_nothing_to_dark_pixels(linear, images):
    dark = images.at[:, 2].set(0.0)
    black = gradients.integrated_gradients(linear, dark, jnp.zeros_like(dark), 2)
    white = gradients.integrated_gradients(linear, dark, jnp.ones_like(dark), 2)
    assert (black.attribution[:, 2] == 0).all()
    assert (np.abs(white.attribution[:, 2]) > 0).all()


def test_a_logit_is_explained_where_a_probability_is_saturated():
    logits = jnp.array([[40.0, 0.0, -3.0]])

    def of_logits(change):
        return scores.of_class(logits + change, jnp.array([0])).sum()

    def of_probabilities(change):
        return jax.nn.softmax(logits + change)[0, 0]

    change = jnp.zeros((1, 3))
    np.testing.assert_array_equal(jax.grad(of_logits)(change), [[1, 0, 0]])
    assert np.abs(jax.grad(of_probabilities)(change)).max() < 1e-16


def test_scores_read_the_row_and_the_class_of_each_image():
    logits = jnp.arange(24.0).reshape(2, 4, 3)
    got = scores.of_row(logits, jnp.array([1, 3]), jnp.array([2, 0]))
    np.testing.assert_array_equal(got, [5, 21])
    np.testing.assert_array_equal(
        scores.of_row(logits, jnp.array(1), jnp.array(2)), [5, 17]
    )


def test_the_score_of_pixels_is_the_mean_inside_the_mask():
    logits = jnp.arange(24.0).reshape(2, 2, 3, 2)
    mask = jnp.zeros((2, 2, 3), bool).at[0, 1, 2].set(True).at[0, 0, 0].set(True)
    got = scores.of_pixels(logits, jnp.array([1, 0]), mask)
    np.testing.assert_array_equal(got, [(1 + 11) / 2, 0])


@pytest.mark.parametrize('explain', [gradients.gradient, gradients.input_x_gradient])
def test_a_zero_gradient_is_an_error_and_under_jit_no_number(explain, images):
    def score(images):
        first = images[:1].sum(axis=(1, 2, 3))
        return jnp.concatenate([first, jax.lax.stop_gradient(first)])

    with pytest.raises(UserError, match='layer=image: expected a gradient'):
        explain(score, images)
    got = jax.jit(lambda images: explain(score, images))(images)
    assert np.isfinite(got[0]).all()
    assert np.isnan(got[1]).all()


def test_compiled_and_mapped_calls_give_the_same(cubic, images):
    keys = image_keys(4, 9)
    baselines = jnp.zeros_like(images)

    def explain(images, baselines, keys):
        return (
            gradients.gradient(cubic, images),
            gradients.smooth_grad(cubic, images, keys, samples=2),
            *gradients.integrated_gradients(cubic, images, baselines, 3),
        )

    expected = explain(images, baselines, keys)
    compiled = jax.jit(explain)(images, baselines, keys)
    mapped = jax.jit(jax.vmap(explain))(
        images[:, None], baselines[:, None], keys[:, None]
    )
    for one, two, three in zip(expected, compiled, mapped, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(one, three[:, 0], rtol=1e-5, atol=1e-6)
