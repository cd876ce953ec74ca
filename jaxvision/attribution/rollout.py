"""Attention rollout: which patches reach the output of a transformer.

Abnar and Zuidema, "Quantifying Attention Flow in Transformers", 2020.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvision.attribution.cam import patch_grid, token_features
from jaxvision.attribution.types import Maps
from jaxvision.image.types import Size

# The weight of each token (last axis) in each token, averaged over the heads.
Attention = Float[Array, 'b n n']


def rollout(attentions: Sequence[Attention]) -> Attention:
    """Multiply the attention of all blocks, each averaged with the identity of its shortcut.

    Args:
        attentions: of the blocks, the first one first. Rows sum to 1.

    Returns:
        The weight of each input token (last axis) in each output token. Rows sum to 1.
    """
    first = attentions[0]
    identity = jnp.eye(first.shape[-1], dtype=first.dtype)
    total = identity
    for attention in attentions:
        with_shortcut = (attention + identity) / 2
        total = with_shortcut @ total
    return total


def rollout_maps(attentions: Sequence[Attention], size: Size) -> Maps:
    """Arrange the weights of the patches in the pooled output as maps.

    The output is the class token, if there is one token more than patches, or else the mean of
    all tokens. Attention depends on no class, so every class of an image has the same map.

    Args:
        attentions: of the blocks, the first one first.
        size: (height, width) of the image, pixels.

    Returns:
        Maps [B, h, w], at least 0. They sum to 1 without a class token, and to less with one,
        since it keeps a part.

    Raises:
        UserError: The tokens are no grid of square patches.
    """
    weights = rollout(attentions)
    tokens = weights.shape[-1]
    rows, columns = patch_grid(tokens, size)
    pooled = weights.mean(axis=1)
    if tokens > rows * columns:
        pooled = weights[:, 0]
    return token_features(pooled[..., None], size)[..., 0]
