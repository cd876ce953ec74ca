"""Exported detectors are compared as sets."""

import numpy as np
import pytest

from jaxvision.tasks.detection import comparison


@pytest.fixture
def outputs():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 50, (4, 20, 2))
    scores = -np.sort(-rng.uniform(0.1, 1, (4, 20)).astype(np.float32))
    return {
        'boxes': np.concatenate([corners, corners + 9], -1).astype(np.float32),
        'scores': scores,
        'classes': rng.integers(0, 3, (4, 20)),
        'valid': np.arange(20) < np.array([20, 5, 0, 12])[:, None],
    }


def reordered(outputs):
    order = np.random.default_rng(1).permutation(20)
    return {name: values[:, order] for name, values in outputs.items()}


def test_the_order_of_detections_does_not_matter(outputs):
    found = comparison.compare(reordered(outputs), outputs)
    assert found == {'boxes': 0, 'scores': 0, 'classes': 0}


def test_differences_are_the_largest_ones_as_a_fraction(outputs):
    other = reordered(outputs)
    other['boxes'] = other['boxes'] + np.float32(0.25)
    other['scores'] = other['scores'] + np.float32(0.004)
    found = comparison.compare(other, outputs)
    assert found['boxes'] == pytest.approx(0.25 / outputs['boxes'].max(), rel=1e-3)
    assert found['scores'] == pytest.approx(0.004 / outputs['scores'].max(), rel=1e-3)
    assert found['classes'] == 0


@pytest.mark.parametrize('place, fraction', [(0, 0.25), (19, 0.0)])
def test_a_missing_detection_counts_unless_it_is_the_last_one(outputs, place, fraction):
    other = {name: values.copy() for name, values in outputs.items()}
    other['valid'][0, place] = False
    assert comparison.compare(other, outputs)['classes'] == fraction
    assert comparison.compare(outputs, other)['classes'] == fraction


def test_another_class_place_or_score_is_another_detection(outputs):
    for name, change in (('classes', 1), ('boxes', 2), ('scores', 0.05)):
        other = {key: values.copy() for key, values in outputs.items()}
        other[name][1, 2] = other[name][1, 2] + change
        assert comparison.compare(other, outputs)['classes'] == 0.25


def test_no_detections_are_equal():
    empty = {
        'boxes': np.zeros((2, 5, 4), np.float32),
        'scores': np.zeros((2, 5), np.float32),
        'classes': np.zeros((2, 5), np.int32),
        'valid': np.zeros((2, 5), bool),
    }
    assert set(comparison.compare(empty, empty).values()) == {0}


def test_masks_are_compared_between_partners(outputs):
    rng = np.random.default_rng(2)
    outputs['masks'] = rng.uniform(size=(4, 20, 6, 6)).astype(np.float32)
    other = reordered(outputs)
    assert comparison.compare(other, outputs)['masks'] == 0
    other['masks'] = other['masks'] * np.float32(0.75)
    most = outputs['masks'][outputs['valid']].max()
    logits = np.log(outputs['masks'] / (1 - outputs['masks']))[outputs['valid']]
    scale = np.abs(logits).max() / 4
    assert scale > 1
    expected = 0.25 * most / scale
    assert comparison.compare(other, outputs)['masks'] == pytest.approx(expected)
    # A probability near 1/2 has a small logit, by which nothing is divided.
    near = {**outputs, 'masks': 0.5 + 0.1 * outputs['masks']}
    other = {**near, 'masks': near['masks'] + np.float32(0.01)}
    assert comparison.compare(other, near)['masks'] == pytest.approx(0.01, rel=1e-3)
