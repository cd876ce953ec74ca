"""Distances of surfaces against DeepMind's, against all pairs of points, and empty masks."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from jaxvision.metrics import surfaces

METRICS = {
    'hausdorff': surfaces.hausdorff,
    'hd95': surfaces.robust_hausdorff,
    'average': surfaces.average_distance,
    'normalized': lambda measured: surfaces.normalized_distance(measured, 1.0),
}
seeds = st.integers(0, 10_000)


def measure(truth, prediction, spacing):
    measured = surfaces.distances(truth, prediction, spacing)
    return {name: metric(measured) for name, metric in METRICS.items()}


@pytest.fixture(scope='module')
def stored():
    with np.load(Path(__file__).with_name('surfaces.npz')) as arrays:
        return dict(arrays)


@pytest.mark.parametrize('number', range(5))
def test_distances_equal_those_of_deepmind(stored, number):
    case = {
        name.removesuffix(f'_{number}'): array
        for name, array in stored.items()
        if name.endswith(f'_{number}')
    }
    measured = surfaces.distances(
        case['truth'], case['prediction'], case['spacing'].tolist()
    )
    true_area = measured.true_areas.sum()
    predicted_area = measured.predicted_areas.sum()
    assert true_area == pytest.approx(float(case['area_gt']), rel=1e-9)
    assert predicted_area == pytest.approx(float(case['area_pred']), rel=1e-9)
    for percent in (50, 95):
        distance = surfaces.robust_hausdorff(measured, float(percent))
        assert distance == pytest.approx(float(case[f'hd{percent}']), abs=1e-9)
    assert surfaces.hausdorff(measured) == pytest.approx(float(case['hd100']), abs=1e-9)
    areas = np.array([true_area, predicted_area])
    average = np.average(case['averages'], weights=areas)
    assert surfaces.average_distance(measured) == pytest.approx(average, abs=1e-9)
    for tolerance, expected in zip(
        stored['tolerances'], case['normalized'], strict=True
    ):
        value = surfaces.normalized_distance(measured, float(tolerance))
        assert value == pytest.approx(expected, abs=1e-9)


def contour(mask, spacing):
    """The corners on the contour of a mask [H, W] in the unit of the spacing, and their lengths."""
    height, width = mask.shape
    points = []
    lengths = []
    for y, x in itertools.product(range(height + 1), range(width + 1)):
        around = set()
        for dy, dx in itertools.product((-1, 0), (-1, 0)):
            row = y + dy
            column = x + dx
            if 0 <= row < height and 0 <= column < width and mask[row, column]:
                around.add((dy, dx))
        if len(around) in (0, 4):
            continue
        points.append((y * spacing[0], x * spacing[1]))
        half_diagonal = np.hypot(spacing[0] / 2, spacing[1] / 2)
        if len(around) in (1, 3):
            lengths.append(half_diagonal)
            continue
        (y0, x0), (y1, x1) = around
        if y0 == y1:
            lengths.append(spacing[1])
        elif x0 == x1:
            lengths.append(spacing[0])
        else:
            lengths.append(2 * half_diagonal)
    return np.array(points), np.array(lengths)


def random_masks(seed):
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 9, 2)
    truth = rng.uniform(size=size) < 0.3
    prediction = rng.uniform(size=size) < 0.3
    truth[0, 0] = True
    prediction[-1, -1] = True
    spacing = rng.uniform(0.3, 3, 2).tolist()
    return truth, prediction, spacing


@settings(deadline=None, max_examples=40)
@given(seeds)
def test_distances_equal_those_between_all_pairs_of_corners(seed):
    truth, prediction, spacing = random_masks(seed)
    points, lengths = contour(truth, spacing)
    other_points, other_lengths = contour(prediction, spacing)
    pairs = cdist(points, other_points)
    forth = pairs.min(axis=1)
    back = pairs.min(axis=0)
    values = measure(truth, prediction, spacing)
    assert values['hausdorff'] == pytest.approx(max(forth.max(), back.max()), abs=1e-9)
    nearest = np.concatenate([forth, back])
    weights = np.concatenate([lengths, other_lengths])
    average = np.average(nearest, weights=weights)
    assert values['average'] == pytest.approx(average, abs=1e-9)
    fitting = np.average(nearest <= 1, weights=weights)
    assert values['normalized'] == pytest.approx(fitting, abs=1e-9)


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_distances_scale_with_the_spacing_and_are_symmetric(seed):
    truth, prediction, spacing = random_masks(seed)
    values = measure(truth, prediction, spacing)
    swapped = measure(prediction, truth, spacing)
    turned = measure(truth.T, prediction.T, spacing[::-1])
    scaled = measure(truth, prediction, [4 * step for step in spacing])
    for name in ('hausdorff', 'hd95', 'average'):
        assert swapped[name] == pytest.approx(values[name], abs=1e-9)
        assert turned[name] == pytest.approx(values[name], abs=1e-9)
        assert scaled[name] == pytest.approx(4 * values[name], abs=1e-9)
    assert values['average'] <= values['hausdorff'] + 1e-12
    assert values['hd95'] <= values['hausdorff']
    measured = surfaces.distances(truth, prediction, spacing)
    at_most = values['hausdorff'] + 1e-9
    assert surfaces.normalized_distance(measured, at_most) == pytest.approx(1)
    padded = measure(np.pad(truth, 3), np.pad(prediction, 3), spacing)
    assert padded == pytest.approx(values)


def test_a_shifted_square_and_cube_have_the_distance_of_the_shift():
    square = np.zeros((20, 30), bool)
    square[5:12, 5:15] = True
    values = measure(square, np.roll(square, 3, axis=1), (1.0, 0.5))
    assert values['hausdorff'] == values['hd95'] == 1.5
    cube = np.zeros((12, 14, 16), bool)
    cube[3:8, 3:9, 3:10] = True
    values = measure(cube, np.roll(cube, 2, axis=0), (2.5, 1.0, 1.0))
    assert values['hausdorff'] == values['hd95'] == 5.0
    assert measure(cube, cube, (2.5, 1.0, 1.0)) == {
        'hausdorff': 0,
        'hd95': 0,
        'average': 0,
        'normalized': 1,
    }


@pytest.mark.parametrize('spacing', [(1.0, 2.0), (1.0, 2.0, 0.5)])
def test_empty_masks_have_the_stated_values(spacing):
    empty = np.zeros([8] * len(spacing), bool)
    full = np.ones_like(empty)
    perfect = {'hausdorff': 0, 'hd95': 0, 'average': 0, 'normalized': 1}
    assert measure(empty, empty, spacing) == perfect
    diagonal = 8 * np.linalg.norm(spacing)
    worst = {name: pytest.approx(diagonal) for name in ('hausdorff', 'hd95', 'average')}
    worst['normalized'] = 0
    assert measure(empty, full, spacing) == worst
    assert measure(full, empty, spacing) == worst


def test_the_mean_over_images_gets_worse_with_every_missed_object():
    rng = np.random.default_rng(0)
    truths = []
    for _ in range(8):
        mask = np.zeros((16, 16), bool)
        top, left = rng.integers(0, 8, 2)
        mask[top : top + 6, left : left + 7] = True
        truths.append(mask)
    means = []
    for missed in range(len(truths) + 1):
        values = []
        for number, truth in enumerate(truths):
            prediction = np.roll(truth, 2, axis=0)
            if number < missed:
                prediction = np.zeros_like(truth)
            values.append(list(measure(truth, prediction, (1.0, 1.0)).values()))
        means.append(np.mean(values, axis=0))
    steps = np.diff(means, axis=0)
    assert (steps[:, :3] > 0).all()
    assert (steps[:, 3] < 0).all()


@pytest.mark.parametrize('size, spacing', [((4, 4), (1.0,)), ((4,), (1.0,))])
def test_a_spacing_of_another_number_of_axes_is_refused(size, spacing):
    mask = np.ones(size, bool)
    with pytest.raises(
        ValueError, match='expected a number for each of the 2 or 3 axes'
    ):
        surfaces.distances(mask, mask, spacing)


def test_records_of_label_maps_have_the_distances_of_each_class():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, (7, 9)).astype(np.uint8)
    prediction = np.roll(truth, 1, axis=1).astype(np.int32)
    prediction[prediction == 2] = 4
    truth[2:4, 3:5] = 255
    values = surfaces.record(truth, prediction, 6, (1.0, 2.0), 1.0)
    for number in (0, 1, 2, 4):
        masks = (truth == number, (prediction == number) & (truth != 255))
        expected = measure(*masks, (1.0, 2.0))
        assert values['hd95'][number] == expected['hd95']
        assert values['asd'][number] == expected['average']
        assert values['nsd'][number] == expected['normalized']
    for name in surfaces.NAMES:
        assert np.isnan(values[name][[3, 5]]).all()
    # Class 2 is missed as a whole.
    assert values['hd95'][2] == pytest.approx(np.hypot(7, 18))
    other = np.where(truth == 255, 3, prediction)
    same = surfaces.record(truth, other, 6, (1.0, 2.0), 1.0)
    for name in surfaces.NAMES:
        np.testing.assert_array_equal(same[name], values[name])


def test_summaries_are_means_over_images_and_then_over_classes():
    class_names = ('background', 'a', 'b', 'never')
    nan = np.nan
    distances = np.array([[9.0, 1.0, nan, nan], [9.0, 3.0, 5.0, nan]])
    records = {'hd95': distances, 'asd': distances / 2, 'nsd': distances / 10}
    values = surfaces.summarize(class_names, records)
    assert values == pytest.approx({'hd95': 3.5, 'asd': 1.75, 'nsd': 0.35})
    nothing = {name: np.full((2, 4), nan) for name in surfaces.NAMES}
    perfect = {'hd95': 0.0, 'asd': 0.0, 'nsd': 1.0}
    assert surfaces.summarize(class_names, nothing) == perfect
    alone = {name: array[:, :1] for name, array in records.items()}
    assert surfaces.summarize(('background',), alone)['hd95'] == 9
