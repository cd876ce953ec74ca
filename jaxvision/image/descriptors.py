"""What an image looks like, in few numbers and without a trained network."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

CELLS, DIRECTIONS = 4, 8  # cells a side; directions of the edges in each


def layout(image: Float[Array, 'h w c']) -> Float[Array, 'd']:
    """Which colours, and which edges, are where in an image: of length 1, or 0 of a plain one.

    Half of it is the mean colour of each of 4x4 cells, less that of the image; the other half how
    steeply the image, as grey, rises there in each of 8 directions: a coarse histogram of oriented
    gradients (Dalal and Triggs 2005). The image is in [0, 1], at least 4x4 pixels.
    """
    grey = image.mean(-1)
    rises = jnp.stack(
        [
            jnp.pad(jnp.diff(grey, axis=axis), [(0, axis == 0), (0, axis == 1)])
            for axis in (0, 1)
        ],
        -1,
    )
    angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    edges = jnp.maximum(
        rises @ jnp.array([np.sin(angles), np.cos(angles)], image.dtype), 0
    )
    colors = _means(image)
    halves = colors - colors.mean((0, 1)), _means(edges)
    return jnp.concatenate([_scaled(half.ravel()) for half in halves]) / 2**0.5


def _means(image):
    """Of the cells; rows and columns that are left over count in none."""
    height, width, channels = image.shape
    image = image[: height // CELLS * CELLS, : width // CELLS * CELLS]
    # An axis at a time: TFLite has no more than six of them, of batches and videos too.
    rows = image.reshape(CELLS, height // CELLS, -1, channels).mean(1)
    return rows.reshape(CELLS, CELLS, width // CELLS, channels).mean(2)


def _scaled(x):
    return x / jnp.maximum(jnp.sqrt(jnp.sum(jnp.square(x))), 1e-6)
