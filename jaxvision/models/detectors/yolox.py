"""YOLOX: one box for each cell, with an objectness beside the classes (arXiv 2107.08430)."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float

from jaxvision.boxes import anchors
from jaxvision.core.errors import UserError
from jaxvision.image.types import Size
from jaxvision.models.detectors.cspdarknet import (
    STRIDES,
    Common,
    ConvBlock,
    CSPDarknet,
    PathAggregation,
    kernel_init,
)
from jaxvision.models.types import FeatureMap, Images, Intermediates, Keys, Predictions

PRIOR = 0.01  # probability of an object and of each class at the start


class GridHead(nn.Module):
    """Box, objectness and class logits of each cell. Each map has its convolutions.

    A call `(maps, train)` returns the outputs of `YOLOX`.

    Attributes:
        num_classes: without background.
        width: channels of the convolutions.
        common: of the layers.
    """

    num_classes: int
    width: int
    common: Common

    @nn.compact
    def __call__(self, maps: Sequence[FeatureMap], train: bool) -> Predictions:
        """Predict for each cell of each map, see `YOLOX`."""
        bias = nn.initializers.constant(-math.log((1 - PRIOR) / PRIOR))
        levels = []
        for level, x in enumerate(maps, start=1):
            x = ConvBlock(self.width, 1, self.common, name=f'level{level}_stem')(
                x, train
            )
            of_class = self._branch(x, train, f'level{level}_class')
            of_box = self._branch(x, train, f'level{level}_box')
            scores = self._output(
                self.num_classes, bias_init=bias, name=f'level{level}_scores'
            )
            edges = self._output(4, name=f'level{level}_edges')
            objectness = self._output(
                1, bias_init=bias, name=f'level{level}_objectness'
            )
            outputs = [edges(of_box), objectness(of_box), scores(of_class)]
            joined = jnp.concatenate(outputs, axis=-1)
            levels.append(joined.reshape(x.shape[0], -1, 5 + self.num_classes))
        outputs = jnp.concatenate(levels, axis=1)
        return {
            'edges': outputs[..., :4],
            'objectness': outputs[..., 4],
            'logits': outputs[..., 5:],
        }

    def _branch(self, x: FeatureMap, train: bool, name: str) -> FeatureMap:
        for i in (1, 2):
            block = ConvBlock(
                self.width,
                3,
                self.common,
                depthwise=self.common.depthwise,
                name=f'{name}{i}',
            )
            x = block(x, train)
        return x

    def _output(
        self,
        channels: int,
        name: str,
        bias_init: nn.initializers.Initializer = nn.initializers.zeros,
    ) -> nn.Module:
        """The last convolution, which computes in the dtype of its parameters."""
        return nn.Conv(
            channels,
            (1, 1),
            kernel_init=kernel_init,
            bias_init=bias_init,
            dtype=self.common.param_dtype,
            param_dtype=self.common.param_dtype,
            name=name,
        )


class YOLOX(nn.Module):
    """A backbone with path aggregation, and a head for each of its maps.

    A call takes normalised images and returns (outputs, intermediates). The outputs are
    'edges' [B, N, 4] for `coders.decode_grid`, 'objectness' [B, N] (logits) and
    'logits' [B, N, K]. The N cells are in the order of `cells`. Nothing is random.

    Attributes:
        features: the backbone and its aggregated maps.
        head: predicts for each cell.
    """

    features: PathAggregation
    head: GridHead

    def __call__(
        self,
        image: Images,
        train: bool = False,
        keys: Keys = None,
    ) -> tuple[Predictions, Intermediates]:
        """Predict a box for each cell.

        Args:
            image: normalised.
            train: whether batch norms use the statistics of the batch.
            keys: not used, since no layer is random.

        Returns:
            ({'edges': [B, N, 4] for `coders.decode_grid`, 'objectness': [B, N] logits, 'logits':
            [B, N, K]}, intermediates). The N cells are in the order of `cells`.
        """
        maps, intermediates = self.features(image, train)
        outputs = self.head(maps, train)
        pyramid = {f'pyramid{level}': x for level, x in enumerate(maps, start=1)}
        return outputs, {**intermediates, **pyramid, **outputs}

    def cells(
        self, size: Size
    ) -> tuple[Float[np.ndarray, 'n 2'], Float[np.ndarray, 'n']]:
        """List (row, column) of each cell in its map, and its stride in pixels.

        Rows and columns count cells from 0. The map of stride 8 comes first, and each
        map is listed row by row. A cell counts even if only a part of it is in the
        image.

        Args:
            size: (height, width) of the image, pixels.
        """
        cells = []
        strides = []
        for stride in STRIDES:
            shape = (-(-size[0] // stride), -(-size[1] // stride))
            level = anchors.cell_centers(shape, (1, 1), offset=0.0)
            cells.append(level)
            strides.append(np.full(len(level), stride, np.float32))
        return np.concatenate(cells), np.concatenate(strides)


class _Size(NamedTuple):
    depth: float
    width: float
    depthwise: bool = False


# As published; `depth` and `width` are factors.
_SIZES = {
    'nano': _Size(0.33, 0.25, depthwise=True),
    'tiny': _Size(0.33, 0.375),
    's': _Size(0.33, 0.5),
    'm': _Size(0.67, 0.75),
    'l': _Size(1.0, 1.0),
    'x': _Size(1.33, 1.25),
}
VARIANTS = tuple(_SIZES)


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    momentum: float = 0.97,
) -> YOLOX:
    """Build a YOLOX.

    Args:
        variant: 'nano', 'tiny', 's', 'm', 'l' or 'x', or the factors of depth and width
            such as '0.33x0.125'. Factors may end in '-depthwise', for depthwise 3x3
            convolutions as in nano.
        num_classes: without background.
        dtype: of the computation.
        param_dtype: of the parameters.
        momentum: fraction of the running statistics that a training step keeps.

    Raises:
        UserError: There is no such variant, or its factor of width is below 1/32.
    """
    size = _size_of(variant)
    common = Common(size.depthwise, momentum, dtype, param_dtype)
    depth = max(round(3 * size.depth), 1)
    backbone = CSPDarknet(int(64 * size.width), depth, common)
    features = PathAggregation(backbone, depth, common)
    return YOLOX(features, GridHead(num_classes, int(256 * size.width), common))


def _size_of(variant: str) -> _Size:
    if variant in _SIZES:
        return _SIZES[variant]
    factors = re.fullmatch(r'(\d*\.?\d+)x(\d*\.?\d+)(-depthwise)?', variant)
    if not factors or 64 * float(factors[2]) < 2:
        raise UserError(
            f'model.variant={variant!r}: expected {", ".join(_SIZES)}, or factors of depth '
            "and of width, the latter at least 1/32. Write the factors as '0.33x0.125'"
        )
    depth, width, depthwise = factors.groups()
    return _Size(float(depth), float(width), bool(depthwise))
