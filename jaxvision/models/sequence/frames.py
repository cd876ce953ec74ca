"""What models of clips share. A clip is [B, T, H, W, C]; where `mask` [B, T] is False a frame only
fills it up, after its end."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Key

from jaxvision.core.options import call
from jaxvision.models.backbones import cnn, resnet, strided, vgg, vit
from jaxvision.models.blocks import layers

BACKBONES = {'strided': strided, 'cnn': cnn, 'resnet': resnet, 'vgg': vgg, 'vit': vit}

Clip = Float[Array, 'b t h w c']
Mask = Bool[Array, 'b t']


def backbone(
    name: str,
    outputs: int,
    variant: str,
    dtype: DTypeLike,
    param_dtype: DTypeLike,
    **options,
) -> nn.Module:
    """Build the image model that sees each frame.

    Args:
        name: one of `BACKBONES`.
        outputs: how many numbers it answers of a frame.
        variant: its variant.
        dtype: of the computation.
        param_dtype: of the parameters.
        **options: its options.

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
    keys: Key[Array, 'b'] | None = None,
) -> tuple[Float[Array, 'b t n'], dict[str, Array]]:
    """What an image model answers of every frame, alone; what it drops is the same in all of a
    clip's. Intermediates are [B * T, ...]."""
    batch, time = video.shape[:2]
    keys = None if keys is None else jnp.repeat(keys, time)
    answers, tensors = model(video.reshape(batch * time, *video.shape[2:]), train, keys)
    return answers.reshape(batch, time, -1), tensors


def with_change(video: Clip) -> Float[Array, 'b t h w c2']:
    """Beside each frame what has changed since the one before: of the first, nothing."""
    change = jnp.diff(video, axis=1, prepend=video[:, :1])
    return jnp.concatenate([video, change], -1)


def average(logits: Float[Array, 'b t k'], mask: Mask) -> Float[Array, 'b k']:
    """The logarithm of the mean over the frames of softmax(logits)."""
    own = mask[..., None].astype(logits.dtype)
    total = jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=1, b=own)
    return total - jnp.log(own.sum(1))


def mean(states: Float[Array, 'b t n'], mask: Mask) -> Float[Array, 'b n']:
    """Over the frames of each clip."""
    own = mask[..., None].astype(states.dtype)
    return (states * own).sum(1) / own.sum(1)


def last(states: Float[Array, 'b t n'], mask: Mask) -> Float[Array, 'b n']:
    """That of the last frame of each clip."""
    end = mask & ~jnp.pad(mask[:, 1:], ((0, 0), (0, 1)))
    return jnp.sum(states * end[..., None].astype(states.dtype), 1)
