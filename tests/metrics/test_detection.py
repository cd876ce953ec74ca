"""COCO's average precision from records, beside hand-made input of pycocotools and arithmetic."""

import contextlib
import io

import numpy as np
import pytest
from helpers.box_records import random_records
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from jaxvision.metrics import detection

CLASSES = ['a', 'b', 'c', 'without objects']


def by_hand(records, category_ids):
    """Write the input of pycocotools as its documentation has it, with gaps in the ids."""
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


@pytest.mark.parametrize('seed', range(40))
def test_all_twelve_numbers_are_those_of_pycocotools(seed):
    records = random_records(seed)
    found = detection.summarize(CLASSES, records)
    expected = by_hand(records, [7, 30, 91, 92])
    np.testing.assert_array_equal([found[name] for name in detection.NAMES], expected)


def test_more_than_a_hundred_detections_of_an_image():
    records = random_records(3, images=3, detections=300)
    found = detection.summarize(CLASSES, records)
    expected = by_hand(records, [1, 2, 3, 4])
    np.testing.assert_array_equal([found[name] for name in detection.NAMES], expected)


@pytest.mark.parametrize('seed', range(5))
def test_the_order_of_the_hosts_does_not_matter(seed):
    records = random_records(seed)
    order = np.random.default_rng(seed).permutation(len(records['index']))
    shuffled = {name: values[order] for name, values in records.items()}
    assert detection.summarize(CLASSES, records) == detection.summarize(
        CLASSES, shuffled
    )


def average_precision(records, number, iou):
    """AP of one class over 101 recalls, after the definition; no crowds, no size limits."""
    total = 0
    outcomes = []
    for image in range(len(records['index'])):
        mask = records['truth_mask'][image] & (
            records['truth_classes'][image] == number
        )
        truth = records['truth_boxes'][image][mask].astype(float)
        total += len(truth)
        free = np.ones(len(truth), bool)
        rows = records['valid'][image] & (records['classes'][image] == number)
        boxes = records['boxes'][image][rows].astype(float)
        scores = records['scores'][image][rows]
        for row in np.argsort(-scores, kind='stable'):
            best, match = iou, -1
            for i, other in enumerate(truth):
                low = np.maximum(boxes[row, :2], other[:2])
                high = np.minimum(boxes[row, 2:], other[2:])
                common = np.prod(np.maximum(high - low, 0))
                area = np.prod(boxes[row, 2:] - boxes[row, :2])
                value = common / (area + np.prod(other[2:] - other[:2]) - common)
                if free[i] and value >= best:
                    best, match = value, i
            if match >= 0:
                free[match] = False
            outcomes.append((-scores[row], image, match >= 0))
    outcomes.sort(key=lambda outcome: outcome[0])
    hits = np.cumsum([hit for *_, hit in outcomes])
    precision = hits / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    recall = hits / total
    at = [np.searchsorted(recall, level, 'left') for level in np.linspace(0, 1, 101)]
    return np.mean([precision[i] if i < len(precision) else 0 for i in at])


@pytest.mark.parametrize('seed', range(5))
def test_average_precision_of_one_class_by_its_definition(seed):
    records = random_records(seed, images=20)
    records['crowd'][:] = False
    found = detection.summarize(CLASSES, records)
    for number in range(3):
        expected = average_precision(records, number, 0.5)
        assert found[f'ap50_{CLASSES[number]}'] == pytest.approx(expected, abs=1e-9)
    assert found['ap50_without objects'] == -1


def test_perfect_detections_have_an_average_precision_of_one():
    records = random_records(0)
    records['crowd'][:] = False
    perfect = {
        **records,
        'boxes': records['truth_boxes'],
        'classes': records['truth_classes'],
        'scores': np.ones_like(records['area']),
        'valid': records['truth_mask'],
    }
    found = detection.summarize(CLASSES, perfect)
    assert found['ap'] == found['ap50'] == found['ar100'] == 1
    nothing = {**perfect, 'valid': np.zeros_like(perfect['valid'])}
    assert detection.summarize(CLASSES, nothing)['ap'] == 0


def test_confusion_counts_missed_objects_and_detections_of_nothing():
    boxes = np.float32(
        [[0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60], [0, 0, 0, 0]]
    )
    records = {
        'truth_boxes': boxes[None],
        'truth_classes': np.int32([[0, 1, 2, 0]]),
        'truth_mask': np.array([[True, True, True, False]]),
        'crowd': np.zeros((1, 4), bool),
        'area': np.full((1, 4), 100, np.float32),
        # The first is right, the second of another class, the third elsewhere, the last too weak.
        'boxes': np.float32(
            [[[0, 0, 10, 9], [20, 20, 30, 30], [80, 80, 90, 90], [50, 50, 60, 60]]]
        ),
        'scores': np.float32([[0.9, 0.8, 0.7, 0.1]]),
        'classes': np.int32([[0, 2, 1, 2]]),
        'valid': np.ones((1, 4), bool),
        'index': np.arange(1),
    }
    expected = np.zeros((4, 4), int)
    expected[0, 0] = expected[1, 2] = expected[3, 1] = expected[2, 3] = 1
    np.testing.assert_array_equal(detection.confusion(records, 3), expected)
    records['crowd'][0, 1] = True
    expected[1, 2] = 0
    np.testing.assert_array_equal(detection.confusion(records, 3), expected)
