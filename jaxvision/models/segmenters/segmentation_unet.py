"""U-Net: Ronneberger et al., 2015 (arXiv 1505.04597), with any convolutional backbone as encoder.

Differences from the paper: convolutions are padded, so that no border is lost, and have batch norm.
A 1x1 convolution and interpolation take the place of the transposed convolution.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core.errors import UserError
from jaxvision.core.types import Values
from jaxvision.image.types import Size
from jaxvision.models.backbones import feature_maps
from jaxvision.models.backbones.feature_maps import map_of_stride
from jaxvision.models.blocks import layers, resampling
from jaxvision.models.segmenters import maps
from jaxvision.models.segmenters.parts import ConvNorm
from jaxvision.models.types import (
    FeatureMap,
    Images,
    Intermediates,
    Keys,
    Predictions,
)

ENLARGED = {'nearest': resampling.repeat, 'bilinear': resampling.double}
# Channels of the decoder's finest map and the most of any map, if `widths` is not set.
_FINEST_WIDTH = 16
_LARGEST_WIDTH = 256


class Convolutions(nn.Module):
    """3x3 convolutions, each with batch norm and ReLU.

    A call `(x, train)` maps [B, H, W, C] to [B, H, W, width].

    Attributes:
        width: number of output channels.
        depth: number of convolutions.
        momentum: fraction of the running statistics that a training step keeps.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    width: int
    depth: int
    momentum: float
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x: FeatureMap, train: bool) -> FeatureMap:
        """Convolve feature maps; `train` is for the statistics of the batch."""
        for i in range(1, self.depth + 1):
            conv = ConvNorm(
                self.width,
                3,
                self.momentum,
                self.dtype,
                self.param_dtype,
                name=f'conv{i}',
            )
            x = conv(x, train)
        return x


class UNet(nn.Module):
    """An encoder, and a decoder that doubles its coarsest map step by step.

    A step reduces the map to the step's width by a 1x1 convolution, and doubles it.
    It then joins the encoder's map of the same stride, if there is one, and convolves.
    Images of any size are padded to a multiple of the coarsest stride, and the logits are
    cut to the image.

    Attributes:
        backbone: the encoder without a head, called as `backbone(image, train=train,
            keys=keys)`. It returns (features, intermediates).
        num_classes: number of logits of a pixel.
        strides: of the encoder's maps in pixels, the finest first.
        steps: (stride, width) of each map of the decoder, the finest first.
        depth: number of 3x3 convolutions of a step.
        upsampling: 'nearest' or 'bilinear'.
        subpixels: whether a cell of the finest map gives the logits of each of its pixels.
            False: one vector of logits for a cell, enlarged bilinearly.
        momentum: fraction of the running statistics that a training step keeps.
        dtype: of the computation.
        param_dtype: of the parameters and of the last layer.
    """

    backbone: nn.Module
    num_classes: int
    strides: tuple[int, ...]
    steps: tuple[tuple[int, int], ...]
    depth: int = 2
    upsampling: str = 'nearest'
    subpixels: bool = False
    momentum: float = 0.9
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Images,
        train: bool = False,
        keys: Keys = None,
    ) -> tuple[Predictions, Intermediates]:
        """Compute the logits of each pixel.

        Args:
            image: normalised, [B, H, W, C], of any size.
            train: whether batch norms use the statistics of the batch.
            keys: of the examples, for dropout in the encoder.

        Returns:
            ({'logits': [B, H, W, num_classes]}, intermediates). The intermediates are the
            encoder's, the decoder's maps 'up8', 'up4', ... by their strides, and 'logits'.
        """
        _, height, width, _ = image.shape
        image = maps.padded(image, self.strides[-1])
        _, intermediates = self.backbone(image, train=train, keys=keys)
        intermediates = dict(intermediates)
        x = map_of_stride(intermediates, image, self.strides[-1])
        for stride, channels in reversed(self.steps):
            x = nn.Dense(
                channels,
                use_bias=False,
                kernel_init=layers.he_normal,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=f'up{stride}_reduction',
            )(x)
            x = ENLARGED[self.upsampling](x)
            if stride in self.strides:
                skip = map_of_stride(intermediates, image, stride)
                x = jnp.concatenate([x, skip], axis=-1)
            convolutions = Convolutions(
                channels,
                self.depth,
                self.momentum,
                self.dtype,
                self.param_dtype,
                name=f'up{stride}',
            )
            x = convolutions(x, train)
            intermediates[f'up{stride}'] = x
        logits = self._logits(x, image.shape[1:3])[:, :height, :width]
        intermediates['logits'] = logits
        return {'logits': logits}, intermediates

    def _logits(self, x: FeatureMap, size: Size) -> FeatureMap:
        """The logits of each pixel of an image of this size."""
        side = self.steps[0][0]
        if self.subpixels and side > 1:
            head = maps.head(side**2 * self.num_classes, self.param_dtype)
            return resampling.pixel_shuffle(head(x), side)
        head = maps.head(self.num_classes, self.param_dtype)
        return maps.resized(head(x), size)


# Examples; the variant is a backbone's name and its variant.
VARIANTS = ('cnn:16x1-32x1-64x1-96', 'resnet:18', 'efficientnet:Lite0')


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    widths: str = '',
    depth: int = 2,
    finest: int = 1,
    upsampling: str = 'nearest',
    subpixels: bool = False,
    momentum: float = 0.9,
    backbone: Values | None = None,
) -> UNet:
    """Build a U-Net for segmentation.

    Args:
        variant: name and variant of the encoder, 'resnet:18'. It needs feature maps of
            at least two strides, each twice another one.
        num_classes: number of logits of a pixel. They may stand for anything, such as
            the centre and the border of objects.
        dtype: of the computation.
        param_dtype: of the parameters.
        widths: channels of the decoder's maps, the finest first, as '16-32-64'. The
            decoder has a map for each halving of the encoder's coarsest stride, down to
            `finest`. '': 16, 32, 64, ... up to 256.
        depth: number of 3x3 convolutions of each map of the decoder.
        finest: stride of the decoder's finest map, pixels. 2 is several times faster than 1.
        upsampling: 'nearest' or 'bilinear', between maps of the decoder.
        subpixels: whether a cell of the finest map gives the logits of each of its pixels.
            False: one vector of logits for a cell, enlarged bilinearly. It changes
            nothing if the finest map has a stride of 1.
        momentum: fraction of the running statistics that a training step keeps. The
            encoder takes it too, unless its options say otherwise.
        backbone: options of the encoder by name; None: its defaults.

    Raises:
        UserError: The variant or an option is wrong.
    """
    layers.one_of('upsampling', upsampling, ENLARGED)
    encoder = feature_maps.make_backbone(
        variant, backbone, momentum=momentum, dtype=dtype, param_dtype=param_dtype
    )
    strides = feature_maps.strides_of(encoder)
    decoder_strides = _halvings(strides[-1], finest)
    decoder_widths = _widths(widths, decoder_strides)
    return UNet(
        backbone=encoder,
        num_classes=num_classes,
        strides=strides,
        steps=tuple(zip(decoder_strides, decoder_widths, strict=True)),
        depth=depth,
        upsampling=upsampling,
        subpixels=subpixels,
        momentum=momentum,
        dtype=dtype,
        param_dtype=param_dtype,
    )


def _halvings(coarsest: int, finest: int) -> tuple[int, ...]:
    """Strides from `finest` on, each twice the one before, below the coarsest one."""
    strides = []
    stride = coarsest
    while stride % 2 == 0 and stride // 2 >= finest:
        stride //= 2
        strides.append(stride)
    if finest < 1 or not strides:
        raise UserError(
            f'model.options.finest={finest}: expected 1 or more pixels, and at most half of '
            f'the coarsest stride of the backbone, {coarsest}. Choose another number'
        )
    return tuple(reversed(strides))


def _widths(text: str, strides: tuple[int, ...]) -> tuple[int, ...]:
    """The widths of the decoder's maps, the finest first."""
    if not text:
        return tuple(
            min(_FINEST_WIDTH * 2**step, _LARGEST_WIDTH) for step in range(len(strides))
        )
    parsed = layers.stages('segmentation_unet', text, 1, 'model.options.widths')
    widths = tuple(width for width, _ in parsed)
    if len(widths) != len(strides):
        listed = ', '.join(map(str, strides))
        raise UserError(
            f'model.options.widths={text!r}: expected {len(strides)} numbers, for the maps '
            f"of strides {listed}. Write them as '16-32-64'"
        )
    return widths
