"""One-stage detector without anchors: each cell of a pyramid predicts one box.

A decoupled head as in YOLOX (arXiv 2107.08430) gives class scores and the distances from the
cell's centre to the four edges as in FCOS (arXiv 1904.01355).
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float

from jaxvision.boxes import anchors
from jaxvision.core.types import Values
from jaxvision.image.types import Size
from jaxvision.models.blocks import convolution, layers
from jaxvision.models.detectors.pyramid import (
    PyramidBackbone,
    make_features,
)
from jaxvision.models.types import FeatureMap, Images, Intermediates, Keys, Predictions

PRIOR = 0.01  # probability of each class at the start (arXiv 1708.02002, section 3.3)


class DenseHead(nn.Module):
    """Class logits of each cell, and distances from its centre to the edges of a box.

    All maps share the convolutions, and each has its own batch norms (RTMDet, arXiv 2212.07784).
    A call `(maps, train)` returns the outputs of `DenseDetector`.

    Attributes:
        num_classes: without background.
        strides: pixels of a cell of each map, in the order of the maps.
        width: channels of the convolutions.
        depth: number of 3x3 convolutions of each branch.
        momentum: fraction of the running statistics that a training step keeps.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    num_classes: int
    strides: tuple[int, ...]
    width: int
    depth: int
    momentum: float
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, maps: Sequence[FeatureMap], train: bool) -> Predictions:
        """Predict for each cell of each map, see `DenseDetector`."""
        bias = nn.initializers.constant(-math.log((1 - PRIOR) / PRIOR))
        scores = self._output(self.num_classes, bias_init=bias, name='scores')
        edges = self._output(4, name='distances')
        of_classes = self._branch(maps, train, 'class')
        of_boxes = self._branch(maps, train, 'box')
        logits = []
        distances = []
        for stride, class_map, box_map in zip(
            self.strides, of_classes, of_boxes, strict=True
        ):
            batch = class_map.shape[0]
            logits.append(scores(class_map).reshape(batch, -1, self.num_classes))
            # At the start a box is about two cells high and wide.
            lengths = jax.nn.softplus(edges(box_map) + 0.54) * stride
            distances.append(lengths.reshape(batch, -1, 4))
        return {
            'logits': jnp.concatenate(logits, axis=1),
            'distances': jnp.concatenate(distances, axis=1),
        }

    def _output(self, channels: int, **options: Any) -> nn.Module:
        return nn.Conv(
            channels,
            (1, 1),
            kernel_init=nn.initializers.normal(0.01),
            dtype=self.param_dtype,
            param_dtype=self.param_dtype,
            **options,
        )

    def _branch(
        self, maps: Sequence[FeatureMap], train: bool, name: str
    ) -> list[FeatureMap]:
        """Apply convolutions that the maps share, and norms of each map's own."""
        norm = layers.normalization(
            'batch', train, self.dtype, self.param_dtype, self.momentum
        )
        for i in range(1, self.depth + 1):
            conv = convolution.Conv(
                self.width,
                (3, 3),
                use_bias=False,
                kernel_init=layers.he_normal,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=f'{name}_conv{i}',
            )
            maps = [
                nn.silu(norm(name=f'level{level}_{name}_norm{i}')(conv(x)))
                for level, x in enumerate(maps, start=1)
            ]
        return list(maps)


class DenseDetector(nn.Module):
    """A backbone with a pyramid, and a head that its maps share.

    A call takes normalised images and returns (outputs, intermediates). The outputs are
    'logits' [B, N, K], without background, and 'distances' [B, N, 4] to the edges (top,
    left, bottom, right) in pixels. The N cells are in the order of `cells`.

    Attributes:
        features: the backbone and its pyramid.
        head: predicts for each cell.
    """

    features: PyramidBackbone
    head: DenseHead

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
            keys: of the examples, for dropout.

        Returns:
            ({'logits': [B, N, K], 'distances': [B, N, 4] in pixels, all at least 0},
            intermediates). The N cells are in the order of `cells`.
        """
        maps, intermediates = self.features(image, train=train, keys=keys)
        outputs = self.head(maps, train)
        pyramid = {f'pyramid{level}': x for level, x in enumerate(maps, start=1)}
        return outputs, {**intermediates, **pyramid, **outputs}

    def cells(
        self, size: Size
    ) -> tuple[Float[np.ndarray, 'n 2'], Float[np.ndarray, 'n']]:
        """List the centres (y, x) and the strides of all cells, in pixels.

        The map of the smallest stride comes first, and each map is listed row by row. A
        cell counts even if only a part of it is in the image.

        Args:
            size: (height, width) of the image, pixels.
        """
        centers = []
        strides = []
        for stride in self.features.strides:
            shape = (-(-size[0] // stride), -(-size[1] // stride))
            level = anchors.cell_centers(shape, (stride, stride))
            centers.append(level)
            strides.append(np.full(len(level), stride, np.float32))
        return np.concatenate(centers), np.concatenate(strides)


# Examples; the variant is a backbone's name and its variant.
VARIANTS = ('cnn:8x1-16x1-32x1-64x1-96-128', 'efficientnet:Lite0', 'resnet:50')


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    strides: str = '8-16-32',
    width: int = 64,
    depth: int = 2,
    momentum: float = 0.9,
    backbone: Values | None = None,
) -> DenseDetector:
    """Build a one-stage detector.

    Args:
        variant: name and variant of the backbone, 'resnet:50'.
        num_classes: without background.
        dtype: of the computation.
        param_dtype: of the parameters.
        strides: pixels of a cell of each map that has a head, the finest first.
        width: channels of the pyramid and the heads.
        depth: number of 3x3 convolutions of each branch of a head.
        momentum: fraction of the running statistics that a training step keeps. The
            backbone takes it too, unless its options say otherwise.
        backbone: options of the backbone by name; None: its defaults.

    Raises:
        UserError: The variant or an option is wrong. Only a call of the model finds
            that the backbone has no map of a stride.
    """
    types = {'dtype': dtype, 'param_dtype': param_dtype}
    features = make_features(
        variant, backbone, strides, width, momentum=momentum, **types
    )
    head = DenseHead(
        num_classes=num_classes,
        strides=features.strides,
        width=width,
        depth=depth,
        momentum=momentum,
        **types,
    )
    return DenseDetector(features, head)
