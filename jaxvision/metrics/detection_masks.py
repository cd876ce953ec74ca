"""COCO's average precision of masks, computed by pycocotools from gathered records."""

from collections.abc import Sequence

import numpy as np

from jaxvision.boxes import pasting
from jaxvision.boxes.pasting import Runs
from jaxvision.core.types import Json, MetricValues, Records
from jaxvision.metrics import detection
from jaxvision.metrics.detection import CocoEvaluation

NAMES = ('mask_ap', 'mask_ap50', 'mask_ap75')


def names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Names of the metrics of `summarize`: those of boxes, and `NAMES`."""
    return (*detection.names(class_names), *NAMES)


def summarize(class_names: Sequence[str], records: Records) -> MetricValues:
    """Compute the metrics of boxes, and the average precision of masks.

    Args:
        class_names: of the dataset.
        records: those of `detection.summarize`. Each image also has 'original_size'
            (height, width), and the masks of its detections and of its objects, in
            their order and without padding: 'mask_runs' and 'truth_mask_runs', see
            `pasting.join`.

    Returns:
        Values in [0, 1] by `names`. A detection is right if the IoU of its mask with
        that of the object reaches 0.5, 0.55, ..., 0.95 ('mask_ap' is the mean), 0.5, or
        0.75.
    """
    values = detection.summarize(class_names, records)
    evaluation = evaluate(records, len(class_names))
    stats = map(float, evaluation.stats[: len(NAMES)])
    return {**values, **dict(zip(NAMES, stats, strict=True))}


def evaluate(records: Records, classes: int) -> CocoEvaluation:
    """Run pycocotools' `COCOeval` of masks on records, without its printed tables.

    Args:
        records: as for `summarize`.
        classes: number of classes.

    Returns:
        The `COCOeval` after `evaluate`, `accumulate` and `summarize`.
    """
    from pycocotools.cocoeval import COCOeval

    boxes = detection.prepare(records, classes)
    order = np.argsort(records['index'], kind='stable')
    for image, row in enumerate(order.tolist()):
        size = records['original_size'][row].tolist()
        boxes.cocoGt.imgs[image] |= {'height': size[0], 'width': size[1]}
        truth = boxes.cocoGt.imgToAnns.get(image, [])
        _add(truth, records['truth_mask_runs'][row], size)
        detections = boxes.cocoDt.imgToAnns.get(image, [])
        _add(detections, records['mask_runs'][row], size)
        for annotation in detections:
            annotation['area'] = _area(annotation)
    evaluation = COCOeval(boxes.cocoGt, boxes.cocoDt, 'segm')
    detection.run(evaluation)
    return evaluation


def _add(annotations: list[Json], runs: Runs, size: list[int]) -> None:
    """Add the masks of an image to its annotations, in their order."""
    for annotation, run in zip(annotations, pasting.split(runs), strict=True):
        annotation['segmentation'] = {'size': size, 'counts': run}


def _area(annotation: Json) -> float:
    from pycocotools import mask as coco_masks

    return float(coco_masks.area(annotation['segmentation']))
