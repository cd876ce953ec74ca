"""SegFormer: Xie et al., 2021 (arXiv 2105.15203), with any backbone."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core.types import Values
from jaxvision.models.backbones import feature_maps
from jaxvision.models.backbones.mit import MiT
from jaxvision.models.backbones.vit import ViT
from jaxvision.models.blocks import layers
from jaxvision.models.segmenters import maps
from jaxvision.models.types import FeatureMap, Images, Intermediates, Keys, Predictions

_DROPOUT = 0.1
_FINEST = 4  # least stride of the maps, pixels, if `strides` is not set
_TOKEN_MAPS = 4  # number of blocks of a ViT whose tokens are maps


class MLPHead(nn.Module):
    """Two linear layers for each feature map, their sum, and the logits of each cell.

    A call `(inputs, train, keys)` returns logits [B, H, W, K] of the size of the first map.

    Between the layers the paper enlarges all maps and joins them. The second layer is
    applied before the enlargement here, which gives the same sum with less work.

    Attributes:
        num_classes: number of logits of a cell.
        width: channels of the layers.
        momentum: fraction of the running statistics that a training step keeps.
        dtype: of the computation.
        param_dtype: of the parameters and of the last layer.
    """

    num_classes: int
    width: int
    momentum: float
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self, inputs: Sequence[FeatureMap], train: bool, keys: Keys
    ) -> FeatureMap:
        """Compute the logits of the cells of the first map.

        Args:
            inputs: [B, h, w, c], the finest first.
            train: whether batch norm uses the statistics of the batch.
            keys: of the examples, for dropout.
        """
        dense = functools.partial(
            nn.Dense,
            self.width,
            kernel_init=layers.he_normal,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        size = inputs[0].shape[1:3]
        total = jnp.zeros((), self.dtype)
        for i, x in enumerate(inputs, start=1):
            x = dense(name=f'linear{i}')(x)
            x = dense(use_bias=False, name=f'fusion{i}')(x)
            total = total + maps.resized(x, size)
        norm = layers.normalization(
            'batch', train, self.dtype, self.param_dtype, self.momentum
        )
        x = nn.relu(norm(name='norm')(total))
        x = layers.Dropout(_DROPOUT, name='dropout')(x, keys)
        return maps.head(self.num_classes, self.param_dtype, 'scores')(x)


class SegFormer(nn.Module):
    """A backbone, and a head for several of its feature maps.

    Attributes:
        backbone: a model without a head, called as `backbone(image, train=train,
            keys=keys)`. It returns (features, intermediates).
        head: called as `head(maps, train, keys)`.
        strides: of the maps in pixels, the finest first. For a ViT, the side of a patch.
    """

    backbone: nn.Module
    head: MLPHead
    strides: tuple[int, ...]

    def __call__(
        self,
        image: Images,
        train: bool = False,
        keys: Keys = None,
    ) -> tuple[Predictions, Intermediates]:
        """Compute the logits of each cell of the finest map.

        Args:
            image: normalised, [B, H, W, C], of any size that the backbone takes.
            train: whether batch norms use the statistics of the batch.
            keys: of the examples, for dropout.

        Returns:
            ({'logits': [B, h, w, K]}, intermediates). h and w are those of the finest map,
            see `maps.resized`.
        """
        _, intermediates = self.backbone(image, train=train, keys=keys)
        if isinstance(self.backbone, ViT):
            chosen = feature_maps.of_tokens(
                intermediates, image, self.strides[0], _TOKEN_MAPS
            )
        else:
            chosen = [
                feature_maps.last_two(intermediates, image, stride)[1]
                for stride in self.strides
            ]
        outputs = {'logits': self.head(chosen, train, keys)}
        return outputs, {**intermediates, **outputs}


# (backbone, channels of the head) of each published variant.
PUBLISHED = {
    'b0': ('mit:b0', 256),
    'b1': ('mit:b1', 256),
    'b2': ('mit:b2', 768),
    'b3': ('mit:b3', 768),
    'b4': ('mit:b4', 768),
    'b5': ('mit:b5', 768),
}
# The published ones, and an example of the free form: a backbone's name and its variant.
VARIANTS = (*PUBLISHED, 'convnext:T')


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    strides: str = '',
    width: int = 0,
    momentum: float = 0.9,
    backbone: Values | None = None,
) -> SegFormer:
    """Build a SegFormer.

    Args:
        variant: 'b0' to 'b5' as published, or name and variant of a backbone, such as
            'mit:b0', 'convnext:T' or 'vit:S/16'.
        num_classes: number of logits of a cell.
        dtype: of the computation.
        param_dtype: of the parameters.
        strides: pixels of a cell of each map of the backbone, as '4-8-16-32'. '': all from
            4 on, or all if these are fewer than two. A ViT has the strides of its
            patches alone: its maps are the tokens of four blocks.
        width: channels of the head, 0 for those of the published variant, or else 256.
        momentum: fraction of the running statistics that a training step keeps. The
            backbone takes it too, unless its options say otherwise.
        backbone: options of the backbone by name; None: its defaults.

    Raises:
        UserError: The variant or an option is wrong. Only a call of the model finds
            that the backbone has no map of a stride.
    """
    types = {'dtype': dtype, 'param_dtype': param_dtype}
    backbone_variant, published_width = PUBLISHED.get(variant, (variant, 256))
    network = feature_maps.make_backbone(
        backbone_variant, backbone, momentum=momentum, **types
    )
    if isinstance(network, ViT):
        chosen = (network.patch,)
    elif strides:
        chosen = feature_maps.parse_strides(strides)
    elif isinstance(network, MiT):
        chosen = network.strides
    else:
        known = feature_maps.strides_of(network)
        chosen = tuple(stride for stride in known if stride >= _FINEST)
        if len(chosen) < 2:
            chosen = known
    head = MLPHead(num_classes, width or published_width, momentum, **types)
    return SegFormer(network, head, chosen)
