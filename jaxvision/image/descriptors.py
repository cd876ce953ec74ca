"""Image descriptors that need no trained network."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxvision.image.types import Image

# Cells along each side of the image.
CELLS = 4
# Directions of edges in each cell.
DIRECTIONS = 8


def layout(image: Image) -> Float[Array, 'd']:
    """Describe an image by the colours and edges in each of 4x4 cells.

    The first 16 * C numbers are the mean colour of each cell, less the mean colour of
    the image. The other 128 are the mean slope of the grey image in each cell and in
    each of 8 directions. They are a coarse histogram of oriented gradients (Dalal and
    Triggs 2005). Both parts have the same norm. Rows and columns beyond a multiple of 4
    are left out.

    Args:
        image: [H, W, C] in [0, 1], at least 4x4 pixels.

    Returns:
        A vector [16 * C + 128] of norm 1. A part without any contrast is zero, and the
        norm is then smaller.
    """
    grey = image.mean(-1)
    down = jnp.diff(grey, axis=0)
    down = jnp.pad(down, [(0, 1), (0, 0)])
    right = jnp.diff(grey, axis=1)
    right = jnp.pad(right, [(0, 0), (0, 1)])
    gradients = jnp.stack([down, right], -1)
    angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    directions = jnp.array([np.sin(angles), np.cos(angles)], image.dtype)
    edges = jnp.maximum(gradients @ directions, 0)
    colors = _cell_means(image)
    contrasts = colors - colors.mean((0, 1))
    slopes = _cell_means(edges)
    halves = [_unit(contrasts.ravel()), _unit(slopes.ravel())]
    return jnp.concatenate(halves) / 2**0.5


def _cell_means(image: Float[Array, 'h w n']) -> Float[Array, 'y x n']:
    """Mean of each cell. Rows and columns that remain at the end belong to no cell."""
    height, width, channels = image.shape
    cell_height = height // CELLS
    cell_width = width // CELLS
    image = image[: cell_height * CELLS, : cell_width * CELLS]
    # One axis at a time: TFLite supports six axes, of which batches and videos take two.
    rows = image.reshape(CELLS, cell_height, -1, channels)
    rows = rows.mean(1)
    cells = rows.reshape(CELLS, CELLS, cell_width, channels)
    return cells.mean(2)


def _unit(x: Float[Array, 'n']) -> Float[Array, 'n']:
    """Scale a vector to norm 1. A zero vector stays zero."""
    squared_norm = jnp.sum(jnp.square(x))
    return x / jnp.maximum(jnp.sqrt(squared_norm), 1e-6)
