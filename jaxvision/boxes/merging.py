"""Join the detections of several views of one image: tiles, mirrored images, models."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxvision.boxes import overlap


@dataclasses.dataclass(frozen=True)
class BoxMasks:
    """Masks of objects, each inside a box.

    Attributes:
        values: the probability that each cell of a box shows the object, in [0, 1].
        boxes: edges in pixels of the image, which they may leave.
    """

    values: Float[np.ndarray, 'n m m']
    boxes: Float[np.ndarray, 'n 4']

    def at(self, rows: Int[np.ndarray, 'k'] | Bool[np.ndarray, 'n']) -> 'BoxMasks':
        """New `BoxMasks`: those at `rows` in this order, or where a mask is True."""
        return BoxMasks(self.values[rows], self.boxes[rows])


@dataclasses.dataclass(frozen=True)
class Detections:
    """Boxes that were found in one image.

    Attributes:
        boxes: edges in pixels.
        scores: in [0, 1].
        classes: numbers of the classes.
        masks: of the objects; None: there are none.
    """

    boxes: Float[np.ndarray, 'n 4']
    scores: Float[np.ndarray, 'n']
    classes: Int[np.ndarray, 'n']
    masks: BoxMasks | None = None

    def at(self, rows: Int[np.ndarray, 'm'] | Bool[np.ndarray, 'n']) -> 'Detections':
        """New `Detections`: those at `rows` in this order, or where a mask is True."""
        masks = self.masks.at(rows) if self.masks else None
        return Detections(
            self.boxes[rows], self.scores[rows], self.classes[rows], masks
        )


def joined(parts: Sequence[Detections]) -> Detections:
    """Join the detections of several views, in their order; [] gives no detections.

    Their masks are left out.
    """
    return Detections(
        boxes=np.concatenate([np.zeros((0, 4)), *[part.boxes for part in parts]]),
        scores=np.concatenate([np.zeros(0), *[part.scores for part in parts]]),
        classes=np.concatenate(
            [np.zeros(0, np.int32), *[part.classes for part in parts]]
        ),
    )


def weighted_fusion(
    detections: Detections, *, views: int, iou: float = 0.55
) -> Detections:
    """Average the boxes that show one object (weighted boxes fusion, arXiv 1910.13302).

    Only boxes of one class form a group, several of one view too.

    Args:
        detections: of all views together, in coordinates of one image.
        views: number of views that could have found each object.
        iou: a box joins a group if its IoU with the group's average is above this.

    Returns:
        One box a group, by falling score, its edges averaged with the scores as
        weights. Its score is the mean score, times min(boxes in the group, `views`) /
        `views`.
    """
    groups: list[_Group] = []
    for row in np.argsort(-detections.scores, kind='stable'):
        box = detections.boxes[row].astype(np.float64)
        label = int(detections.classes[row])
        group = _best_group(groups, box, label, iou)
        if group is None:
            group = _Group(label)
            groups.append(group)
        group.add(box, float(detections.scores[row]))
    scores = np.array([group.score(views) for group in groups])
    order = np.argsort(-scores, kind='stable')
    return Detections(
        boxes=np.array([groups[i].box() for i in order]).reshape(-1, 4),
        scores=scores[order],
        classes=np.array([groups[i].label for i in order], np.int32),
    )


def across_borders(
    detections: Detections,
    views: Int[np.ndarray, 'n'],
    is_cut: Bool[np.ndarray, 'n'],
    *,
    iou: float = 0.5,
    inside: float = 0.5,
) -> Detections:
    """Keep one detection of each object that several overlapping tiles show.

    A detection suppresses those of its class in other tiles. A tile's border cuts an
    object in two, so a cut box shows the same object as a box in which most of it lies.
    Two whole boxes show one object only if their IoU is large. A cut box counts half
    its score in the comparison, so that the whole box wins.

    Args:
        detections: of all tiles together, in coordinates of the image.
        views: number of the tile of each detection.
        is_cut: whether a border of the tile, inside of the image, may cut the object.
        iou: two boxes show one object if their IoU is above this.
        inside: so do two boxes if at least this fraction of a cut one lies in the other.

    Returns:
        The detections that remain, by falling score. Their boxes and scores are
        unchanged.
    """
    ranks = detections.scores * np.where(is_cut, 0.5, 1.0)
    boxes = detections.boxes.astype(np.float64)
    areas = np.maximum(overlap.area_on_host(boxes), 1e-9)
    alive = np.ones(len(ranks), bool)
    for row in np.argsort(-ranks, kind='stable').tolist():
        if not alive[row]:
            continue
        is_worse = alive & (ranks <= ranks[row])
        is_other_view = views != views[row]
        is_own_class = detections.classes == detections.classes[row]
        rivals = np.flatnonzero(is_worse & is_other_view & is_own_class)
        is_same = overlap.iou_on_host(boxes[row], boxes[rivals]) > iou
        common = overlap.common_on_host(boxes[row], boxes[rivals])
        is_same |= is_cut[rivals] & (common >= inside * areas[rivals])
        if is_cut[row]:
            is_same |= common >= inside * areas[row]
        alive[rivals[is_same]] = False
    rows = np.flatnonzero(alive)
    rows = rows[np.argsort(-detections.scores[rows], kind='stable')]
    return detections.at(rows)


class _Group:
    """Boxes of one class that show one object."""

    def __init__(self, label: int):
        self.label = label
        self.scores: list[float] = []
        self.weighted_sum = np.zeros(4)
        self._box = np.zeros(4)

    def add(self, box: np.ndarray, score: float) -> None:
        self.weighted_sum = self.weighted_sum + score * box
        self.scores.append(score)
        self._box = self.weighted_sum / max(sum(self.scores), 1e-12)

    def box(self) -> np.ndarray:
        return self._box

    def score(self, views: int) -> float:
        found = min(len(self.scores), views)
        return float(np.mean(self.scores)) * found / views


def _best_group(
    groups: list[_Group], box: np.ndarray, label: int, iou: float
) -> _Group | None:
    """The group of this class whose average overlaps a box most, if it does enough."""
    rivals = [group for group in groups if group.label == label]
    if not rivals:
        return None
    averages = np.array([group.box() for group in rivals])
    overlaps = overlap.iou_on_host(box, averages)
    best = int(np.argmax(overlaps))
    return rivals[best] if overlaps[best] > iou else None
