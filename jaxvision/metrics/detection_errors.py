"""Why detections are wrong: a simple form of TIDE's error types (arXiv 2008.08115).

TIDE repairs each type of error and measures the gain of AP. Here the errors are counted, among
the detections from a score threshold on.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxvision.boxes import overlap
from jaxvision.core.types import Records

# The types of errors, in the order of the counts.
KINDS = ('class', 'localisation', 'both', 'duplicate', 'background', 'missed')
FOUND = 0.5  # least IoU of a correct detection
TOUCHED = 0.1  # least IoU of a detection that means an object

# Boxes and classes of one image.
Boxes = Float[np.ndarray, 'n 4']
Classes = Int[np.ndarray, 'n']


def count_errors(
    records: Records, classes: int, *, score: float
) -> Int[np.ndarray, 'k 6']:
    """Count the errors of each class and type.

    A detection, best first, is correct if the free object of its class that it overlaps
    most has an IoU of at least 0.5. Any other detection is one error, the first that
    applies: localisation (an object of its class, IoU 0.1 to 0.5), class (an object of
    another class, IoU at least 0.5), duplicate (an object of its class that a better
    detection has found), background (no object, IoU at most 0.1), or both (an object of
    another class, IoU 0.1 to 0.5). An object is missed if no detection found it, and
    none has a localisation or class error at it. A wrong detection is left out if at
    least half of its area lies in a crowd region of its class.

    Args:
        records: as for `detection.summarize`.
        classes: number of classes.
        score: detections below it are left out.

    Returns:
        [classes, 6]: row i counts the wrong detections of class i in the order class,
        localisation, both, duplicate, background. The last column counts the missed
        objects of class i.
    """
    counts = np.zeros((classes, len(KINDS)), np.int64)
    for row in range(len(records['index'])):
        mask = records['truth_mask'][row]
        chosen = records['valid'][row] & (records['scores'][row] >= score)
        order = np.argsort(-records['scores'][row][chosen], kind='stable')
        image = _Image(
            boxes=records['truth_boxes'][row][mask],
            labels=records['truth_classes'][row][mask],
            crowd=records['crowd'][row][mask],
        )
        boxes = records['boxes'][row][chosen][order]
        labels = records['classes'][row][chosen][order]
        for label, kind in zip(
            labels.tolist(), image.kinds_of_errors(boxes, labels), strict=True
        ):
            if kind:
                counts[label, KINDS.index(kind)] += 1
        np.add.at(counts[:, -1], image.missed(), 1)
    return counts


class _Image:
    """The objects of an image, and which of them are found."""

    def __init__(self, boxes: Boxes, labels: Classes, crowd: Bool[np.ndarray, 'n']):
        self._boxes = boxes[~crowd].astype(np.float64)
        self._labels = labels[~crowd]
        self._crowd_boxes = boxes[crowd].astype(np.float64)
        self._crowd_labels = labels[crowd]
        self._found = np.zeros(len(self._boxes), bool)
        # By a detection of the wrong class or place.
        self._touched = np.zeros(len(self._boxes), bool)

    def kinds_of_errors(self, boxes: Boxes, labels: Classes) -> Sequence[str]:
        """Match detections, given best first: the type of error of each, '' if it is none."""
        overlaps = overlap.iou_on_host(boxes, self._boxes)
        is_correct = [
            self._find(values, label)
            for values, label in zip(overlaps, labels.tolist(), strict=True)
        ]
        is_left_out = self._are_in_crowd(boxes, labels)
        kinds = []
        for row, values in enumerate(overlaps):
            if is_correct[row] or is_left_out[row]:
                kinds.append('')
            else:
                kinds.append(self._kind(values, int(labels[row])))
        return kinds

    def missed(self) -> Classes:
        """The classes of the missed objects, to call after `kinds_of_errors`.

        An object with a localisation or class error at it is not missed.
        """
        return self._labels[~self._found & ~self._touched]

    def _find(self, overlaps: Float[np.ndarray, 'm'], label: int) -> bool:
        """Take the free object of this class with the largest overlap, if it is enough."""
        is_eligible = ~self._found & (self._labels == label)
        eligible = np.where(is_eligible, overlaps, 0)
        if eligible.max(initial=0) < FOUND:
            return False
        self._found[np.argmax(eligible)] = True
        return True

    def _are_in_crowd(self, boxes: Boxes, labels: Classes) -> Bool[np.ndarray, 'n']:
        """Whether at least half of each box lies in a crowd region of its class."""
        areas = np.expand_dims(overlap.area_on_host(boxes), -1)
        common = overlap.common_on_host(boxes.astype(np.float64), self._crowd_boxes)
        is_same = labels[:, None] == self._crowd_labels
        return (is_same & (common >= FOUND * areas)).any(axis=1)

    def _kind(self, overlaps: Float[np.ndarray, 'm'], label: int) -> str:
        """The type of error of a detection that is not correct."""
        is_same = self._labels == label
        same = np.where(is_same, overlaps, 0)
        other = np.where(is_same, 0, overlaps)
        largest_same = same.max(initial=0)
        largest_other = other.max(initial=0)
        if TOUCHED <= largest_same < FOUND:
            self._touched[np.argmax(same)] = True
            return 'localisation'
        if largest_other >= FOUND:
            self._touched[np.argmax(other)] = True
            return 'class'
        if largest_same >= FOUND:
            return 'duplicate'
        if max(largest_same, largest_other) <= TOUCHED:
            return 'background'
        return 'both'
