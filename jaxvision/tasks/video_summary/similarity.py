"""Distances between the frames of a video, whatever they show."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

WIDTH = 24  # numbers of a frame in `similarity`
_PARTS = WIDTH - 4


def similarity(
    features: Float[Array, 't d'], mask: Bool[Array, 't']
) -> Float[Array, 't 24']:
    """Describe each frame by its distances from the other frames.

    The numbers of a frame are its distances from 20 parts of the video, its place in time in
    (0, 1), and its distances from the mean frame, from all frames, and from the frame before.
    They are rows of a self-similarity matrix (Junejo et al. 2011, "View-independent action
    recognition from temporal self-similarities"), read at 20 places for any length.

    Distances are squared (but the last), in units of the frames' variance. So a nearly still
    video looks like a restless one, and no colour and no edge is known.

    Args:
        features: features of the frames.
        mask: True for frames, False for padding.

    Returns:
        The numbers, 0 for padding.
    """
    frames = jnp.maximum(mask.sum(), 1).astype(features.dtype)
    mean = (features * mask[:, None]).sum(0) / frames
    centred = jnp.where(mask[:, None], features - mean, 0)
    from_mean = jnp.square(centred).sum(1)
    variance = from_mean.sum() / frames + 1e-6
    squares = jnp.maximum(from_mean[:, None] + from_mean - 2 * centred @ centred.T, 0)
    distances = jnp.where(mask, squares / (2 * variance), 0)
    change = jnp.square(jnp.diff(centred, axis=0, prepend=centred[:1])).sum(1)
    place = (jnp.arange(len(mask)) + 0.5) / frames
    to_parts = distances @ _parts(mask, frames).T
    others = [
        place,
        from_mean / variance,
        distances.sum(1) / frames,
        jnp.sqrt(change / variance),
    ]
    numbers = jnp.concatenate([to_parts, jnp.stack(others, 1)], 1)
    return numbers * mask[:, None].astype(features.dtype)


def _parts(mask: Bool[Array, 't'], frames: Float[Array, '']) -> Float[Array, 'p t']:
    """The weights of the frames in equal parts of a video.

    They are hats, at least one frame wide.
    """
    middles = (jnp.arange(_PARTS) + 0.5) / _PARTS * frames - 0.5
    middles = jnp.clip(middles, 0, frames - 1)[:, None]
    width = jnp.maximum(frames / _PARTS, 1)
    hats = jnp.maximum(1 - jnp.abs(jnp.arange(len(mask)) - middles) / width, 0) * mask
    return hats / jnp.maximum(hats.sum(1, keepdims=True), 1e-6)
