"""The feature maps of RT-DETR: a backbone and a hybrid encoder (arXiv 2304.08069, section 4.2).

The cells of the coarsest map attend to each other. Path aggregation then combines the maps, by
layers of RepVGG (arXiv 2101.03697).
"""

import functools

import flax.linen as nn
import numpy as np
from jaxtyping import Float

from jaxvision.image.types import Size
from jaxvision.models.backbones.feature_maps import map_of_stride
from jaxvision.models.detectors.cspdarknet import (
    Common,
    ConvBlock,
    PathAggregation,
)
from jaxvision.models.detectors.transformer_layers import (
    Perceptron,
    SelfAttention,
    Settings,
    Tokens,
)
from jaxvision.models.types import FeatureMap, Images, Intermediates, Keys

TEMPERATURE = 10000  # ratio of the longest and the shortest wave of the positions


class RepLayer(nn.Module):
    """Blocks of RepVGG beside a 1x1 convolution, called as `layer(x, train)`.

    Attributes:
        channels: of the output.
        hidden: channels of the blocks.
        depth: number of blocks.
        common: of the layers.
    """

    channels: int
    hidden: int
    depth: int
    common: Common

    @nn.compact
    def __call__(self, x: FeatureMap, train: bool) -> FeatureMap:
        passed = ConvBlock(self.hidden, 1, self.common, name='conv2')(x, train)
        x = ConvBlock(self.hidden, 1, self.common, name='conv1')(x, train)
        for i in range(1, self.depth + 1):
            conv = functools.partial(
                ConvBlock, self.hidden, common=self.common, activation=False
            )
            wide = conv(3, name=f'block{i}_conv3x3')(x, train)
            narrow = conv(1, name=f'block{i}_conv1x1')(x, train)
            x = nn.silu(wide + narrow)
        x = x + passed
        if self.hidden == self.channels:
            return x
        return ConvBlock(self.channels, 1, self.common, name='conv3')(x, train)


class EncoderLayer(nn.Module):
    """Self-attention and a perceptron, each beside the identity and before a norm.

    Attributes:
        settings: of the transformer.
    """

    settings: Settings

    @nn.compact
    def __call__(self, x: Tokens, positions: Float[np.ndarray, 'n d']) -> Tokens:
        settings = self.settings
        y = SelfAttention(settings, name='attention')(x, positions)
        x = settings.norm('norm1')(x + y)
        gelu = functools.partial(nn.gelu, approximate=False)
        y = Perceptron(settings, gelu, name='perceptron')(x)
        return settings.norm('norm2')(x + y)


class HybridEncoder(PathAggregation):
    """Three maps of a backbone, with the context of each other.

    A call `(image, train, keys)` returns (the three maps, the finest first, and the
    maps of the backbone by name).

    Attributes:
        backbone: `(image, train, keys) -> (logits, intermediates)`, without a head.
        depth: number of blocks of each layer that combines two maps.
        common: of the convolutions.
        strides: pixels of a cell of each of the three maps, the finest first.
        width: channels of the encoder.
        hidden: channels of the blocks of RepVGG.
        output: channels of the three maps.
        settings: of the attention.
    """

    strides: tuple[int, ...]
    width: int
    hidden: int
    output: int
    settings: Settings

    @nn.compact
    def __call__(
        self, image: Images, train: bool = False, keys: Keys = None
    ) -> tuple[list[FeatureMap], Intermediates]:
        """Compute the maps, the finest first, and the backbone's maps by name."""
        _, intermediates = self.backbone(image, train=train, keys=keys)
        maps = []
        for level, stride in enumerate(self.strides, start=1):
            x = map_of_stride(intermediates, image, stride)
            maps.append(self._projected(x, self.width, train, f'input{level}'))
        maps[-1] = self._attended(maps[-1])
        maps = self._aggregated(maps, train)
        outputs = [
            self._projected(x, self.output, train, f'output{level}')
            for level, x in enumerate(maps, start=1)
        ]
        return outputs, intermediates

    def _projected(
        self, x: FeatureMap, channels: int, train: bool, name: str
    ) -> FeatureMap:
        """Apply a 1x1 convolution and batch norm."""
        return ConvBlock(channels, 1, self.common, activation=False, name=name)(
            x, train
        )

    def _attended(self, x: FeatureMap) -> FeatureMap:
        """Let all cells of a map attend to each other."""
        batch, height, width, channels = x.shape
        layer = EncoderLayer(self.settings, name='attention')
        tokens = x.reshape(batch, -1, channels)
        tokens = layer(tokens, positions((height, width), channels))
        return tokens.reshape(x.shape)

    def _layer(self, channels: int, name: str) -> nn.Module:
        return RepLayer(channels, self.hidden, self.depth, self.common, name=name)


def positions(shape: Size, channels: int) -> Float[np.ndarray, 'n c']:
    """Sines and cosines of the row and the column of each cell of a map.

    Args:
        shape: (rows, columns) of the map.
        channels: a multiple of 4: as many sines as cosines, of rows as of columns.

    Returns:
        float32, row by row: sines and cosines of the row, then of the column.
    """
    quarter = channels // 4
    frequencies = TEMPERATURE ** -(np.arange(quarter) / quarter)
    angles = np.indices(shape).reshape(2, -1, 1) * frequencies
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
    return np.concatenate(waves, axis=-1).astype(np.float32)
