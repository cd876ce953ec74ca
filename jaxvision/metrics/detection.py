"""COCO's average precision of detections, computed by pycocotools from gathered records.

A record is one image: its detections and its ground truth, both in pixels of the original
image and padded to one length.
"""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxvision.boxes import overlap
from jaxvision.core.types import Json, MetricValues, Records

# The order of COCOeval.stats.
NAMES = (
    'ap',
    'ap50',
    'ap75',
    'ap_small',
    'ap_medium',
    'ap_large',
    'ar1',
    'ar10',
    'ar100',
    'ar_small',
    'ar_medium',
    'ar_large',
)
MOST_CLASSES = 20  # classes up to which each one has its own metrics

Boxes = Float[np.ndarray, 'n 4']
# pycocotools' objects, whose package has no types.
CocoEvaluation = Any
CocoDataset = Any


def names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Names of the metrics of `summarize`: `NAMES`, and 'ap50_CLASS' by class.

    More than `MOST_CLASSES` classes have no metrics by class.
    """
    if len(class_names) > MOST_CLASSES:
        return NAMES
    by_class = [f'ap50_{name}' for name in class_names]
    return (*NAMES, *by_class)


def summarize(class_names: Sequence[str], records: Records) -> MetricValues:
    """Compute COCO's twelve numbers, and the AP at IoU 0.5 of each class.

    More than `MOST_CLASSES` classes have no AP of each class.

    Args:
        class_names: of the dataset.
        records: of all images, with arrays of M ground-truth boxes and D detections:
            'truth_boxes' [N, M, 4], 'truth_classes' [N, M], 'truth_mask' [N, M], 'crowd'
            [N, M], 'area' [N, M], 'boxes' [N, D, 4], 'scores' [N, D], 'classes' [N, D],
            'valid' [N, D] and 'index' [N]. Boxes are [ymin, xmin, ymax, xmax] in pixels of
            the original image. Classes count from 0, without background. 'truth_mask'
            and 'valid' are False for padding.

    Returns:
        Values in [0, 1] by `names`. COCO's -1 stands where there are no objects, such
        as no large ones. A mean over classes leaves out classes without objects.
    """
    evaluation = evaluate(records, len(class_names))
    values = dict(zip(NAMES, map(float, evaluation.stats), strict=True))
    if len(class_names) <= MOST_CLASSES:
        for number, name in enumerate(class_names):
            values[f'ap50_{name}'] = class_precision(evaluation, number, iou=0.5)
    return values


def evaluate(records: Records, classes: int) -> CocoEvaluation:
    """Run pycocotools' `COCOeval` on records, without its printed tables.

    Args:
        records: as for `summarize`.
        classes: number of classes.

    Returns:
        The `COCOeval` after `evaluate`, `accumulate` and `summarize`.
    """
    evaluation = prepare(records, classes)
    run(evaluation)
    return evaluation


def run(evaluation: CocoEvaluation) -> None:
    """Evaluate, accumulate and summarize, without printed tables."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()


def prepare(records: Records, classes: int) -> CocoEvaluation:
    """Make pycocotools' `COCOeval` of records, which is yet to be evaluated.

    Its categories are the class numbers from 0, and its images are numbered from 0 in
    the order of 'index'. Nothing is printed.

    Args:
        records: as for `summarize`.
        classes: number of classes.
    """
    from pycocotools.cocoeval import COCOeval

    # A stable order, so that ties do not depend on the order of the hosts.
    order = np.argsort(records['index'], kind='stable')
    images = [{'id': int(number)} for number in range(len(order))]
    truth = []
    detections = []
    for image, row in enumerate(order.tolist()):
        truth += _truth_of(records, row, image)
        detections += _detections_of(records, row, image)
    for number, annotation in enumerate(truth, start=1):
        annotation['id'] = number  # 0 means "not matched" to COCOeval.
    for number, detection in enumerate(detections, start=1):
        detection['id'] = number
    with contextlib.redirect_stdout(io.StringIO()):
        coco_truth = _coco(images, truth, classes)
        coco_detections = _coco(images, detections, classes)
        return COCOeval(coco_truth, coco_detections, 'bbox')


def class_precision(evaluation: CocoEvaluation, number: int, iou: float) -> float:
    """The average precision of one class at one IoU.

    Args:
        evaluation: of `evaluate`.
        number: index of the class, from 0.
        iou: one of COCO's thresholds 0.5, 0.55, ..., 0.95.

    Returns:
        The mean precision over COCO's 101 recalls, -1 without objects of the class.
    """
    threshold = int(np.argmin(np.abs(evaluation.params.iouThrs - iou)))
    precision = evaluation.eval['precision'][threshold, :, number, 0, -1]
    present = precision[precision > -1]
    return float(present.mean()) if len(present) else -1.0


def _coco(images: list[Json], annotations: list[Json], classes: int) -> CocoDataset:
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = {
        'images': images,
        'annotations': annotations,
        'categories': [{'id': number} for number in range(classes)],
    }
    coco.createIndex()
    return coco


def _truth_of(records: Records, row: int, image: int) -> list[Json]:
    mask = records['truth_mask'][row]
    boxes = _as_xywh(records['truth_boxes'][row], mask)
    columns = zip(
        boxes,
        records['truth_classes'][row][mask].tolist(),
        records['crowd'][row][mask].tolist(),
        records['area'][row][mask].tolist(),
        strict=True,
    )
    return [
        {
            'image_id': image,
            'bbox': box,
            'category_id': category,
            'iscrowd': int(crowd),
            'area': area,
        }
        for box, category, crowd, area in columns
    ]


def _detections_of(records: Records, row: int, image: int) -> list[Json]:
    valid = records['valid'][row]
    boxes = _as_xywh(records['boxes'][row], valid)
    columns = zip(
        boxes,
        records['classes'][row][valid].tolist(),
        records['scores'][row][valid].tolist(),
        strict=True,
    )
    return [
        {
            'image_id': image,
            'bbox': box,
            'category_id': category,
            'score': score,
            'area': box[2] * box[3],
            'iscrowd': 0,
        }
        for box, category, score in columns
    ]


def _as_xywh(boxes: Boxes, mask: Bool[np.ndarray, 'n']) -> list[list[float]]:
    """COCO's [x, y, width, height] of the boxes that count."""
    kept = boxes[mask].astype(np.float64)
    low = kept[:, 1::-1]
    size = kept[:, :1:-1] - low
    return np.concatenate([low, size], axis=1).tolist()


def confusion(
    records: Records, classes: int, *, score: float = 0.25, iou: float = 0.5
) -> Int[np.ndarray, 'k k']:
    """Count detections by true and predicted class, with a last row and column for background.

    A detection, best first, takes the free ground-truth box that it overlaps most,
    whatever the class. Crowd regions are left out, and so are unmatched detections that
    overlap one.

    Args:
        records: as for `summarize`.
        classes: number of classes.
        score: detections below it are left out.
        iou: the least IoU of a match.

    Returns:
        Counts [classes + 1, classes + 1]: [i, j] are objects of class i predicted as j. The
        last column counts missed objects, the last row detections of nothing.
    """
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    for row in range(len(records['index'])):
        is_truth = records['truth_mask'][row]
        truth = records['truth_boxes'][row][is_truth]
        labels = records['truth_classes'][row][is_truth]
        crowd = records['crowd'][row][is_truth]
        scores = records['scores'][row]
        chosen = records['valid'][row] & (scores >= score)
        boxes = records['boxes'][row][chosen]
        predicted = records['classes'][row][chosen]
        free = ~crowd
        all_overlaps = overlap.iou_on_host(boxes, truth)
        is_touching_crowd = np.any(all_overlaps[:, crowd] > 0, axis=1)
        for number in np.argsort(-scores[chosen], kind='stable'):
            eligible = np.where(free, all_overlaps[number], 0)
            best = int(np.argmax(eligible)) if len(truth) else 0
            if len(truth) and eligible[best] >= iou:
                free[best] = False
                counts[labels[best], predicted[number]] += 1
            elif not is_touching_crowd[number]:
                counts[classes, predicted[number]] += 1
        np.add.at(counts, (labels[free], classes), 1)
    return counts
