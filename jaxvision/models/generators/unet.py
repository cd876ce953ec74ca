"""A U-Net (Ronneberger et al. 2015) that fills holes, of one of three kinds of convolution:
'gated' (Yu et al., "Free-Form Image Inpainting with Gated Convolution", 2019), 'partial' (Liu et
al., "Image Inpainting for Irregular Holes Using Partial Convolutions", 2018) or 'plain'."""

import math
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from jaxvision.models.blocks import convolution, layers, resampling

SLOPE = 0.2  # of leaky ReLU below zero
# By what comes in, because joined maps make more of it than goes out.
he_normal = nn.initializers.variance_scaling(2 / (1 + SLOPE**2), 'fan_in', 'normal')


class GatedConv(nn.Module):
    """3x3, leaky ReLU; each feature times a sigmoid that the same pixels open or close."""

    width: int
    strides: int = 1
    norm: Callable | None = None
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b h2 w2 n']:
        # One convolution for both is faster than two.
        both = _conv(self, 2 * self.width)(x)
        features, gate = jnp.split(both, 2, axis=-1)
        return _activated(self, features) * nn.sigmoid(gate)


class PartialConv(nn.Module):
    """3x3, leaky ReLU; known features stand for those of the window that are not.

    `known` is the share of a pixel's features that are known; unknown ones are taken for zero. With
    W the window's features and K the known of them: y = kernel * x |W| / |K| + bias, known, where
    there is one, else 0 and unknown. Beyond the image's edge nothing is known.
    """

    width: int
    strides: int = 1
    norm: Callable | None = None
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, 'b h w c'], known: Float[Array, 'b h w 1']
    ) -> tuple[Float[Array, 'b h2 w2 n'], Float[Array, 'b h2 w2 1']]:
        bias = self.param(
            'bias', nn.initializers.zeros, (self.width,), self.param_dtype
        )
        share = nn.avg_pool(
            known, (3, 3), (self.strides,) * 2, [(1, 1), (1, 1)]
        )  # |K| / |W|
        y = _conv(self, self.width, use_bias=False)(x) / jnp.where(share > 0, share, 1)
        seen = (share > 0).astype(known.dtype)
        return _activated(self, y + bias.astype(y.dtype)) * seen, seen


class PlainConv(nn.Module):
    """3x3, leaky ReLU."""

    width: int
    strides: int = 1
    norm: Callable | None = None
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b h2 w2 n']:
        return _activated(self, _conv(self, self.width)(x))


def _conv(module, width, **options):
    return convolution.Conv(
        width,
        (3, 3),
        module.strides,
        1,
        kernel_init=he_normal,
        name='conv',
        dtype=module.dtype,
        param_dtype=module.param_dtype,
        **options,
    )


def _activated(module, x):
    return nn.leaky_relu(module.norm(name='norm')(x) if module.norm else x, SLOPE)


CONVOLUTIONS = {'gated': GatedConv, 'partial': PartialConv, 'plain': PlainConv}


class UNet(nn.Module):
    """Stages of convolutions, the first of each but the first halving the map; then back, each map
    doubled by repetition and joined to the one that it came from. Any size of image.

    It answers a map [B, H, W, out] that is zero at first: what is to be added to the picture.
    Intermediates: 'stage1', 'stage2', ... going down, 'up2', 'up1' going up, 'output'.
    """

    out: int
    stages: tuple[tuple[int, int], ...]  # (width, convolutions)
    convolution: str = 'gated'
    norm: str = 'none'
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Float[Array, 'b h w c'],
        hole: Bool[Array, 'b h w 1'],
        train: bool = False,
    ) -> tuple[Float[Array, 'b h w n'], dict[str, Array]]:
        norm = (
            None
            if self.norm == 'none'
            else layers.normalization(self.norm, train, self.dtype, self.param_dtype)
        )

        def convolve(x, known, width, strides, name):
            conv = CONVOLUTIONS[self.convolution](
                width, strides, norm, self.dtype, self.param_dtype, name=name
            )
            if self.convolution == 'partial':
                return conv(x, known)
            return conv(x), known[:, ::strides, ::strides]

        known = 1 - hole.astype(self.dtype)
        x = (2 * image - 1).astype(self.dtype)
        x = (
            x * known
            if self.convolution == 'partial'
            else jnp.concatenate([x, known], -1)
        )
        maps, tensors = [], {}
        for stage, (width, depth) in enumerate(self.stages, start=1):
            for i in range(1, depth + 1):
                strides = 2 if stage > 1 and i == 1 else 1
                x, known = convolve(x, known, width, strides, f'stage{stage}_conv{i}')
            maps.append((x, known))
            tensors[f'stage{stage}'] = x
        for stage in range(len(self.stages) - 1, 0, -1):
            width, depth = self.stages[stage - 1]
            x, known = _joined(
                resampling.repeat(x), resampling.repeat(known), *maps[stage - 1]
            )
            for i in range(1, depth + 1):
                x, known = convolve(x, known, width, 1, f'up{stage}_conv{i}')
            tensors[f'up{stage}'] = x
        output = convolution.Conv(
            self.out,
            (3, 3),
            kernel_init=nn.initializers.zeros,
            name='output',
            dtype=self.param_dtype,
            param_dtype=self.param_dtype,
        )(x)
        # Else a step of Adam's, the same for each weight, moves the sum of all of them too far.
        tensors['output'] = output = output / math.sqrt(9 * x.shape[-1])
        return output, tensors


def _joined(x, x_known, skip, skip_known):
    """The features of both, and the share of them that are known; of a map of odd size half a pixel
    was rounded up to a whole one, which is cut off."""
    height, width, n = skip.shape[1:]
    x, x_known = x[:, :height, :width], x_known[:, :height, :width]
    share = x.shape[-1] / (x.shape[-1] + n)
    return jnp.concatenate([x, skip], -1), share * x_known + (1 - share) * skip_known


# Examples; the docstring of `make` says what others there are.
VARIANTS = ('32-64-128', '16x1-48-96-128')


def make(
    variant: str,
    *,
    channels: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    convolution: str = 'gated',
    norm: str = 'none',
) -> UNet:
    """Build a U-Net.

    Args:
        variant: the stages' widths, '32-64-128', each of two convolutions, or of as many
            as 'x' says: '16x1-64x2-128x2'.
        channels: of the image.
        dtype: of the computation.
        param_dtype: of the parameters.
        convolution: 'gated', 'partial' or 'plain'.
        norm: 'none' or 'batch'.

    Raises:
        UserError: The variant is not such a list, or an option is unknown.
    """
    layers.one_of('convolution', convolution, CONVOLUTIONS)
    layers.one_of('norm', norm, ('none', 'batch'))
    return UNet(
        channels,
        layers.stages('unet', variant, depth=2),
        convolution,
        norm,
        dtype,
        param_dtype,
    )
