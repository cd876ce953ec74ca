"""A ViT's position embeddings at another resolution."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxvision.image import resize


def fitting(
    embedding: Float[np.ndarray, '...'], shape: tuple[int, ...]
) -> Float[np.ndarray, '...']:
    """The embedding [1, N, C], resampled if `shape` is that of another square grid of patches,
    with a class token before them or without, as the embedding; else as it is.

    Bicubic and antialiased, as timm resamples them.
    """
    if embedding.ndim != 3 or len(shape) != 3 or embedding.shape[1] == shape[1]:
        return embedding
    for token in (0, 1):
        old, new = (
            math.isqrt(max(0, number - token))
            for number in (embedding.shape[1], shape[1])
        )
        if (
            old**2 + token == embedding.shape[1]
            and new**2 + token == shape[1]
            and old
            and new
        ):
            grid = embedding[0, token:].reshape(old, old, -1)
            grid = np.asarray(resize.resize(jnp.asarray(grid), (new, new), 'bicubic'))
            grid = grid.reshape(1, new**2, -1)
            return np.concatenate([embedding[:, :token], grid], 1)
    return embedding
