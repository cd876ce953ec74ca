"""DCGAN: Radford et al., "Unsupervised representation learning with deep convolutional generative
adversarial networks", 2015. Images are in [-1, 1]."""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxvision.core.errors import UserError
from jaxvision.models.blocks import convolution, layers, resampling

SCORE_DEPENDS_ON_BATCH = True  # batch norm: no image is scored alone

narrow_normal = nn.initializers.normal(0.02)


class Generator(nn.Module):
    """Projected to 4x4, then 5x5 transposed convolutions with batch norm and ReLU; tanh."""

    widths: tuple[int, ...]  # from 4x4 up
    channels: int
    classes: int
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        latent: Float[Array, 'b z'],
        label: Int[Array, 'b'] | None = None,
        train: bool = False,
    ) -> Float[Array, 'b h w c']:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        up = partial(
            resampling.ConvTranspose,
            kernel_size=(5, 5),
            kernel_init=narrow_normal,
            **types,
        )
        norm = layers.normalization('batch', train, **types)
        given = latent
        if self.classes:
            given = jnp.concatenate([latent, jax.nn.one_hot(label, self.classes)], -1)
        x = nn.Dense(
            16 * self.widths[0],
            use_bias=False,
            kernel_init=narrow_normal,
            **types,
            name='project',
        )(given).reshape(-1, 4, 4, self.widths[0])
        x = nn.relu(norm(name='norm1')(x))
        for stage, width in enumerate(self.widths[1:], start=2):
            x = up(width, use_bias=False, name=f'up{stage}')(x)
            x = nn.relu(norm(name=f'norm{stage}')(x))
        return jnp.tanh(up(self.channels, name='to_image')(x))


class Discriminator(nn.Module):
    """5x5 convolutions with strides of 2, leaky ReLU, batch norm but in the first. The class, if
    there is one, enters as in Miyato and Koyama (2018). Intermediates: 'stage1', ..., 'pooled'."""

    widths: tuple[int, ...]  # from 4x4 up, as the generator's
    classes: int
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        image: Float[Array, 'b h w c'],
        label: Int[Array, 'b'] | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, 'b'], dict[str, Array]]:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = layers.normalization('batch', train, **types)
        tensors, x = {}, image
        for stage, width in enumerate(reversed(self.widths), start=1):
            x = convolution.Conv(
                width,
                (5, 5),
                2,
                use_bias=stage == 1,
                kernel_init=narrow_normal,
                **types,
                name=f'conv{stage}',
            )(x)
            if stage > 1:
                x = norm(name=f'norm{stage}')(x)
            tensors[f'stage{stage}'] = x = nn.leaky_relu(x, 0.2)
        tensors['pooled'] = x = x.reshape(len(x), -1)
        return layers.projection_score(
            x, label, self.classes, self.param_dtype
        ), tensors


# Examples; the docstring of `make` says what others there are.
VARIANTS = ('256-128-64', '512-256-128-64')


def make(
    variant: str,
    *,
    num_classes: int,
    image_shape: Sequence[int],
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
) -> tuple[Generator, Discriminator]:
    """Build a generator and a discriminator.

    Args:
        variant: the widths from 4x4 up: the paper's '512-256-128-64' for 64 pixels,
            '256-128-64' for 32.
        num_classes: classes that they are told of; 0 for none.
        image_shape: (height, width, channels), of which the first two are equal.
        dtype: of the computation.
        param_dtype: of the parameters.

    Raises:
        UserError: The variant makes images of another size.
    """
    widths = tuple(width for width, _ in layers.stages('dcgan', variant, 1))
    classes, (height, _, channels) = num_classes, image_shape
    if 4 * 2 ** len(widths) != height:
        raise UserError(
            f'model.variant={variant!r} makes images of {4 * 2 ** len(widths)} pixels; '
            f'these have {height}'
        )
    return (
        Generator(widths, channels, classes, dtype, param_dtype),
        Discriminator(widths, classes, dtype, param_dtype),
    )
