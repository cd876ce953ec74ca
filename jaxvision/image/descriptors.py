"""Descriptors of an image: a few numbers, without a trained network."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

CELLS = 4  # along each side of the image
DIRECTIONS = 8  # of edges, in each cell


def layout(image: Float[Array, 'h w c']) -> Float[Array, 'd']:
    """The colours and edges in each of 4x4 cells of an image.

    The first half of the descriptor is the mean colour of each cell less that of the image. The
    second half is how steeply the grey image rises there in each of 8 directions: a coarse
    histogram of oriented gradients (Dalal and Triggs 2005).

    Args:
        image: [H, W, C] in [0, 1], at least 4x4 pixels.

    Returns:
        The descriptor, of length 1, or of length 0 for a plain image.
    """
    grey = image.mean(-1)
    down = jnp.pad(jnp.diff(grey, axis=0), [(0, 1), (0, 0)])
    right = jnp.pad(jnp.diff(grey, axis=1), [(0, 0), (0, 1)])
    gradients = jnp.stack([down, right], -1)
    angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    directions = jnp.array([np.sin(angles), np.cos(angles)], image.dtype)
    edges = jnp.maximum(gradients @ directions, 0)
    colors = _cell_means(image)
    halves = [colors - colors.mean((0, 1)), _cell_means(edges)]
    return jnp.concatenate([_scaled(half.ravel()) for half in halves]) / 2**0.5


def _cell_means(image):
    """The mean of each cell. Rows and columns that are left over belong to none."""
    height, width, channels = image.shape
    image = image[: height // CELLS * CELLS, : width // CELLS * CELLS]
    # One axis at a time: TFLite has at most six axes, and batches and videos have theirs.
    rows = image.reshape(CELLS, height // CELLS, -1, channels).mean(1)
    return rows.reshape(CELLS, CELLS, width // CELLS, channels).mean(2)


def _scaled(x):
    return x / jnp.maximum(jnp.sqrt(jnp.sum(jnp.square(x))), 1e-6)
