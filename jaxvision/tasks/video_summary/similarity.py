"""What a video looks like to itself: how far its frames are from each other, whatever they show."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

WIDTH = 24  # numbers of a frame in `similarity`
_PARTS = WIDTH - 4


def similarity(
    features: Float[Array, 't d'], mask: Bool[Array, 't']
) -> Float[Array, 't 24']:
    """Of each frame its distances from 20 parts of the video, its place in time in (0, 1), and how
    far it is from the mean frame, from all frames, and from the one before.

    A self-similarity matrix (Junejo et al. 2011, "View-independent action recognition from temporal
    self-similarities"), of which every row is read at 20 places, whatever the video's length.
    Distances are squared (but the last), in units of the frames' own variance: so a nearly
    still video looks like a restless one, and no colour and no edge is known. 0 outside the mask.
    """
    frames = jnp.maximum(mask.sum(), 1).astype(features.dtype)
    centred = jnp.where(
        mask[:, None], features - (features * mask[:, None]).sum(0) / frames, 0
    )
    from_mean = jnp.square(centred).sum(1)
    variance = from_mean.sum() / frames + 1e-6
    squares = jnp.maximum(from_mean[:, None] + from_mean - 2 * centred @ centred.T, 0)
    apart = jnp.where(mask, squares / (2 * variance), 0)
    change = jnp.square(jnp.diff(centred, axis=0, prepend=centred[:1])).sum(1)
    place = (jnp.arange(len(mask)) + 0.5) / frames
    seen = [
        apart @ _parts(mask, frames).T,
        jnp.stack(
            [
                place,
                from_mean / variance,
                apart.sum(1) / frames,
                jnp.sqrt(change / variance),
            ],
            1,
        ),
    ]
    return jnp.concatenate(seen, 1) * mask[:, None].astype(features.dtype)


def _parts(mask, frames):
    """Weights [parts, t] of the frames in equal parts of a video: hats, one frame wide at least."""
    middles = (jnp.arange(_PARTS) + 0.5) / _PARTS * frames - 0.5
    middles = jnp.clip(middles, 0, frames - 1)[:, None]
    hats = (
        jnp.maximum(
            1
            - jnp.abs(jnp.arange(len(mask)) - middles)
            / jnp.maximum(frames / _PARTS, 1),
            0,
        )
        * mask
    )
    return hats / jnp.maximum(hats.sum(1, keepdims=True), 1e-6)
