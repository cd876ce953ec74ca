"""COCO's average precision from records, beside hand-made input of pycocotools and arithmetic."""

import numpy as np
import pytest
from helpers.box_records import random_dataset, random_records
from helpers.coco_by_hand import twelve_numbers

from jaxvision.metrics import detection

CLASSES = ['a', 'b', 'c', 'without objects']


@pytest.mark.parametrize('seed', range(200))
def test_all_twelve_numbers_are_those_of_pycocotools(seed):
    """Crowds, ties, empty classes, gaps in the ids, 300 detections, hosts in any order."""
    records, category_ids = random_dataset(seed)
    found = detection.summarize([str(key) for key in category_ids], records)
    expected = twelve_numbers(records, category_ids)
    np.testing.assert_array_equal([found[name] for name in detection.NAMES], expected)


def test_more_than_a_hundred_detections_of_an_image():
    records = random_records(3, images=3, detections=300)
    found = detection.summarize(CLASSES, records)
    expected = twelve_numbers(records, [1, 2, 3, 4])
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


def one_image(boxes, classes, scores, truth, labels):
    """Records of one image without crowds."""
    truth = np.float32(truth)
    return {
        'truth_boxes': truth[None],
        'truth_classes': np.int32([labels]),
        'truth_mask': np.ones((1, len(truth)), bool),
        'crowd': np.zeros((1, len(truth)), bool),
        'area': np.prod(truth[None, :, 2:] - truth[None, :, :2], axis=-1),
        'boxes': np.float32([boxes]),
        'scores': np.float32([scores]),
        'classes': np.int32([classes]),
        'valid': np.ones((1, len(boxes)), bool),
        'index': np.arange(1),
    }


def test_a_class_without_objects_is_left_out_and_one_without_detections_is_0():
    box = [10, 10, 40, 40]
    records = one_image([box, box], [0, 2], [0.9, 0.8], [box, box], [0, 1])
    found = detection.summarize(['found', 'missed', 'absent'], records)
    assert found['ap50_found'] == pytest.approx(1)
    assert found['ap50_missed'] == 0
    assert found['ap50_absent'] == -1
    for name in ('ap', 'ap50', 'ar100'):
        assert found[name] == pytest.approx(0.5)


def test_an_image_counts_a_hundred_detections_of_each_class():
    """The right one of each of three classes is its hundredth, and the 300th of the image."""
    box = [10, 10, 40, 40]
    far = [200, 200, 240, 240]
    boxes = 99 * 3 * [far] + 3 * [box]
    classes = 99 * [0, 1, 2] + [0, 1, 2]
    scores = np.linspace(0.9, 0.1, 300)
    records = one_image(boxes, classes, scores, 3 * [box], [0, 1, 2])
    found = detection.summarize(['a', 'b', 'c'], records)
    assert found['ap50'] == pytest.approx(1 / 100)
    assert found['ar10'] == 0
    assert found['ar100'] == 1


def test_detections_with_low_scores_raise_the_average_precision():
    """What a user would not want to see counts: a floor of the scores lowers the number."""
    box = [10, 10, 40, 40]
    other = [100, 100, 150, 150]
    records = one_image([box, other], [0, 0], [0.9, 0.02], [box, other], [0, 0])
    floor = {**records, 'valid': records['scores'] > 0.05}
    assert detection.summarize(['a'], records)['ap'] == pytest.approx(1)
    assert detection.summarize(['a'], floor)['ap'] == pytest.approx(51 / 101)


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
