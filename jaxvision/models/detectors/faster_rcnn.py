"""Faster R-CNN with a feature pyramid: arXiv 1506.01497 and arXiv 1612.03144.

The first stage proposes regions, the second classifies each region and refines its box. Class
0 is the background, as in torchvision.
"""

import dataclasses
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxvision.boxes import anchors, coders, nms, roi_align
from jaxvision.boxes.types import Candidates, Chosen, Scores
from jaxvision.core.types import Values
from jaxvision.image.types import Size
from jaxvision.models.blocks import forms, selection
from jaxvision.models.detectors.pyramid import (
    Extra,
    PyramidBackbone,
    make_features,
)
from jaxvision.models.detectors.region_heads import BoxHead, RegionProposals
from jaxvision.models.types import FeatureMap, Images, Intermediates, Keys, Predictions

BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # of the second stage's deltas

# `(objectness [B, N], deltas [B, N, 4]) -> regions [B, R, 4]` for the second stage.
Choose = Callable[[Array, Array], Array]

PROPOSAL_IOU = 0.7  # above which the worse of two proposals of a level is suppressed
SMALLEST_REGION = 1e-3  # least height and width of a proposal, pixels

# The number of each anchor's level, on the host.
Levels = Int[np.ndarray, 'n']


class FasterRCNN(nn.Module):
    """A backbone with a pyramid, and two stages.

    A call takes normalised images and returns (outputs, intermediates). The outputs
    are, for N anchors, R regions and K classes after the background:

    - 'objectness' [B, N] (logits) and 'anchor_deltas' [B, N, 4] for
      `coders.decode_deltas`, in the order of `anchors`.
    - 'regions' [B, R, 4], edges in pixels, without gradient.
    - 'logits' [B, R, K + 1] and 'deltas' [B, R, K + 1, 4] of the regions. The deltas
      are for `coders.decode_deltas` with `BOX_WEIGHTS`.

    The regions are those of `propose`, with the `limits` of the call. If the call has
    `choose`, they are `choose(objectness, anchor_deltas)` instead.

    Attributes:
        features: the backbone and its pyramid.
        first: proposes regions.
        second: classifies regions.
        anchor_scale: side of a square anchor, in strides of its level.
        ratios: heights over widths of the anchors.
        regions: proposals of an image in inference and, before the ground truth is added, in
            training. They are fewer if all levels together have fewer candidates.
        candidates: best anchors of each level among which proposals are chosen; 0: all.
        pooled_size: cells of a pooled region along each side.
        canonical_size: square root of the area from which a region is pooled at stride
            16, pixels.
    """

    features: PyramidBackbone
    first: RegionProposals
    second: BoxHead
    anchor_scale: float
    ratios: tuple[float, ...]
    regions: int
    candidates: int
    pooled_size: int
    canonical_size: float

    def __call__(
        self,
        image: Images,
        train: bool = False,
        keys: Keys = None,
        choose: Choose | None = None,
        limits: Float[Array, 'b 4'] | None = None,
    ) -> tuple[Predictions, Intermediates]:
        """Propose regions and classify them.

        Args:
            image: normalised.
            train: whether batch norms use the statistics of the batch.
            keys: of the examples, for dropout.
            choose: `(objectness, anchor_deltas) -> regions`, the edges in pixels of the
                regions that are classified; None: `propose`.
            limits: the largest edges of proposals; None: the size of `image`.

        Returns:
            ({'objectness': [B, N], 'anchor_deltas': [B, N, 4], 'regions': [B, R, 4],
            'logits': [B, R, K + 1], 'deltas': [B, R, K + 1, 4]}, intermediates).
        """
        maps, intermediates = self.features(image, train=train, keys=keys)
        objectness, anchor_deltas = self.first(maps)
        size = (image.shape[1], image.shape[2])
        if choose is None:
            regions = self.propose(objectness, anchor_deltas, size, limits)
        else:
            regions = choose(objectness, anchor_deltas)
        regions = jax.lax.stop_gradient(regions)
        pooled = self.pool(maps, regions, self.pooled_size)
        logits, deltas = self.second(pooled, train)
        outputs = {
            'objectness': objectness,
            'anchor_deltas': anchor_deltas,
            'regions': regions,
            'logits': logits,
            'deltas': deltas,
        }
        pyramid = {f'pyramid{level}': x for level, x in enumerate(maps, start=1)}
        return outputs, {**intermediates, **pyramid}

    def pool(
        self, maps: Sequence[FeatureMap], regions: Float[Array, 'b r 4'], size: int
    ) -> Float[Array, 'b r size size c']:
        """Resample the maps of the pyramid inside regions.

        Args:
            maps: of the pyramid, the finest first.
            regions: edges in pixels.
            size: cells of a pooled region along each side.
        """
        # Coarser maps than the backbone's only propose regions.
        maps = maps[: len(self.features.strides)]

        def pool(image_maps, boxes):
            return roi_align.pyramid_roi_align(
                image_maps,
                boxes,
                self.features.strides,
                size=size,
                aligned=False,
                canonical_size=self.canonical_size,
            )

        return jax.vmap(pool)(list(maps), regions)

    def propose(
        self,
        objectness: Float[Array, 'b n'],
        deltas: Float[Array, 'b n 4'],
        size: Size,
        limits: Float[Array, 'b 4'] | None = None,
    ) -> Float[Array, 'b r 4']:
        """The best regions of each image after suppression within each level.

        Regions are clipped to the limits. Regions with a side below 0.001 pixels are
        left out.

        Args:
            objectness: logits of all anchors, in the order of `anchors`.
            deltas: of all anchors.
            size: (height, width) of the image, pixels.
            limits: (height, width, height, width) to which each image's regions are
                clipped, pixels; None: `size`, twice.

        Returns:
            [ymin, xmin, ymax, xmax] in pixels, the best region first. The last regions
            may be padding, which is 0.
        """
        anchors_of_levels = self.anchors(size)
        boxes = np.concatenate(anchors_of_levels)
        counts = [len(level) for level in anchors_of_levels]
        levels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        if limits is None:
            edges = jnp.array([*size, *size], deltas.dtype)
            limits = jnp.broadcast_to(edges, (len(deltas), 4))
        choose = self._choose_from_levels if self.candidates else self._choose_from_all

        def select(scores, image_deltas, image_limits):
            decoded = coders.decode_deltas(image_deltas, jnp.asarray(boxes))
            decoded = jnp.clip(decoded, 0, image_limits)
            sides = decoded[:, 2:] - decoded[:, :2]
            is_visible = jnp.all(sides >= SMALLEST_REGION, axis=-1)
            return choose(decoded, scores, is_visible, levels)

        return jax.vmap(select)(objectness, deltas, limits)

    def _choose_from_all(
        self, boxes: Candidates, scores: Scores, is_visible: Chosen, levels: Levels
    ) -> Float[Array, 'r 4']:
        """The best regions, for few regions and for exported programs."""
        scores = jnp.where(is_visible, scores, -jnp.inf)
        kept = nms.by_argmax(
            boxes,
            scores,
            jnp.asarray(levels),
            iou=PROPOSAL_IOU,
            limit=self.regions,
        )
        return boxes[kept.index] * kept.valid[:, None]

    def _choose_from_levels(
        self, boxes: Candidates, scores: Scores, is_visible: Chosen, levels: Levels
    ) -> Float[Array, 'r 4']:
        """The best regions among the best candidates of each level, as in torchvision."""
        is_exported = forms.is_for_tensorflow()
        # Both forms have the same result. The faster one needs `lax.top_k`.
        suppress = nms.by_argmax if is_exported else nms.greedy
        chosen_boxes = []
        chosen_scores = []
        for level in range(levels.max() + 1):
            rows = np.flatnonzero(levels == level)
            number = min(self.candidates, len(rows))
            values, order = selection.best(scores[rows], number)
            index = jnp.asarray(rows)[order]
            values = jnp.where(is_visible[index], values, -jnp.inf)
            kept = suppress(boxes[index], values, iou=PROPOSAL_IOU, limit=number)
            chosen_boxes.append(boxes[index][kept.index])
            chosen_scores.append(jnp.where(kept.valid, values[kept.index], -jnp.inf))
        scores = jnp.concatenate(chosen_scores)
        values, order = selection.best(scores, min(self.regions, len(scores)))
        chosen = jnp.concatenate(chosen_boxes)[order]
        return chosen * (values > -jnp.inf)[:, None]

    def anchors(self, size: Size) -> list[Float[np.ndarray, '_ 4']]:
        """List the anchors of each level in pixels, the finest level first.

        Each level is listed row by row, and each cell's anchors in the order of `ratios`.
        Anchors are centred on the top-left corner of their cell, up to the rounding of
        their edges to whole pixels. They may leave the image.

        Args:
            size: (height, width) of the image, pixels.
        """
        levels = []
        for level, grid in enumerate(self.features.grids(size)):
            side = self.anchor_scale * self.features.strides[0] * 2**level
            cell = anchors.cell_anchors((side,), self.ratios, True)
            levels.append(anchors.grid_anchors(cell, grid.shape, grid.stride))
        return levels


@dataclasses.dataclass(frozen=True)
class Layout:
    """The structure of a published detector.

    Attributes:
        backbone: its name and variant, as 'resnet:50'.
        backbone_options: by name.
        extra: maps coarser than the backbone's.
        norm: of the pyramid, see `FeaturePyramid`.
        proposal_convs: 3x3 convolutions of the first stage.
        box_convs: 3x3 convolutions of the second stage.
        box_layers: dense layers of the second stage.
        candidates: best anchors of each level among which proposals are chosen; 0: all.
    """

    backbone: str
    backbone_options: Values = dataclasses.field(default_factory=dict)
    extra: Extra = 'none'
    norm: str = 'none'
    proposal_convs: int = 1
    box_convs: int = 0
    box_layers: int = 2
    candidates: int = 0


# torchvision's detectors. The first one's batch norm has no epsilon in its weights of COCO.
PUBLISHED = {
    'resnet50_fpn': Layout(
        backbone='resnet:50',
        backbone_options={'norm': 'frozen', 'epsilon': 0.0},
        extra='pool',
        candidates=1000,
    ),
    'resnet50_fpn_v2': Layout(
        backbone='resnet:50',
        extra='pool',
        norm='batch',
        proposal_convs=2,
        box_convs=4,
        box_layers=1,
        candidates=1000,
    ),
}

# The published ones, and examples of the free form: a backbone's name and its variant.
VARIANTS = (*PUBLISHED, 'cnn:8x1-16x1-32x1-64x1-96-128', 'resnet:50')


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    strides: str = '4-8-16-32',
    extra: Extra = 'none',
    width: int = 256,
    hidden: int = 1024,
    anchor_scale: float = 8.0,
    regions: int = 1000,
    candidates: int = 0,
    pooled_size: int = 7,
    canonical_size: float = 224.0,
    momentum: float = 0.9,
    backbone: Values | None = None,
) -> FasterRCNN:
    """Build a Faster R-CNN.

    Args:
        variant: a published detector, or name and variant of the backbone, 'resnet:50'.
        num_classes: without background.
        dtype: of the computation.
        param_dtype: of the parameters.
        strides: pixels of a cell of each map of the backbone, the finest first. A
            published detector adds one map of twice the last stride.
        extra: maps coarser than the backbone's, see `FeaturePyramid`. A published
            detector has its published ones.
        width: channels of the pyramid.
        hidden: width of the second stage's dense layers.
        anchor_scale: side of a square anchor, in strides of its level.
        regions: the most regions that the second stage classifies in inference.
        candidates: best anchors of each level among which regions are chosen; 0: all,
            or 1000 in a published detector.
        pooled_size: cells of a pooled region along each side.
        canonical_size: square root of the area from which a region is pooled at stride
            16, pixels.
        momentum: fraction of the running statistics that a training step keeps. The
            backbone takes it too, unless its options say otherwise.
        backbone: options of the backbone by name, or None for none. Each replaces a
            published detector's option of this name. The others stay as published, or
            at their defaults.

    Raises:
        UserError: The variant or an option is wrong. Only a call of the model finds
            that the backbone has no map of a stride.
    """
    types = {'dtype': dtype, 'param_dtype': param_dtype}
    layout = PUBLISHED.get(variant) or Layout(variant, extra=extra)
    ratios = (0.5, 1.0, 2.0)
    features = make_features(
        layout.backbone,
        {**layout.backbone_options, **(backbone or {})},
        strides,
        width,
        extra=layout.extra,
        norm=layout.norm,
        momentum=momentum,
        **types,
    )
    second = BoxHead(
        num_classes=num_classes,
        width=hidden,
        convs=layout.box_convs,
        depth=layout.box_layers,
        momentum=momentum,
        **types,
    )
    return FasterRCNN(
        features=features,
        first=RegionProposals(len(ratios), layout.proposal_convs, **types),
        second=second,
        anchor_scale=anchor_scale,
        ratios=ratios,
        regions=regions,
        candidates=candidates or layout.candidates,
        pooled_size=pooled_size,
        canonical_size=canonical_size,
    )
