"""Faster R-CNN with a feature pyramid: arXiv 1506.01497 and arXiv 1612.03144.

The first stage proposes regions, the second classifies each region and refines its box. Class
0 is the background, as in torchvision.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxvision.boxes import anchors, coders, nms, roi_align
from jaxvision.core.types import Values
from jaxvision.models.blocks import convolution, layers
from jaxvision.models.detectors.pyramid import (
    FeatureMap,
    PyramidBackbone,
    make_features,
)

BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # of the second stage's deltas

# `(objectness [B, N], deltas [B, N, 4]) -> regions [B, R, 4]` for the second stage.
Choose = Callable[[Array, Array], Array]


class RegionProposals(nn.Module):
    """Objectness and deltas of every anchor, by one network for all levels.

    Attributes:
        anchors_per_cell: of each level.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    anchors_per_cell: int
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self, maps: Sequence[FeatureMap]
    ) -> tuple[Float[Array, 'b n'], Float[Array, 'b n 4']]:
        """Predict (logits of objectness, deltas) of all levels' anchors."""
        types = {'dtype': self.dtype, 'param_dtype': self.param_dtype}
        normal = nn.initializers.normal(0.01)
        width = maps[0].shape[-1]
        conv = convolution.Conv(
            width, (3, 3), kernel_init=layers.he_normal, name='conv', **types
        )
        score = nn.Conv(
            self.anchors_per_cell,
            (1, 1),
            kernel_init=normal,
            name='objectness',
            **types,
        )
        regress = nn.Conv(
            4 * self.anchors_per_cell,
            (1, 1),
            kernel_init=normal,
            name='deltas',
            **types,
        )
        objectness = []
        deltas = []
        for x in maps:
            hidden = nn.relu(conv(x))
            objectness.append(score(hidden).reshape(x.shape[0], -1))
            deltas.append(regress(hidden).reshape(x.shape[0], -1, 4))
        return jnp.concatenate(objectness, axis=1), jnp.concatenate(deltas, axis=1)


class BoxHead(nn.Module):
    """Class logits and deltas of regions, by two dense layers.

    Attributes:
        num_classes: without background.
        width: of the dense layers.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    num_classes: int
    width: int
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self, pooled: Float[Array, 'b r y x c']
    ) -> tuple[Float[Array, 'b r k'], Float[Array, 'b r k 4']]:
        """Predict (logits, deltas) for each class of each region, background first."""
        types = {'dtype': self.dtype, 'param_dtype': self.param_dtype}
        x = pooled.reshape(*pooled.shape[:2], -1)
        for i in (1, 2):
            layer = nn.Dense(
                self.width, kernel_init=layers.he_normal, name=f'dense{i}', **types
            )
            x = nn.relu(layer(x))
        classes = self.num_classes + 1
        logits = nn.Dense(
            classes,
            kernel_init=nn.initializers.normal(0.01),
            name='scores',
            **types,
        )(x)
        deltas = nn.Dense(
            4 * classes,
            kernel_init=nn.initializers.normal(0.001),
            name='deltas',
            **types,
        )(x)
        return logits, deltas.reshape(*deltas.shape[:2], classes, 4)


class FasterRCNN(nn.Module):
    """A backbone with a pyramid, and two stages.

    Attributes:
        features: the backbone and its pyramid.
        first: proposes regions.
        second: classifies regions.
        anchor_scale: side of a square anchor, in strides of its level.
        ratios: heights over widths of the anchors.
        regions: proposals of an image in inference and, before the ground truth is added, in
            training.
        pooled_size: cells of a pooled region along each side.
        canonical_size: of a region of the level with stride 16, pixels.
    """

    features: PyramidBackbone
    first: RegionProposals
    second: BoxHead
    anchor_scale: float
    ratios: tuple[float, ...]
    regions: int
    pooled_size: int
    canonical_size: float

    def __call__(
        self,
        image: Float[Array, 'b h w c'],
        train: bool = False,
        keys: Key[Array, 'b'] | None = None,
        choose: Choose | None = None,
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Propose regions and classify them.

        Args:
            image: normalised.
            train: whether batch norms use the statistics of the batch.
            keys: of the examples, for dropout.
            choose: the regions that are classified, as edges in pixels; None: `propose`.

        Returns:
            ({'objectness': [B, N], 'anchor_deltas': [B, N, 4], 'regions': [B, R, 4],
            'logits': [B, R, K + 1], 'deltas': [B, R, K + 1, 4]}, intermediates).
        """
        maps, intermediates = self.features(image, train=train, keys=keys)
        objectness, anchor_deltas = self.first(maps)
        size = (image.shape[1], image.shape[2])
        if choose is None:
            regions = self.propose(objectness, anchor_deltas, size)
        else:
            regions = choose(objectness, anchor_deltas)
        regions = jax.lax.stop_gradient(regions)
        logits, deltas = self.second(self._pool(maps, regions))
        outputs = {
            'objectness': objectness,
            'anchor_deltas': anchor_deltas,
            'regions': regions,
            'logits': logits,
            'deltas': deltas,
        }
        pyramid = {f'pyramid{level}': x for level, x in enumerate(maps, start=1)}
        return outputs, {**intermediates, **pyramid}

    def _pool(
        self, maps: Sequence[FeatureMap], regions: Float[Array, 'b r 4']
    ) -> Float[Array, 'b r y x c']:
        def pool(image_maps, boxes):
            return roi_align.pyramid_roi_align(
                image_maps,
                boxes,
                self.features.strides,
                size=self.pooled_size,
                aligned=False,
                canonical_size=self.canonical_size,
            )

        return jax.vmap(pool)(list(maps), regions)

    def propose(
        self,
        objectness: Float[Array, 'b n'],
        deltas: Float[Array, 'b n 4'],
        size: tuple[int, int],
    ) -> Float[Array, 'b r 4']:
        """The best regions of each image after suppression within each level.

        Args:
            objectness: logits of all anchors.
            deltas: of all anchors.
            size: (height, width) of the image, pixels.

        Returns:
            Edges in pixels. A region without area is padding.
        """
        boxes, levels = map(jnp.asarray, self.anchors(size))
        limits = jnp.array([*size, *size], deltas.dtype)

        def select(scores, image_deltas):
            decoded = coders.decode_deltas(image_deltas, boxes)
            decoded = jnp.clip(decoded, 0, limits)
            kept = nms.by_argmax(decoded, scores, levels, iou=0.7, limit=self.regions)
            return decoded[kept.index] * kept.valid[:, None]

        return jax.vmap(select)(objectness, deltas)

    def anchors(
        self, size: tuple[int, int]
    ) -> tuple[Float[np.ndarray, 'n 4'], np.ndarray]:
        """List all anchors and the number of each one's level.

        Args:
            size: (height, width) of the image, pixels.
        """
        boxes = []
        levels = []
        for level, stride in enumerate(self.features.strides):
            cell = anchors.cell_anchors(
                (self.anchor_scale * stride,), self.ratios, True
            )
            shape = (-(-size[0] // stride), -(-size[1] // stride))
            grid = anchors.grid_anchors(cell, shape, (stride, stride))
            boxes.append(grid)
            levels.append(np.full(len(grid), level, np.int32))
        return np.concatenate(boxes), np.concatenate(levels)


# Examples; the variant is a backbone's name and its variant.
VARIANTS = ('cnn:8x1-16x1-32x1-64x1-96-128', 'resnet:50')


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    strides: str = '4-8-16-32',
    width: int = 256,
    hidden: int = 1024,
    anchor_scale: float = 8.0,
    regions: int = 1000,
    pooled_size: int = 7,
    canonical_size: float = 224.0,
    momentum: float = 0.9,
    backbone: Values | None = None,
) -> FasterRCNN:
    """Build a Faster R-CNN.

    Args:
        variant: name and variant of the backbone, 'resnet:50'.
        num_classes: without background.
        dtype: of the computation.
        param_dtype: of the parameters.
        strides: pixels of a cell of each map that proposes regions, the finest first.
        width: channels of the pyramid.
        hidden: width of the second stage's dense layers.
        anchor_scale: side of a square anchor, in strides of its level.
        regions: that the second stage is given.
        pooled_size: cells of a pooled region along each side.
        canonical_size: of a region that is pooled from stride 16, pixels.
        momentum: fraction of the running statistics that a training step keeps.
        backbone: options of the backbone by name; None: its defaults.

    Raises:
        UserError: The variant or an option is wrong.
    """
    types = {'dtype': dtype, 'param_dtype': param_dtype}
    ratios = (0.5, 1.0, 2.0)
    features = make_features(
        variant, backbone, strides, width, momentum=momentum, **types
    )
    return FasterRCNN(
        features=features,
        first=RegionProposals(len(ratios), **types),
        second=BoxHead(num_classes, hidden, **types),
        anchor_scale=anchor_scale,
        ratios=ratios,
        regions=regions,
        pooled_size=pooled_size,
        canonical_size=canonical_size,
    )
