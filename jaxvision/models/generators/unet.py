"""A U-Net for inpainting (Ronneberger et al. 2015), with one of three kinds of convolution.

- 'gated': Yu et al., "Free-Form Image Inpainting with Gated Convolution", 2019.
- 'partial': Liu et al., "Image Inpainting for Irregular Holes Using Partial Convolutions", 2018.
- 'plain'.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from jaxvision.models.blocks import convolution, layers, resampling
from jaxvision.models.types import Images, Intermediates

Maps = Float[Array, 'b h2 w2 n']
# The fraction of known features at each pixel, in [0, 1].
Known = Float[Array, 'b h w 1']

# Slope of leaky ReLU below zero.
SLOPE = 0.2
# By the number of inputs, because joined maps have more inputs than outputs.
he_normal = nn.initializers.variance_scaling(2 / (1 + SLOPE**2), 'fan_in', 'normal')


class GatedConv(nn.Module):
    """A 3x3 convolution with leaky ReLU, times a sigmoid gate from the same pixels.

    Attributes:
        width: number of output channels.
        strides: along both axes.
        norm: builds the norm before the ReLU from its `name`, or None.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    width: int
    strides: int = 1
    norm: Callable | None = None
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Images) -> Maps:
        # One convolution for both is faster than two.
        features_and_gate = _conv(self, 2 * self.width)(x)
        features, gate = jnp.split(features_and_gate, 2, axis=-1)
        return _activated(self, features) * nn.sigmoid(gate)


class PartialConv(nn.Module):
    """A 3x3 convolution of the known features alone, with leaky ReLU.

    Unknown features must be zero. For a window of |W| features with |K| known ones, the output is
    y = kernel * x |W| / |K| + bias. A pixel without any known feature in its window is 0, and stays
    unknown. Nothing is known beyond the edge of the image.

    A call takes features and a mask [B, H, W, 1], the fraction of each pixel's features
    that are known. It returns (features, new mask of 0 and 1).

    Attributes:
        width: number of output channels.
        strides: along both axes.
        norm: builds the norm before the ReLU from its `name`, or None.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    width: int
    strides: int = 1
    norm: Callable | None = None
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Images,
        known: Known,
    ) -> tuple[Maps, Float[Array, 'b h2 w2 1']]:
        """Convolve the known features.

        Args:
            x: features [B, H, W, C], zero where unknown.
            known: the fraction of the features that is known at each pixel, in [0, 1].

        Returns:
            Features [B, H2, W2, width], and [B, H2, W2, 1]: 1 where they are known, 0 elsewhere.
        """
        zeros = nn.initializers.zeros
        bias = self.param('bias', zeros, (self.width,), self.param_dtype)
        strides = (self.strides, self.strides)
        # |K| / |W|.
        fraction = nn.avg_pool(known, (3, 3), strides, [(1, 1), (1, 1)])
        is_known = fraction > 0
        y = _conv(self, self.width, use_bias=False)(x)
        y = y / jnp.where(is_known, fraction, 1)
        known = is_known.astype(known.dtype)
        return _activated(self, y + bias.astype(y.dtype)) * known, known


class PlainConv(nn.Module):
    """A 3x3 convolution with leaky ReLU.

    Attributes:
        width: number of output channels.
        strides: along both axes.
        norm: builds the norm before the ReLU from its `name`, or None.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    width: int
    strides: int = 1
    norm: Callable | None = None
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Images) -> Maps:
        return _activated(self, _conv(self, self.width)(x))


def _conv(module: nn.Module, width: int, **options) -> nn.Module:
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


def _activated(module: nn.Module, x: Maps) -> Maps:
    if module.norm:
        x = module.norm(name='norm')(x)
    return nn.leaky_relu(x, SLOPE)


CONVOLUTIONS = {'gated': GatedConv, 'partial': PartialConv, 'plain': PlainConv}


class UNet(nn.Module):
    """An encoder of stages that halve the map, and a decoder that doubles it, joined at each size.

    A call takes images [B, H, W, C] in [0, 1] of any size, and a mask [B, H, W, 1], True in the
    hole. With 'partial', pixels in the hole are ignored, otherwise they are read. `train` matters
    only with batch norm.

    A call returns (output [B, H, W, out], intermediates): 'stage1', 'stage2', ... of the encoder,
    ..., 'up2', 'up1' of the decoder, and 'output'. The output is meant to be added to the image.
    It is zero at first. The decoder doubles maps by repetition.

    Attributes:
        out: number of output channels.
        stages: (width, number of convolutions) of each stage.
        convolution: 'gated', 'partial' or 'plain'.
        norm: 'none' or 'batch'.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    out: int
    stages: tuple[tuple[int, int], ...]
    convolution: str = 'gated'
    norm: str = 'none'
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Images,
        hole: Bool[Array, 'b h w 1'],
        train: bool = False,
    ) -> tuple[Maps, Intermediates]:
        norm = None
        if self.norm != 'none':
            norm = layers.normalization(
                self.norm,
                train,
                self.dtype,
                self.param_dtype,
            )

        def convolve(x, known, width, strides, name):
            conv = CONVOLUTIONS[self.convolution](
                width,
                strides,
                norm,
                self.dtype,
                self.param_dtype,
                name=name,
            )
            if self.convolution == 'partial':
                return conv(x, known)
            return conv(x), known[:, ::strides, ::strides]

        known = 1 - hole.astype(self.dtype)
        x = (2 * image - 1).astype(self.dtype)
        if self.convolution == 'partial':
            x = x * known
        else:
            x = jnp.concatenate([x, known], -1)
        maps = []
        intermediates = {}
        for stage, (width, depth) in enumerate(self.stages, start=1):
            for i in range(1, depth + 1):
                strides = 1
                if stage > 1 and i == 1:
                    strides = 2
                x, known = convolve(x, known, width, strides, f'stage{stage}_conv{i}')
            maps.append((x, known))
            intermediates[f'stage{stage}'] = x
        for stage in range(len(self.stages) - 1, 0, -1):
            width, depth = self.stages[stage - 1]
            skip, skip_known = maps[stage - 1]
            x = resampling.repeat(x)
            known = resampling.repeat(known)
            x, known = _joined(x, known, skip, skip_known)
            for i in range(1, depth + 1):
                x, known = convolve(x, known, width, 1, f'up{stage}_conv{i}')
            intermediates[f'up{stage}'] = x
        output = convolution.Conv(
            self.out,
            (3, 3),
            kernel_init=nn.initializers.zeros,
            name='output',
            dtype=self.param_dtype,
            param_dtype=self.param_dtype,
        )(x)
        # Adam moves all weights by equal steps, and their sum would move too far without scaling.
        output = output / math.sqrt(9 * x.shape[-1])
        intermediates['output'] = output
        return output, intermediates


def _joined(
    x: Float[Array, 'b _h _w _n'],
    known: Float[Array, 'b _h _w 1'],
    skip: Float[Array, 'b h w n'],
    skip_known: Known,
) -> tuple[Float[Array, 'b h w _m'], Known]:
    """Concatenate the decoder's and the encoder's features of one size.

    A doubled map of odd size has one row or column too many, which is cut off.

    Args:
        x: the decoder's features.
        known: the fraction of them that is known.
        skip: the encoder's features.
        skip_known: the fraction of them that is known.

    Returns:
        All features, and the fraction of them that is known.
    """
    _, height, width, skip_channels = skip.shape
    x = x[:, :height, :width]
    known = known[:, :height, :width]
    fraction = x.shape[-1] / (x.shape[-1] + skip_channels)
    features = jnp.concatenate([x, skip], -1)
    return features, fraction * known + (1 - fraction) * skip_known


# Examples. The docstring of `make` describes all variants.
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
        variant: widths of the stages, '32-64-128'. A stage has two convolutions, or the number
            after an 'x': '16x1-64x2-128x2'.
        channels: of the image.
        dtype: of the computation.
        param_dtype: of the parameters.
        convolution: 'gated' (times a sigmoid gate), 'partial' (of known pixels alone) or 'plain'.
        norm: 'none' or 'batch'.

    Raises:
        UserError: The variant is not such a list, or an option is unknown.
    """
    layers.one_of('convolution', convolution, CONVOLUTIONS)
    layers.one_of('norm', norm, ('none', 'batch'))
    stages = layers.stages('unet', variant, depth=2)
    return UNet(
        channels,
        stages,
        convolution,
        norm,
        dtype,
        param_dtype,
    )
