"""Filling the hole of an image smoothly from what is around it."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def harmonic(image: Float[Array, 'h w c'], hole: Bool[Array, 'h w 1'], sweeps: int = 4
             ) -> Float[Array, 'h w c']:
    """The image with a hole filled nearly harmonically, every pixel the mean of its neighbours.

    By a cascade from coarse to fine (cascadic multigrid, Bornemann and Deuflhard 1996): the known
    pixels are averaged to half the size, where the hole is smaller; the answer there is enlarged,
    and improved by some `sweeps` of Jacobi's iteration. What is outside the hole is the image's,
    what is in it does not matter. Without a known pixel the answer is black.
    """
    known = 1 - hole.astype(image.dtype)
    return _filled(image * known, known, sweeps)


def _filled(image: Float[Array, 'h w c'], known: Float[Array, 'h w 1'], sweeps: int
            ) -> Float[Array, 'h w c']:
    height, width, _ = image.shape
    if max(height, width) == 1:
        return image
    total, count = _sums_of_four(image), _sums_of_four(known)
    coarse = _filled(total / jnp.maximum(count, 1), jnp.minimum(count, 1), sweeps)
    filled = coarse.repeat(2, 0).repeat(2, 1)[:height, :width]
    for _ in range(sweeps):
        filled = image + (1 - known) * _mean_of_neighbours(image + (1 - known) * filled)
    return filled


def _sums_of_four(image: Float[Array, 'h w c']) -> Float[Array, 'h2 w2 c']:
    height, width, channels = image.shape
    even = jnp.pad(image, ((0, height % 2), (0, width % 2), (0, 0)))
    return even.reshape(-(-height // 2), 2, -(-width // 2), 2, channels).sum((1, 3))


def _mean_of_neighbours(image: Float[Array, 'h w c']) -> Float[Array, 'h w c']:
    """Of the four neighbours; beyond the image's edge a pixel is its own neighbour."""
    padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)), 'edge')
    return (padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]) / 4
