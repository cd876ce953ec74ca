"""FCN: Long et al., 2015 (arXiv 1411.4038), in torchvision's form on a dilated ResNet."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core.types import Values
from jaxvision.models.blocks import layers
from jaxvision.models.segmenters import atrous, maps
from jaxvision.models.segmenters.atrous import AtrousSegmenter
from jaxvision.models.segmenters.parts import ConvNorm
from jaxvision.models.types import FeatureMap, Keys

_DROPOUT = 0.1


class FCNHead(nn.Module):
    """A 3x3 convolution to a fourth of the channels, dropout, and the logits of each cell.

    Attributes:
        num_classes: number of logits of a cell.
        momentum: fraction of the running statistics that a training step keeps.
        dtype: of the computation.
        param_dtype: of the parameters and of the last layer.
    """

    num_classes: int
    momentum: float
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: FeatureMap, fine: FeatureMap | None, train: bool, keys: Keys
    ) -> FeatureMap:
        """Compute logits [B, H, W, K] of a map [B, H, W, C]; `fine` is not used."""
        width = x.shape[-1] // 4
        conv = ConvNorm(
            width, 3, self.momentum, self.dtype, self.param_dtype, name='hidden'
        )
        x = layers.Dropout(_DROPOUT, name='dropout')(conv(x, train), keys)
        return maps.head(self.num_classes, self.param_dtype, 'scores')(x)


# The backbones of torchvision's models.
PUBLISHED = {'resnet50': 'resnet:50', 'resnet101': 'resnet:101'}
# The published ones, and an example of the free form: a backbone's name and its variant.
VARIANTS = (*PUBLISHED, 'resnet:18')


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    output_stride: int = 8,
    auxiliary: bool = True,
    momentum: float = 0.9,
    backbone: Values | None = None,
) -> AtrousSegmenter:
    """Build an FCN.

    Args:
        variant: 'resnet50' or 'resnet101' as torchvision publishes them, or name and
            variant of a backbone, 'resnet:18'.
        num_classes: number of logits of a cell, with the background.
        dtype: of the computation.
        param_dtype: of the parameters.
        output_stride: pixels of a cell of the map that the head reads. A ResNet is dilated
            for 8 and 16. Another backbone needs a map of this stride.
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
    head = FCNHead(num_classes, momentum, **types)
    return AtrousSegmenter(
        backbone=atrous.make_dilated(
            variant, backbone, output_stride, momentum=momentum, **types
        ),
        head=head,
        auxiliary=FCNHead(num_classes, momentum, **types) if auxiliary else None,
        output_stride=output_stride,
    )
