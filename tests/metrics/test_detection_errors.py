"""Types of errors, each in a scene that has it alone."""

import numpy as np
import pytest
from helpers.box_records import random_records

from jaxvision.metrics import detection_errors

CLASSES = 3
OBJECT = (0, 0, 10, 10)


def records_of(truth, detections, crowd=()):
    """One image: truth (class, box) and detections (class, score, box)."""
    boxes = [box for _, box in truth]
    return {
        'truth_boxes': np.float32(boxes).reshape(1, -1, 4),
        'truth_classes': np.int32([[label for label, _ in truth]]),
        'truth_mask': np.ones((1, len(truth)), bool),
        'crowd': np.array([[row in crowd for row in range(len(truth))]], bool),
        'boxes': np.float32([box for *_, box in detections]).reshape(1, -1, 4),
        'scores': np.float32([[score for _, score, _ in detections]]),
        'classes': np.int32([[label for label, *_ in detections]]),
        'valid': np.ones((1, len(detections)), bool),
        'index': np.arange(1),
    }


def errors_of(truth, detections, **options):
    records = records_of(truth, detections, **options)
    counts = detection_errors.count_errors(records, CLASSES, score=0.5)
    return {
        (label, detection_errors.KINDS[kind]): int(counts[label, kind])
        for label, kind in np.argwhere(counts).tolist()
    }


@pytest.mark.parametrize(
    'detections, expected',
    [
        ([(0, 0.9, (0, 0, 10, 9))], {}),
        ([(0, 0.9, OBJECT), (0, 0.8, (0, 0, 10, 9))], {(0, 'duplicate'): 1}),
        ([(1, 0.9, (0, 0, 10, 9))], {(1, 'class'): 1}),
        ([(0, 0.9, (0, 0, 10, 4))], {(0, 'localisation'): 1}),
        ([(1, 0.9, (0, 0, 10, 4))], {(1, 'both'): 1, (0, 'missed'): 1}),
        ([(2, 0.9, (50, 50, 60, 60))], {(2, 'background'): 1, (0, 'missed'): 1}),
        ([(2, 0.9, (9, 9, 19, 19))], {(2, 'background'): 1, (0, 'missed'): 1}),
        ([(0, 0.4, OBJECT)], {(0, 'missed'): 1}),
        ([], {(0, 'missed'): 1}),
        # The better of two finds the object, whatever their order.
        ([(0, 0.6, (0, 0, 10, 8)), (0, 0.9, OBJECT)], {(0, 'duplicate'): 1}),
        # A found object is not missed because another detection is wrong.
        ([(0, 0.9, OBJECT), (1, 0.8, OBJECT)], {(1, 'class'): 1}),
    ],
)
def test_each_type_of_error(detections, expected):
    assert errors_of([(0, OBJECT)], detections) == expected


def test_detections_in_a_crowd_are_no_errors_and_a_crowd_is_not_missed():
    crowd = (0, (0, 0, 100, 100))
    inside = (0, 0.9, (20, 20, 30, 30))
    assert errors_of([crowd], [inside], crowd=[0]) == {}
    assert errors_of([crowd], [], crowd=[0]) == {}
    of_another_class = (1, 0.9, (20, 20, 30, 30))
    assert errors_of([crowd], [of_another_class], crowd=[0]) == {(1, 'background'): 1}


@pytest.mark.parametrize('seed', range(5))
def test_every_detection_is_correct_or_one_error(seed):
    """The errors and COCO's correct detections are all detections from the threshold on."""
    from jaxvision.metrics import detection_curves

    records = random_records(seed, images=12)
    records['crowd'][:] = False
    score = 0.4
    counts = detection_errors.count_errors(records, CLASSES, score=score)
    given = (records['valid'] & (records['scores'] >= score)).sum()
    correct = sum(
        int(outcome.correct[outcome.scores >= score].sum())
        for outcome in detection_curves.outcomes(records, CLASSES)
    )
    assert counts[:, :-1].sum() + correct == given
    objects = records['truth_mask'].sum()
    assert correct + counts[:, -1].sum() <= objects


def test_images_without_objects_or_detections():
    counts = detection_errors.count_errors(
        records_of([], [(1, 0.9, OBJECT)]), CLASSES, score=0.5
    )
    assert counts[1, detection_errors.KINDS.index('background')] == counts.sum() == 1
    assert not detection_errors.count_errors(
        records_of([], []), CLASSES, score=0.0
    ).any()
