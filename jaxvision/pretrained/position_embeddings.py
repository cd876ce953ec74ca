"""Position embeddings of a ViT at another resolution."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxvision.image import resize


def resample(
    embedding: Float[np.ndarray, '...'], shape: tuple[int, ...]
) -> Float[np.ndarray, '...']:
    """Resample an embedding [1, N, C] to another square grid of patches.

    Bicubic and antialiased, as timm does it. A class token, the first of N, is kept.

    Args:
        embedding: [1, N, C], of N patches, or of a class token and N - 1 patches.
        shape: (1, M, C), with a class token if the embedding has one.

    Returns:
        [1, M, C]; the embedding itself where its shape is right already, or the grids are
        not square.
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
    """The side of a square grid of so many patches; 0: there is none."""
    side = math.isqrt(max(0, patches))
    return side if side**2 == patches else 0
