"""Join the detections of several views of one image: tiles, mirrored images, models."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from jaxvision.boxes import overlap


@dataclasses.dataclass(frozen=True)
class Detections:
    """Boxes that were found in one image.

    Attributes:
        boxes: edges in pixels.
        scores: in [0, 1].
        classes: numbers of the classes.
    """

    boxes: Float[np.ndarray, 'n 4']
    scores: Float[np.ndarray, 'n']
    classes: Int[np.ndarray, 'n']


def weighted_fusion(
    detections: Detections, *, views: int, iou: float = 0.55
) -> Detections:
    """Average the boxes that show one object (weighted boxes fusion, arXiv 1910.13302).

    Args:
        detections: of all views together, in coordinates of one image.
        views: number of views that could have found each object.
        iou: the least IoU of a box with the average of its group.

    Returns:
        One box a group, its edges averaged with the scores as weights. Its score is the
        mean score, smaller where fewer views than `views` found the object.
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


class _Group:
    """Boxes of one class that show one object."""

    def __init__(self, label: int):
        self.label = label
        self.scores: list[float] = []
        self.weighted_sum = np.zeros(4)

    def add(self, box: np.ndarray, score: float) -> None:
        self.weighted_sum = self.weighted_sum + score * box
        self.scores.append(score)

    def box(self) -> np.ndarray:
        return self.weighted_sum / max(sum(self.scores), 1e-12)

    def score(self, views: int) -> float:
        found = min(len(self.scores), views)
        return float(np.mean(self.scores)) * found / views


def _best_group(
    groups: list[_Group], box: np.ndarray, label: int, iou: float
) -> _Group | None:
    """The group of this class whose average overlaps a box most, if it does enough."""
    best = None
    largest = iou
    for group in groups:
        if group.label != label:
            continue
        value = float(overlap.iou_on_host(box, group.box()[None])[0])
        if value > largest:
            best = group
            largest = value
    return best
