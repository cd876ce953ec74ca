"""What a frame looks like, in few numbers and without a trained network."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

CELLS, DIRECTIONS = 4, 8  # cells a side; directions of the edges in each


def layout(image: Float[Array, 'h w c']) -> Float[Array, 'd']:
    """Where in an image there is which colour, and edges in which direction, of length 1.

    The mean colour of each of 4x4 cells, less that of the image, and how steeply the grey image
    rises there in each of 8 directions, as in the histograms of Dalal and Triggs (2005). Colours
    and edges count alike. Values in [0, 1], at least 4x4 pixels.
    """
    grey = image.mean(-1)
    rises = jnp.stack([jnp.pad(jnp.diff(grey, axis=axis), [(0, axis == 0), (0, axis == 1)])
                       for axis in (0, 1)], -1)
    angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    along = rises @ jnp.asarray([np.sin(angles), np.cos(angles)], image.dtype)
    edges = _cells(jnp.maximum(along, 0))
    colors = _cells(image)
    colors = colors - colors.mean((0, 1))
    parts = [_scaled(part.ravel()) for part in (colors, edges)]
    return jnp.concatenate(parts) / np.sqrt(2)


def _cells(image):
    """Means over the cells."""
    height, width, channels = image.shape
    image = image[:height // CELLS * CELLS, :width // CELLS * CELLS]
    return image.reshape(CELLS, height // CELLS, CELLS, width // CELLS, channels).mean((1, 3))


def _scaled(x):
    return x / jnp.maximum(jnp.linalg.norm(x), 1e-6)
