import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.attribution import activation

SHAPE = (2, 8, 11, 3)


def test_a_linear_score_is_maximised_towards_its_bound():
    weights = jax.random.normal(jax.random.key(1), SHAPE[1:])

    @jax.jit
    def score(images):
        return jnp.einsum('bhwc,hwc->b', images, weights)

    got = activation.maximise(
        score, jax.random.key(0), SHAPE, steps=25, rate=0.5, shift=0
    )
    bound = np.maximum(weights, 0).sum()
    assert (got.scores > 0.9 * bound).all()
    assert (got.scores < bound).all()
    np.testing.assert_allclose(score(got.images), got.scores, rtol=1e-5)
    assert ((got.images > 0.5) == (weights > 0)).mean() > 0.9


def test_shifts_leave_what_does_not_depend_on_the_place():
    @jax.jit
    def score(images):
        return images[..., 0].mean((1, 2)) - images[..., 1].mean((1, 2))

    got = activation.maximise(
        score, jax.random.key(0), SHAPE, steps=15, rate=0.5, shift=3
    )
    assert (got.scores > 0.6).all()


@pytest.mark.parametrize('size', [(6, 8), (5, 7)])
def test_parts_are_the_fourier_coefficients_of_an_image(size):
    scale = activation.inverse_frequencies(size)
    assert scale.shape == (size[0], size[1] // 2 + 1)
    parts = np.zeros((2, 1, *scale.shape, 1))
    parts[0, 0, 0, 1, 0] = 1.0
    images = activation.to_images(jnp.asarray(parts), scale, size)
    column = np.arange(size[1])
    # One wave along the width, of the length of the width.
    amplitude = 2 * scale[0, 1] / (size[0] * size[1])
    wave = amplitude * np.cos(2 * np.pi * column / size[1])
    expected = 1 / (1 + np.exp(-wave))
    np.testing.assert_allclose(
        images[0, :, :, 0], np.broadcast_to(expected, size), rtol=1e-5
    )
