"""Common parts of the models of clips.

A clip is [B, T, H, W, C]. Its mask [B, T] is False for frames of padding, which follow its end.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from jaxvision.core.options import call
from jaxvision.models.backbones import cnn, resnet, strided, vgg, vit
from jaxvision.models.blocks import layers
from jaxvision.models.types import Intermediates, Keys

BACKBONES = {'strided': strided, 'cnn': cnn, 'resnet': resnet, 'vgg': vgg, 'vit': vit}

Clip = Float[Array, 'b t h w c']
Mask = Bool[Array, 'b t']
# Numbers for each frame, and for each clip.
PerFrame = Float[Array, 'b t n']
PerClip = Float[Array, 'b n']


def backbone(
    name: str,
    outputs: int,
    variant: str,
    dtype: DTypeLike,
    param_dtype: DTypeLike,
    **options,
) -> nn.Module:
    """Build an image model for the frames of clips.

    Args:
        name: 'strided', 'cnn', 'resnet', 'vgg' or 'vit'.
        outputs: number of outputs for each frame, the `num_classes` of the image model.
        variant: of the image model.
        dtype: of the computation.
        param_dtype: of the parameters.
        **options: further keyword arguments of the image model's `make`.

    Returns:
        A module `(images [B, H, W, C], train, keys) -> (outputs [B, N], intermediates)`.

    Raises:
        UserError: The name, the variant or an option is unknown.
    """
    layers.one_of('backbone', name, BACKBONES)
    return call(
        BACKBONES[name].make,
        f'backbone {name!r}',
        variant,
        num_classes=outputs,
        dtype=dtype,
        param_dtype=param_dtype,
        options=options,
    )


def of_each(
    model: nn.Module,
    video: Clip,
    train: bool = False,
    keys: Keys = None,
) -> tuple[PerFrame, Intermediates]:
    """Apply an image model to every frame of every clip.

    Args:
        model: the image model, called as `model(images, train, keys)`, which returns
            (outputs [B * T, N], intermediates).
        video: clips, [B, T, H, W, C].
        train: passed on to the model.
        keys: one random key for each clip, [B]. All its frames have the same dropout masks. None:
            no dropout.

    Returns:
        Outputs [B, T, N], and intermediates [B * T, ...].
    """
    batch, time, *image_shape = video.shape
    if keys is not None:
        keys = jnp.repeat(keys, time)
    images = video.reshape(batch * time, *image_shape)
    outputs, intermediates = model(images, train, keys)
    return outputs.reshape(batch, time, -1), intermediates


def with_change(video: Clip) -> Float[Array, 'b t h w c2']:
    """Add to each frame its difference from the previous frame, as further channels.

    The result is [B, T, H, W, 2 C]: the frame, then frame minus previous frame. The difference of
    the first frame is zero.
    """
    first = video[:, :1]
    change = jnp.diff(video, axis=1, prepend=first)
    return jnp.concatenate([video, change], -1)


def average(logits: Float[Array, 'b t k'], mask: Mask) -> Float[Array, 'b k']:
    """Logarithm of the class probabilities averaged over the valid frames of each clip.

    Args:
        logits: of each frame, [B, T, K].
        mask: True for the valid frames, [B, T], at least one in each clip.
    """
    weights = mask[..., None].astype(logits.dtype)
    log_probabilities = jax.nn.log_softmax(logits)
    total = jax.nn.logsumexp(log_probabilities, axis=1, b=weights)
    return total - jnp.log(weights.sum(1))


def mean(states: PerFrame, mask: Mask) -> PerClip:
    """Mean [B, N] over the valid frames of each clip.

    The mask is True for the valid frames. A clip without any has NaN.
    """
    weights = mask[..., None].astype(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)


def last(states: PerFrame, mask: Mask) -> PerClip:
    """State [B, N] of the last valid frame of each clip.

    The mask is True for the valid frames, which must come first. A clip without any has zeros.
    """
    has_next = jnp.pad(mask[:, 1:], ((0, 0), (0, 1)))
    is_last = mask & ~has_next
    weights = is_last[..., None].astype(states.dtype)
    return jnp.sum(states * weights, 1)
