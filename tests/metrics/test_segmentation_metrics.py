"""Metrics of segmentation against scikit-learn, and boundary F against dilations."""

import math
import warnings

import numpy as np
import pytest
import sklearn.metrics as sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.morphology import dilation, disk

from jaxvision.core.errors import UserError
from jaxvision.metrics import segmentation as metrics

CLASSES = 5
seeds = st.integers(0, 10_000)


def image(seed, classes=CLASSES):
    """Labels, of which some are IGNORED, and a prediction that is often right."""
    rng = np.random.default_rng(seed)
    size = rng.integers(3, 12, 2)
    shown = rng.choice(classes, rng.integers(1, classes + 1), replace=False)
    truth = rng.choice(shown, size).astype(np.uint8)
    wrong = rng.uniform(size=size) < 0.4
    prediction = np.where(wrong, rng.choice(classes, size), truth).astype(np.int32)
    truth[rng.uniform(size=size) < 0.2] = metrics.IGNORED
    truth[0, 0] = shown[0]
    return truth, prediction


def vectors(truth, prediction):
    counted = truth != metrics.IGNORED
    return truth[counted], prediction[counted]


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_metrics_equal_those_of_scikit_learn(seed):
    truth, prediction = image(seed)
    counts = metrics.confusion(truth, prediction, CLASSES)
    answers = vectors(truth, prediction)
    expected = sklearn.confusion_matrix(*answers, labels=range(CLASSES))
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, expected)

    present = np.unique(np.concatenate(answers))
    by_class = {'labels': present, 'average': None, 'zero_division': 0}
    for function, reference in (
        (metrics.iou, sklearn.jaccard_score),
        (metrics.dice, sklearn.f1_score),
    ):
        values = function(counts)
        scores = reference(*answers, **by_class)
        np.testing.assert_allclose(values[present], scores, rtol=1e-12)
        assert np.isnan(np.delete(values, present)).all()
    ious = sklearn.jaccard_score(*answers, **by_class)
    assert metrics.miou(counts) == pytest.approx(ious.mean(), abs=1e-12)
    weighted = sklearn.jaccard_score(*answers, average='weighted', zero_division=0)
    assert metrics.frequency_weighted_iou(counts) == pytest.approx(weighted, abs=1e-12)
    accuracy = sklearn.accuracy_score(*answers)
    assert metrics.pixel_accuracy(counts) == pytest.approx(accuracy, abs=1e-12)
    with warnings.catch_warnings():
        # Classes that are only predicted have no recall, and scikit-learn leaves them out too.
        warnings.simplefilter('ignore')
        balanced = sklearn.balanced_accuracy_score(*answers)
    assert metrics.mean_accuracy(counts) == pytest.approx(balanced, abs=1e-12)


def test_ignored_pixels_count_nowhere_whatever_is_predicted():
    truth, prediction = image(3)
    ignored = truth == metrics.IGNORED
    counts = metrics.confusion(truth, prediction, CLASSES)
    for value in (0, CLASSES, 255, -1):
        other = np.where(ignored, value, prediction)
        np.testing.assert_array_equal(metrics.confusion(truth, other, CLASSES), counts)
    assert counts.sum() == (~ignored).sum()


def test_a_class_that_is_only_predicted_counts_and_an_absent_one_does_not():
    truth = np.array([[0, 0, 0, 1]], np.uint8)
    prediction = np.array([[0, 0, 2, 1]])
    counts = metrics.confusion(truth, prediction, 4)
    np.testing.assert_allclose(metrics.iou(counts), [2 / 3, 1, 0, np.nan])
    assert metrics.miou(counts) == pytest.approx(5 / 9)
    np.testing.assert_allclose(
        metrics.class_accuracy(counts), [2 / 3, 1, np.nan, np.nan]
    )
    assert metrics.mean_accuracy(counts) == pytest.approx(5 / 6)
    empty = np.zeros((4, 4), np.int64)
    for metric in (
        metrics.miou,
        metrics.pixel_accuracy,
        metrics.mean_accuracy,
        metrics.frequency_weighted_iou,
    ):
        assert math.isnan(metric(empty))


@pytest.mark.parametrize(
    'truth, prediction, message',
    [
        ([[0, 4]], [[0, 0]], 'truth=0..4: expected classes from 0 to 3'),
        ([[0, 1]], [[0, 255]], 'prediction=0..255: expected'),
        ([[0, 1]], [[0, -1]], 'prediction=-1..0: expected'),
        ([[0, 1]], [[0, 1], [0, 1]], 'expected that of the truth'),
    ],
)
def test_values_that_are_no_class_are_refused(truth, prediction, message):
    with pytest.raises(ValueError, match=message):
        metrics.confusion(np.array(truth), np.array(prediction), 4)


def test_counts_of_large_images_do_not_overflow():
    counts = np.full((2, 2), 2**40, np.int64)
    records = {'confusion': np.stack([counts] * 3), 'index': np.arange(3)}
    values = metrics.summarize(('a', 'b'), records)
    assert values['miou'] == pytest.approx(1 / 3)


@settings(deadline=None, max_examples=10)
@given(seeds)
def test_summaries_are_those_of_all_pixels_together(seed):
    images = [image(seed + number, 4) for number in range(3)]
    counts = [metrics.confusion(*pair, CLASSES) for pair in images]
    records = {'confusion': np.stack(counts), 'index': np.arange(3)}
    class_names = ('background', 'cell', 'wall', 'vein', 'never')
    values = metrics.summarize(class_names, records)
    pairs = [vectors(*pair) for pair in images]
    answers = [np.concatenate(column) for column in zip(*pairs, strict=True)]
    present = np.unique(np.concatenate(answers))
    by_class = {'labels': present, 'average': None, 'zero_division': 0}
    ious = sklearn.jaccard_score(*answers, **by_class)
    assert values['miou'] == pytest.approx(ious.mean())
    assert values['accuracy'] == pytest.approx(sklearn.accuracy_score(*answers))
    f1 = sklearn.f1_score(*answers, **by_class)
    foreground = f1[present > 0]
    expected = foreground.mean() if len(foreground) else f1.mean()
    assert values['dice'] == pytest.approx(expected)
    for number, score in zip(present, ious, strict=True):
        assert values[f'iou/{class_names[number]}'] == pytest.approx(score)
    declared = set(metrics.names(class_names))
    assert {'miou', 'dice', 'accuracy'} <= values.keys() <= declared
    assert 'iou/never' not in values
    mixed = {name: array[[2, 0, 1]] for name, array in records.items()}
    assert metrics.summarize(class_names, mixed) == values


def test_many_classes_have_no_metrics_of_their_own():
    class_names = [str(number) for number in range(metrics.MOST_CLASSES + 1)]
    counts = np.eye(len(class_names), dtype=np.int64)[None]
    values = metrics.summarize(
        class_names, {'confusion': counts, 'index': np.arange(1)}
    )
    assert values == {'miou': 1.0, 'dice': 1.0, 'accuracy': 1.0}
    assert metrics.names(class_names) == tuple(values)


def test_a_split_without_labelled_pixels_is_an_error():
    records = {'confusion': np.zeros((2, 3, 3), np.int64), 'index': np.arange(2)}
    with pytest.raises(UserError, match='expected labelled pixels'):
        metrics.summarize(('a', 'b', 'c'), records)


def edges_by_loops(mask):
    height, width = mask.shape
    edge = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            for dy, dx in ((0, 1), (1, 0), (1, 1)):
                if y + dy < height and x + dx < width:
                    edge[y, x] |= mask[y, x] != mask[y + dy, x + dx]
    return edge


def blobs(rng, size):
    """A mask of some rectangles."""
    mask = np.zeros(size, bool)
    for _ in range(rng.integers(0, 4)):
        top, left = rng.integers(0, size)
        height, width = rng.integers(1, 9, 2)
        mask[top : top + height, left : left + width] = True
    return mask


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_boundary_f_equals_that_of_dilated_boundaries(seed):
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(5, 25, 2))
    truth = blobs(rng, size)
    prediction = np.roll(truth, rng.integers(-2, 3), 1) | blobs(rng, size)
    tolerance = rng.choice([0.008, 0.05, 0.1])
    footprint = disk(math.ceil(tolerance * math.hypot(*size)))
    true_edge = edges_by_loops(truth)
    predicted_edge = edges_by_loops(prediction)
    near_truth = dilation(true_edge.astype(np.uint8), footprint) > 0
    near_prediction = dilation(predicted_edge.astype(np.uint8), footprint) > 0
    if true_edge.any() and predicted_edge.any():
        correct = near_truth[predicted_edge].mean()
        covered = near_prediction[true_edge].mean()
        expected = 2 * correct * covered / max(correct + covered, 1e-12)
    else:
        expected = float(not true_edge.any() and not predicted_edge.any())
    value = metrics.boundary_f(truth, prediction, float(tolerance))
    assert value == pytest.approx(expected, abs=1e-12)
    swapped = metrics.boundary_f(prediction, truth, float(tolerance))
    assert swapped == pytest.approx(value, abs=1e-12)


def test_boundary_f_of_empty_masks_and_of_ignored_pixels():
    empty = np.zeros((8, 8), bool)
    square = empty.copy()
    square[2:5, 2:5] = True
    assert metrics.boundary_f(empty, empty) == 1
    assert metrics.boundary_f(empty, square) == metrics.boundary_f(square, empty) == 0
    assert metrics.boundary_f(square, square) == 1
    assert metrics.boundary_f(square, empty, ignored=square) == 1


def test_boundary_f_by_class_leaves_out_absent_classes():
    labels = np.zeros((9, 9), np.uint8)
    labels[2:6, 2:6] = 2
    labels[:, 8] = metrics.IGNORED
    prediction = np.where(labels == metrics.IGNORED, 1, labels)
    values = metrics.boundary_f_by_class(labels, prediction, 4)
    np.testing.assert_array_equal(values, [1, np.nan, 1, np.nan])
    prediction[0, 0] = 3
    values = metrics.boundary_f_by_class(labels, prediction, 4)
    assert values[3] == 0
    assert values[2] == 1
