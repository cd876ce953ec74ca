"""Self-similarity of a video: distances between its frames."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# Number of values per frame in `similarity`.
WIDTH = 24
_PARTS = WIDTH - 4


def similarity(
    features: Float[Array, 't d'], mask: Bool[Array, 't']
) -> Float[Array, 't 24']:
    """Describe each frame by its distances from other frames.

    A frame has 24 values, in this order: its distances from 20 parts of the video, its position
    in time in (0, 1), and three distances. These are from the mean frame, from all
    frames (their mean), and from the previous frame, 0 for the first. The first 20 are a row of
    a self-similarity matrix (Junejo et al. 2011, "View-independent action recognition from
    temporal self-similarities"), sampled at 20 places for any length.

    Distances are squared and divided by the variance of the frames, those from parts and from
    all frames by twice the variance. The last one is the square root of such a quotient. This
    makes the values independent of the amount of motion, and of colours and edges.

    Args:
        features: features of the frames.
        mask: True for frames, False for padding.

    Returns:
        The values, [T, 24], 0 for padding.
    """
    frames = jnp.maximum(mask.sum(), 1).astype(features.dtype)
    mean = (features * mask[:, None]).sum(0) / frames
    centred = jnp.where(mask[:, None], features - mean, 0)
    from_mean = jnp.square(centred).sum(1)
    variance = from_mean.sum() / frames + 1e-6
    squares = from_mean[:, None] + from_mean - 2 * centred @ centred.T
    squares = jnp.maximum(squares, 0)
    distances = jnp.where(mask, squares / (2 * variance), 0)
    differences = jnp.diff(centred, axis=0, prepend=centred[:1])
    change = jnp.square(differences).sum(1)
    place = (jnp.arange(len(mask)) + 0.5) / frames
    to_parts = distances @ _parts(mask, frames).T
    others = [
        place,
        from_mean / variance,
        distances.sum(1) / frames,
        jnp.sqrt(change / variance),
    ]
    values = jnp.concatenate([to_parts, jnp.stack(others, 1)], 1)
    return values * mask[:, None].astype(features.dtype)


def _parts(mask: Bool[Array, 't'], frames: Float[Array, '']) -> Float[Array, 'p t']:
    """Compute the weights of the frames in equal parts of a video.

    The weights of a part are a triangle function, at least one frame wide.
    """
    middles = (jnp.arange(_PARTS) + 0.5) / _PARTS * frames - 0.5
    middles = jnp.clip(middles, 0, frames - 1)[:, None]
    width = jnp.maximum(frames / _PARTS, 1)
    distances = jnp.abs(jnp.arange(len(mask)) - middles)
    triangles = jnp.maximum(1 - distances / width, 0) * mask
    return triangles / jnp.maximum(triangles.sum(1, keepdims=True), 1e-6)
