"""DeepLabv3 (arXiv 1706.05587), and DeepLabv3+ (arXiv 1802.02611) by the option `decoder`."""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core.errors import UserError
from jaxvision.core.types import Values
from jaxvision.models.blocks import layers
from jaxvision.models.segmenters import atrous, maps
from jaxvision.models.segmenters.atrous import AtrousSegmenter
from jaxvision.models.segmenters.fcn import PUBLISHED, FCNHead
from jaxvision.models.segmenters.parts import ConvNorm
from jaxvision.models.types import FeatureMap, Keys

# Pixels between the taps of the dilated convolutions: 12, 24 and 36 cells at a stride of 8.
_REACHES = (96, 192, 288)
_DROPOUT = 0.5
# Channels of the fine map in the decoder (arXiv 1802.02611, table 1).
_FINE_WIDTH = 48


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: convolutions of several dilations side by side.

    A call `(x, train, keys)` maps [B, H, W, C] to [B, H, W, width]. Beside a 1x1
    convolution and the dilated 3x3 ones is the mean of the map.

    Attributes:
        width: channels of each branch and of the output.
        rates: dilations of the 3x3 convolutions, cells.
        momentum: fraction of the running statistics that a training step keeps.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    width: int
    rates: tuple[int, ...]
    momentum: float
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x: FeatureMap, train: bool, keys: Keys) -> FeatureMap:
        """Compute the branches and join them."""
        conv = functools.partial(
            ConvNorm,
            self.width,
            momentum=self.momentum,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        branches = [conv(1, name='branch1')(x, train)]
        for i, rate in enumerate(self.rates, start=2):
            branch = conv(3, dilation=rate, name=f'branch{i}')
            branches.append(branch(x, train))
        mean = x.mean((1, 2), keepdims=True)
        pooled = conv(1, name='pooled')(mean, train)
        branches.append(jnp.broadcast_to(pooled, branches[0].shape))
        joined = jnp.concatenate(branches, axis=-1)
        joined = conv(1, name='joined')(joined, train)
        return layers.Dropout(_DROPOUT, name='dropout')(joined, keys)


class DeepLabHead(nn.Module):
    """The pyramid of dilated convolutions, and the logits of each cell.

    Without a decoder, a 3x3 convolution follows. The decoder first enlarges the map to
    the cells of a finer one, of which it joins 48 channels, and has two 3x3 convolutions.

    Attributes:
        num_classes: number of logits of a cell.
        width: channels of all convolutions.
        rates: dilations of the pyramid, cells.
        momentum: fraction of the running statistics that a training step keeps.
        dtype: of the computation.
        param_dtype: of the parameters and of the last layer.
    """

    num_classes: int
    width: int
    rates: tuple[int, ...]
    momentum: float
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: FeatureMap, fine: FeatureMap | None, train: bool, keys: Keys
    ) -> FeatureMap:
        """Compute the logits of a map.

        Args:
            x: [B, H, W, C].
            fine: [B, h, w, c], the finer map of the decoder. None: no decoder.
            train: whether batch norms use the statistics of the batch.
            keys: of the examples, for dropout.

        Returns:
            [B, h, w, K], or [B, H, W, K] without a decoder.
        """
        common = dict(
            momentum=self.momentum, dtype=self.dtype, param_dtype=self.param_dtype
        )
        aspp = ASPP(self.width, self.rates, name='aspp', **common)
        x = aspp(x, train, keys)
        depth = 1
        if fine is not None:
            reduced = ConvNorm(_FINE_WIDTH, 1, name='fine', **common)(fine, train)
            x = maps.resized(x, fine.shape[1:3])
            x = jnp.concatenate([x, reduced], axis=-1)
            depth = 2
        for i in range(1, depth + 1):
            x = ConvNorm(self.width, 3, name=f'hidden{i}', **common)(x, train)
        return maps.head(self.num_classes, self.param_dtype, 'scores')(x)


# The published ones, and an example of the free form: a backbone's name and its variant.
VARIANTS = (*PUBLISHED, 'resnet:18')


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    output_stride: int = 8,
    rates: str = '',
    width: int = 256,
    decoder: bool = False,
    auxiliary: bool = True,
    momentum: float = 0.9,
    backbone: Values | None = None,
) -> AtrousSegmenter:
    """Build a DeepLabv3, or a DeepLabv3+ with a decoder.

    Args:
        variant: 'resnet50' or 'resnet101' as torchvision publishes them, or name and
            variant of a backbone, 'resnet:18'.
        num_classes: number of logits of a cell, with the background.
        dtype: of the computation.
        param_dtype: of the parameters.
        output_stride: pixels of a cell of the map that the head reads. A ResNet is dilated
            for 8 and 16. Another backbone needs a map of this stride.
        rates: dilations of the 3x3 convolutions of the head in cells, as '6-12-18'. '':
            12, 24 and 36 at an output stride of 8, and half of them at 16.
        width: channels of the head's convolutions.
        decoder: whether a decoder joins a map of a stride of 4 pixels, as in DeepLabv3+.
        auxiliary: whether there is a second head in training, for the map before.
        momentum: fraction of the running statistics that a training step keeps. The
            backbone takes it too, unless its options say otherwise.
        backbone: options of the backbone by name; None: its defaults.

    Raises:
        UserError: The variant or an option is wrong. Only a call of the model finds
            that the backbone has no map of the output stride.
    """
    types = {'dtype': dtype, 'param_dtype': param_dtype}
    variant = PUBLISHED.get(variant, variant)
    head = DeepLabHead(
        num_classes, width, _rates(rates, output_stride), momentum, **types
    )
    return AtrousSegmenter(
        backbone=atrous.make_dilated(
            variant, backbone, output_stride, momentum=momentum, **types
        ),
        head=head,
        auxiliary=FCNHead(num_classes, momentum, **types) if auxiliary else None,
        output_stride=output_stride,
        has_decoder=decoder,
    )


def _rates(text: str, output_stride: int) -> tuple[int, ...]:
    """The dilations of the head, in cells."""
    if not text:
        return tuple(max(reach // output_stride, 1) for reach in _REACHES)
    parts = text.split('-')
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UserError(
            f'model.options.rates={text!r}: expected dilations in cells. Write them as '
            "'6-12-18'"
        )
    return tuple(map(int, parts))
