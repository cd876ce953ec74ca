"""Precision, recall and F1 of detections over the score threshold, and the best threshold."""

import contextlib
import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxvision.core.types import Json, Records
from jaxvision.metrics import detection

# One number for each detection.
Values = Float[np.ndarray, 'n']

IOU = 0.5  # the least IoU of a detection with its object
# COCO's range of areas that leaves out no object.
_ALL_AREAS = [0, 1e10]


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """The detections of a class, best first, each with its outcome.

    Attributes:
        scores: in falling order.
        correct: whether the detection overlaps an object of its class, at an IoU of at
            least 0.5, that no better detection took.
        total: number of objects, without crowd regions.
    """

    scores: Values
    correct: Bool[np.ndarray, 'n']
    total: int

    @property
    def precision(self) -> Values:
        """Fraction of correct detections among the first 1, 2, ..., n."""
        return np.cumsum(self.correct) / self._given

    @property
    def recall(self) -> Values:
        """Fraction of objects that the first 1, 2, ..., n detections find; 0 without objects."""
        return np.cumsum(self.correct) / max(self.total, 1)

    @property
    def f1(self) -> Values:
        """Harmonic mean of precision and recall of the first 1, 2, ..., n detections."""
        given_and_total = self._given + self.total
        return 2 * np.cumsum(self.correct) / given_and_total

    @property
    def average_precision(self) -> float:
        """COCO's mean precision over 101 recalls; -1 without objects."""
        if not self.total:
            return -1.0
        highest_later = np.maximum.accumulate(self.precision[::-1])[::-1]
        recalls = np.linspace(0, 1, 101)
        places = np.searchsorted(self.recall, recalls, side='left')
        # A recall that no detection reaches has a precision of 0.
        return float(np.append(highest_later, 0.0)[places].mean())

    @property
    def _given(self) -> Int[np.ndarray, 'n']:
        return np.arange(1, len(self.scores) + 1)


def outcomes(records: Records, classes: int) -> list[Outcomes]:
    """Match detections with objects as COCO does, at an IoU of 0.5.

    A detection that only a crowd region matches is left out. In each image, only the
    best 100 detections of a class take part.

    Args:
        records: as for `detection.summarize`.
        classes: number of classes.

    Returns:
        The outcomes of each class.
    """
    evaluation = detection.prepare(records, classes)
    evaluation.params.iouThrs = np.array([IOU])
    evaluation.params.areaRng = [_ALL_AREAS]
    evaluation.params.areaRngLbl = ['all']
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
    images = len(records['index'])
    return [
        _of_class(evaluation.evalImgs[number * images : (number + 1) * images])
        for number in range(classes)
    ]


def pooled(by_class: Sequence[Outcomes]) -> Outcomes:
    """Join the outcomes of all classes, which then share one threshold."""
    scores = np.concatenate([outcome.scores for outcome in by_class])
    correct = np.concatenate([outcome.correct for outcome in by_class])
    order = np.argsort(-scores, kind='stable')
    total = sum(outcome.total for outcome in by_class)
    return Outcomes(scores[order], correct[order], total)


def best_threshold(outcome: Outcomes) -> tuple[float | None, float]:
    """Find the score threshold with the largest F1.

    If several thresholds have the largest F1, the highest is taken. It lies halfway
    between two scores, so that rounding changes no decision. If F1 is largest with all
    detections, the threshold is the lowest score.

    Returns:
        (the threshold, its F1). The threshold is None if no detection is correct.
    """
    if not outcome.correct.any():
        return None, 0.0
    # Detections with equal scores are given together.
    following = np.append(outcome.scores[1:], -np.inf)
    f1 = np.where(outcome.scores > following, outcome.f1, -1.0)
    best = int(np.argmax(f1))
    score = float(outcome.scores[best])
    if best + 1 < len(outcome.scores):
        score = (score + float(following[best])) / 2
    return score, float(f1[best])


def calibrate(class_names: Sequence[str], records: Records) -> Json:
    """Choose the score thresholds from which detections are given.

    Args:
        class_names: of the dataset.
        records: of the validation split, as for `detection.summarize`.

    Returns:
        'iou', the IoU of a correct detection; 'score' and 'f1' of all classes together;
        and 'class_scores' and 'class_f1', by class name. If no detection is correct,
        the threshold is None and its F1 is 0.
    """
    by_class = outcomes(records, len(class_names))
    score, f1 = best_threshold(pooled(by_class))
    class_scores = {}
    class_f1 = {}
    for name, outcome in zip(class_names, by_class, strict=True):
        class_scores[name], class_f1[name] = best_threshold(outcome)
    return {
        'iou': IOU,
        'score': score,
        'f1': f1,
        'class_scores': class_scores,
        'class_f1': class_f1,
    }


def _of_class(images: Sequence[Json | None]) -> Outcomes:
    """Join COCO's matches of one class in each image; None: nothing to match."""
    scores: list[float] = []
    correct: list[bool] = []
    total = 0
    for image in images:
        if image is None:
            continue
        total += int(np.sum(image['gtIgnore'] == 0))
        keep = ~image['dtIgnore'][0].astype(bool)
        is_match = image['dtMatches'][0] > 0
        correct += is_match[keep].tolist()
        scores += np.array(image['dtScores'])[keep].tolist()
    order = np.argsort(-np.array(scores), kind='stable')
    return Outcomes(
        np.array(scores, np.float64)[order], np.array(correct, bool)[order], total
    )
