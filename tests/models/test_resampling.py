"""Larger and smaller feature maps, against Flax, SciPy and PyTorch's definitions in NumPy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxvision.models.blocks import resampling


@pytest.mark.parametrize('size', [1, 2, 3, 4, 5, 6, (5, 4)])
@pytest.mark.parametrize('use_bias', [True, False])
def test_transposed_convolution_equals_flax(size, use_bias):
    size = size if isinstance(size, tuple) else (size, size)
    x = jax.random.normal(jax.random.key(0), (2, 5, 3, 4))
    flax = nn.ConvTranspose(6, size, (2, 2), use_bias=use_bias)
    variables = flax.init(jax.random.key(1), x)
    ours = resampling.ConvTranspose(6, size, use_bias)
    assert jax.tree.map(jnp.shape, ours.init(jax.random.key(1), x)) == jax.tree.map(
        jnp.shape, variables
    )
    np.testing.assert_allclose(
        ours.apply(variables, x), flax.apply(variables, x), atol=2e-6
    )


def test_gradients_of_transposed_convolution_equal_flax():
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
    flax = nn.ConvTranspose(5, (5, 5), (2, 2))
    ours = resampling.ConvTranspose(5, (5, 5))
    variables = flax.init(jax.random.key(1), x)

    def loss(module):
        return lambda variables, x: jnp.square(module.apply(variables, x)).sum()

    gradient = jax.jit(jax.grad(loss(ours), (0, 1)))(variables, x)
    expected = jax.jit(jax.grad(loss(flax), (0, 1)))(variables, x)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        gradient,
        expected,
    )


def test_pixel_shuffle_equals_depth_to_space_and_unshuffle_inverts_it():
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 18))
    y = resampling.pixel_shuffle(x, 3)
    assert y.shape == (2, 9, 12, 2)
    for i, j in np.ndindex(3, 3):
        np.testing.assert_array_equal(
            y[:, i::3, j::3], x[..., (3 * i + j) * 2 :][..., :2]
        )
    np.testing.assert_array_equal(resampling.pixel_unshuffle(y, 3), x)


def test_doubling_is_linear_interpolation_and_halving_takes_means():
    x = jax.random.normal(jax.random.key(0), (1, 5, 4, 1))
    rows, columns = ((np.arange(2 * n) + 0.5) / 2 - 0.5 for n in (5, 4))
    grid = np.meshgrid(rows, columns, indexing='ij')
    expected = ndimage.map_coordinates(x[0, :, :, 0], grid, order=1, mode='nearest')
    np.testing.assert_allclose(resampling.double(x)[0, :, :, 0], expected, atol=1e-6)
    np.testing.assert_allclose(resampling.halve(resampling.repeat(x)), x, atol=1e-6)
    mean = ndimage.uniform_filter(x[0, :4, :, 0], 2, origin=-1)[::2, ::2]
    np.testing.assert_allclose(resampling.halve(x[:, :4])[0, :, :, 0], mean, atol=1e-6)
