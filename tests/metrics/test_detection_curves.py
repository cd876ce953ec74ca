"""Score thresholds, beside a search over all thresholds that matches by its own rules."""

import json

import numpy as np
import pytest
from helpers.box_records import random_records

from jaxvision.metrics import detection, detection_curves

CLASSES = ['a', 'b', 'c', 'without objects']


def common_area(box, other):
    low = np.maximum(box[:2], other[:2])
    high = np.minimum(box[2:], other[2:])
    return np.prod(np.maximum(high - low, 0))


def area(box):
    return np.prod(box[2:] - box[:2])


def counts_of_image(records, image, number, threshold):
    """(correct, wrong, objects) of a class among detections from a threshold on."""
    of_class = records['truth_mask'][image] & (
        records['truth_classes'][image] == number
    )
    is_crowd = records['crowd'][image]
    truth = records['truth_boxes'][image].astype(float)
    objects = np.flatnonzero(of_class & ~is_crowd).tolist()
    crowds = np.flatnonzero(of_class & is_crowd).tolist()
    total = len(objects)
    rows = np.flatnonzero(
        records['valid'][image]
        & (records['classes'][image] == number)
        & (records['scores'][image] >= threshold)
    )
    correct = wrong = 0
    for row in sorted(rows, key=lambda row: -records['scores'][image, row]):
        box = records['boxes'][image, row].astype(float)
        overlaps = {}
        for slot in objects:
            common = common_area(box, truth[slot])
            overlaps[slot] = common / (area(box) + area(truth[slot]) - common)
        best = max(overlaps, key=overlaps.get, default=None)
        if best is not None and overlaps[best] >= 0.5:
            objects.remove(best)
            correct += 1
        elif not any(
            common_area(box, truth[slot]) >= 0.5 * area(box) for slot in crowds
        ):
            wrong += 1
    return correct, wrong, total


def counts_at(records, numbers, threshold):
    """(correct, given, objects) of some classes, each with detections from a threshold on."""
    correct = given = total = 0
    for image in range(len(records['index'])):
        for number in numbers:
            right, wrong, objects = counts_of_image(records, image, number, threshold)
            correct += right
            given += right + wrong
            total += objects
    return correct, given, total


def f1_at(records, numbers, threshold):
    correct, given, total = counts_at(records, numbers, threshold)
    return 2 * correct / max(given + total, 1)


@pytest.mark.parametrize('has_ties', [True, False])
@pytest.mark.parametrize('seed', range(6))
def test_no_threshold_has_a_larger_f1(seed, has_ties):
    records = random_records(seed)
    if not has_ties:
        scores = np.random.default_rng(seed).uniform(size=records['scores'].shape)
        records['scores'] = scores.astype(np.float32)
    calibration = detection_curves.calibrate(CLASSES, records)
    candidates = np.unique(records['scores']).tolist()
    choices = {name: [number] for number, name in enumerate(CLASSES)}
    scores = {**calibration['class_scores'], '': calibration['score']}
    values = {**calibration['class_f1'], '': calibration['f1']}
    choices[''] = list(range(len(CLASSES)))
    for name, numbers in choices.items():
        by_threshold = {score: f1_at(records, numbers, score) for score in candidates}
        largest = max(by_threshold.values())
        assert values[name] == pytest.approx(largest, abs=1e-12)
        if not largest:
            assert scores[name] is None
            continue
        assert f1_at(records, numbers, scores[name]) == pytest.approx(largest)
        highest = max(
            score for score, f1 in by_threshold.items() if f1 >= largest - 1e-12
        )
        assert scores[name] <= highest
        expected = counts_at(records, numbers, highest)
        assert counts_at(records, numbers, scores[name]) == expected


def test_a_threshold_is_no_score_so_that_rounding_changes_nothing():
    outcome = detection_curves.Outcomes(
        np.array([0.9, 0.8, 0.2]), np.array([True, True, False]), 2
    )
    score, f1 = detection_curves.best_threshold(outcome)
    assert score == pytest.approx(0.5)
    assert f1 == 1


def test_nothing_correct_has_no_threshold():
    records = random_records(0)
    records['valid'][:] = False
    calibration = detection_curves.calibrate(CLASSES, records)
    assert calibration['score'] is None
    assert calibration['class_scores'] == dict.fromkeys(CLASSES)
    json.dumps(calibration, allow_nan=False)


def test_the_order_of_the_hosts_changes_no_threshold():
    records = random_records(1)
    order = np.random.default_rng(1).permutation(len(records['index']))
    shuffled = {name: values[order] for name, values in records.items()}
    expected = detection_curves.calibrate(CLASSES, records)
    assert detection_curves.calibrate(CLASSES, shuffled) == expected


@pytest.mark.parametrize('seed', range(4))
def test_the_average_precision_of_a_class_is_cocos(seed):
    records = random_records(seed, images=20)
    evaluation = detection.evaluate(records, len(CLASSES))
    for number, outcome in enumerate(detection_curves.outcomes(records, len(CLASSES))):
        expected = detection.class_precision(evaluation, number, 0.5)
        assert outcome.average_precision == pytest.approx(expected, abs=1e-12)
