"""Resample the position embeddings of a ViT for another resolution."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxvision.image import resize


def resample(
    embedding: Float[np.ndarray, '...'], shape: tuple[int, ...]
) -> Float[np.ndarray, '...']:
    """Resample position embeddings to another square grid of patches.

    The interpolation is bicubic and antialiased, as in timm. A class token is kept.

    Args:
        embedding: [1, N, C] for N patches, or for a class token and N - 1 patches.
        shape: (1, M, C), with a class token if the embedding has one.

    Returns:
        [1, M, C]. The embedding itself if its shape is right, or a grid is not square.
    """
    if embedding.ndim != 3 or len(shape) != 3 or embedding.shape[1] == shape[1]:
        return embedding
    for tokens in (0, 1):
        old = _side(embedding.shape[1] - tokens)
        new = _side(shape[1] - tokens)
        if old and new:
            grid = embedding[0, tokens:].reshape(old, old, -1)
            grid = np.asarray(resize.resize(jnp.asarray(grid), (new, new), 'bicubic'))
            patches = grid.reshape(1, new**2, -1)
            return np.concatenate([embedding[:, :tokens], patches], 1)
    return embedding


def _side(patches: int) -> int:
    """Compute the side of a square grid of patches; 0 if the number is no square."""
    side = math.isqrt(max(0, patches))
    return side if side**2 == patches else 0
