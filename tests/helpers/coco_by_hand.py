"""COCO's twelve numbers by pycocotools itself, from input as its documentation has it."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def twelve_numbers(records, category_ids):
    """Evaluate records, whose classes have these ids in the annotations."""
    annotations = []
    results = []
    for image, index in enumerate(records['index']):
        for slot in np.flatnonzero(records['truth_mask'][image]):
            ymin, xmin, ymax, xmax = map(float, records['truth_boxes'][image, slot])
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': 1000 + int(index),
                    'category_id': category_ids[records['truth_classes'][image, slot]],
                    'bbox': [xmin, ymin, xmax - xmin, ymax - ymin],
                    'area': float(records['area'][image, slot]),
                    'iscrowd': int(records['crowd'][image, slot]),
                }
            )
        for slot in np.flatnonzero(records['valid'][image]):
            ymin, xmin, ymax, xmax = map(float, records['boxes'][image, slot])
            results.append(
                {
                    'image_id': 1000 + int(index),
                    'category_id': category_ids[records['classes'][image, slot]],
                    'bbox': [xmin, ymin, xmax - xmin, ymax - ymin],
                    'score': float(records['scores'][image, slot]),
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            'images': [{'id': 1000 + int(index)} for index in records['index']],
            'annotations': annotations,
            'categories': [{'id': number} for number in category_ids],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats
