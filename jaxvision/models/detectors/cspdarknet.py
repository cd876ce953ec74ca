"""CSPDarknet with its path aggregation network: the feature maps of YOLOX (arXiv 2107.08430).

Cross-stage partial blocks are of arXiv 1911.11929, path aggregation is of arXiv 1803.01534.
"""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.models.blocks import convolution, layers
from jaxvision.models.detectors.pyramid import enlarged
from jaxvision.models.types import FeatureMap, Images

STRIDES = (8, 16, 32)

# The bound sqrt(1 / fan_in), as PyTorch's convolutions begin.
kernel_init = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')


@dataclasses.dataclass(frozen=True)
class Common:
    """The settings that all layers of a network share.

    Attributes:
        depthwise: whether 3x3 convolutions are depthwise ones, each with a pointwise one.
        momentum: fraction of the running statistics that a training step keeps.
        dtype: of the computation.
        param_dtype: of the parameters.
        epsilon: added to the variance by batch norm.
    """

    depthwise: bool
    momentum: float
    dtype: DTypeLike
    param_dtype: DTypeLike
    epsilon: float = 1e-3


class ConvBlock(nn.Module):
    """Convolution, batch norm and SiLU, called as `block(x, train)`.

    Attributes:
        channels: of the output.
        size: side of the square window.
        common: of the network. Its `depthwise` is not used here.
        stride: of the window.
        depthwise: whether there are two such layers: a depthwise one with the window and the
            stride, then one of 1x1.
        activation: whether SiLU follows.
    """

    channels: int
    size: int
    common: Common
    stride: int = 1
    depthwise: bool = False
    activation: bool = True

    @nn.compact
    def __call__(self, x: FeatureMap, train: bool) -> FeatureMap:
        if not self.depthwise:
            return self._layer(
                x, train, '', self.channels, self.size, self.stride, groups=1
            )
        width = x.shape[-1]
        x = self._layer(
            x, train, 'depthwise_', width, self.size, self.stride, groups=width
        )
        return self._layer(x, train, '', self.channels, 1, 1, groups=1)

    def _layer(
        self,
        x: FeatureMap,
        train: bool,
        prefix: str,
        channels: int,
        size: int,
        stride: int,
        groups: int,
    ) -> FeatureMap:
        common = self.common
        types = {'dtype': common.dtype, 'param_dtype': common.param_dtype}
        before = (size - 1) // 2
        x = convolution.Conv(
            channels,
            (size, size),
            strides=(stride, stride),
            padding=((before, before), (before, before)),
            feature_group_count=groups,
            use_bias=False,
            kernel_init=kernel_init,
            name=f'{prefix}conv',
            **types,
        )(x)
        norm = layers.normalization(
            'batch', train, momentum=common.momentum, epsilon=common.epsilon, **types
        )
        x = norm(name=f'{prefix}norm')(x)
        if self.activation:
            return nn.silu(x)
        return x


class CSPLayer(nn.Module):
    """Bottlenecks beside a branch that passes by, called as `layer(x, train)`.

    Each branch begins with a 1x1 convolution of all input channels to half of
    `channels`.

    Attributes:
        channels: of the output.
        depth: number of bottlenecks.
        shortcut: whether a bottleneck adds its input.
        common: of the network.
    """

    channels: int
    depth: int
    shortcut: bool
    common: Common

    @nn.compact
    def __call__(self, x: FeatureMap, train: bool) -> FeatureMap:
        half = self.channels // 2
        passed = ConvBlock(half, 1, self.common, name='conv2')(x, train)
        x = ConvBlock(half, 1, self.common, name='conv1')(x, train)
        for i in range(1, self.depth + 1):
            block = _Bottleneck(half, self.shortcut, self.common, name=f'block{i}')
            x = block(x, train)
        x = jnp.concatenate([x, passed], axis=-1)
        return ConvBlock(self.channels, 1, self.common, name='conv3')(x, train)


class _Bottleneck(nn.Module):
    channels: int
    shortcut: bool
    common: Common

    @nn.compact
    def __call__(self, x: FeatureMap, train: bool) -> FeatureMap:
        hidden = ConvBlock(self.channels, 1, self.common, name='conv1')(x, train)
        hidden = ConvBlock(
            self.channels,
            3,
            self.common,
            depthwise=self.common.depthwise,
            name='conv2',
        )(hidden, train)
        if self.shortcut:
            return x + hidden
        return hidden


class PoolingPyramid(nn.Module):
    """A map beside its maxima in squares of 5, 9 and 13 cells (SPP, arXiv 1406.4729).

    A 1x1 convolution first halves the channels, and another one joins the four maps.
    Height and width stay. Call it as `pool(x, train)`.

    Attributes:
        channels: of the output.
        common: of the network.
    """

    channels: int
    common: Common

    @nn.compact
    def __call__(self, x: FeatureMap, train: bool) -> FeatureMap:
        half = x.shape[-1] // 2
        x = ConvBlock(half, 1, self.common, name='conv1')(x, train)
        maps = [x]
        # The maximum of maxima within 5 cells is the maximum within 9 cells, then 13.
        for _ in range(3):
            maps.append(nn.max_pool(maps[-1], (5, 5), padding='SAME'))
        x = jnp.concatenate(maps, axis=-1)
        return ConvBlock(self.channels, 1, self.common, name='conv2')(x, train)


class CSPDarknet(nn.Module):
    """The backbone of YOLOX, called as `backbone(image, train)` on images [B, H, W, C].

    It returns maps by name: 'stem' of stride 2, 'stage1' of stride 4, ..., 'stage4' of
    stride 32. Heights and widths are those of the image over the stride, rounded up.

    Attributes:
        width: channels of the stem; each stage doubles them.
        depth: number of bottlenecks of the first and the last stage. The others have
            three times as many.
        common: of the layers.
    """

    width: int
    depth: int
    common: Common

    @nn.compact
    def __call__(self, image: Images, train: bool) -> dict[str, FeatureMap]:
        """Compute {'stem': stride 2, 'stage1': stride 4, ..., 'stage4': stride 32}."""
        common = self.common
        x = ConvBlock(self.width, 3, common, name='stem')(_focused(image), train)
        maps = {'stem': x}
        for stage in range(1, 5):
            channels = self.width * 2**stage
            is_last = stage == 4
            x = ConvBlock(
                channels,
                3,
                common,
                stride=2,
                depthwise=common.depthwise,
                name=f'stage{stage}_conv',
            )(x, train)
            if is_last:
                x = PoolingPyramid(channels, common, name='stage4_pool')(x, train)
            depth = self.depth
            if stage in (2, 3):
                depth = 3 * self.depth
            x = CSPLayer(channels, depth, not is_last, common, name=f'stage{stage}')(
                x, train
            )
            maps[f'stage{stage}'] = x
        return maps


def _focused(image: Images) -> Float[Array, 'b h2 w2 c4']:
    """Move each 2x2 pixels into channels: top left, bottom left, top right, bottom right."""
    _, height, width, _ = image.shape
    odd = [(0, 0), (0, height % 2), (0, width % 2), (0, 0)]
    image = jnp.pad(image, odd)
    left = image[:, :, ::2]
    right = image[:, :, 1::2]
    corners = [left[:, ::2], left[:, 1::2], right[:, ::2], right[:, 1::2]]
    return jnp.concatenate(corners, axis=-1)


class PathAggregation(nn.Module):
    """Maps of the strides 8, 16 and 32 with the context of coarser and finer ones.

    A call `(image, train)` returns (the three maps, the finest first, and the maps of
    the backbone by name).

    Attributes:
        backbone: computes the maps of the three strides.
        depth: number of bottlenecks of each layer.
        common: of the layers.
    """

    backbone: nn.Module
    depth: int
    common: Common

    @nn.compact
    def __call__(
        self, image: Images, train: bool = False
    ) -> tuple[list[FeatureMap], dict[str, FeatureMap]]:
        """Compute the maps, the finest first, and the backbone's maps by name."""
        stages = self.backbone(image, train)
        maps = [stages[f'stage{stage}'] for stage in (2, 3, 4)]
        return self._aggregated(maps, train), stages

    def _aggregated(self, maps: Sequence[FeatureMap], train: bool) -> list[FeatureMap]:
        """Give each map the context of the coarser ones, then of the finer ones."""
        fine, middle, coarse = maps
        # From coarse to fine.
        lateral3 = self._lateral(coarse, middle, train, 'lateral3')
        middle = self._merged(lateral3, middle, middle, train, 'top_down2')
        lateral2 = self._lateral(middle, fine, train, 'lateral2')
        fine = self._merged(lateral2, fine, fine, train, 'top_down1')
        # From fine to coarse.
        middle = self._merged(
            self._halved(fine, train, 'down1'), lateral2, middle, train, 'bottom_up2'
        )
        coarse = self._merged(
            self._halved(middle, train, 'down2'), lateral3, coarse, train, 'bottom_up3'
        )
        return [fine, middle, coarse]

    def _lateral(
        self, x: FeatureMap, finer: FeatureMap, train: bool, name: str
    ) -> FeatureMap:
        """Reduce a map to the channels of the finer one."""
        return ConvBlock(finer.shape[-1], 1, self.common, name=name)(x, train)

    def _halved(self, x: FeatureMap, train: bool, name: str) -> FeatureMap:
        block = ConvBlock(
            x.shape[-1],
            3,
            self.common,
            stride=2,
            depthwise=self.common.depthwise,
            name=name,
        )
        return block(x, train)

    def _merged(
        self, x: FeatureMap, other: FeatureMap, like: FeatureMap, train: bool, name: str
    ) -> FeatureMap:
        """Combine a map with another one, to the height, width and channels of a third."""
        _, height, width, channels = like.shape
        if x.shape[1:3] != (height, width):
            x = enlarged(x, height, width)
        x = jnp.concatenate([x, other], axis=-1)
        return self._layer(channels, name)(x, train)

    def _layer(self, channels: int, name: str) -> nn.Module:
        """Build a layer that combines two maps, `layer(x, train)`."""
        return CSPLayer(channels, self.depth, False, self.common, name=name)
