"""Shot boundaries, compared with a search over all segmentations."""

import itertools

import numpy as np
import pytest

from jaxvision.tasks.video_summary import shots


def objective(features, changes, penalty):
    """The scatter within the shots plus the penalty, as in the paper."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    scatter = sum(
        ((shot - shot.mean(0)) ** 2).sum() for shot in np.split(unit, changes)
    )
    m = len(changes)
    if not m:
        return scatter
    return scatter + penalty * m * (np.log(len(features) / m) + 1)


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('penalty', [0.02, 0.2, 1.0])
def test_the_best_of_all_segmentations_is_found(seed, penalty):
    features = np.random.default_rng(seed).normal(size=(9, 3)).astype(np.float32)
    most = 2 + seed
    segmentations = []
    for number in range(most + 1):
        segmentations += itertools.combinations(range(1, 9), number)
    exact = features.astype(np.float64)
    best = min(segmentations, key=lambda changes: objective(exact, changes, penalty))
    assert shots.change_points(features, most, penalty).tolist() == list(best)


@pytest.mark.parametrize('noise', [0, 0.02])
@pytest.mark.parametrize('places', [(), (1,), (59,), (20, 21), (7, 30, 31, 50)])
def test_a_piecewise_constant_signal_is_divided_at_its_jumps(places, noise):
    rng = np.random.default_rng(0)
    levels = np.eye(6)[np.searchsorted(places, np.arange(60), side='right')]
    # The kernel ignores the norm of the features.
    scales = rng.uniform(0.1, 9, (60, 1))
    features = scales * (levels + noise * rng.normal(size=(60, 6)))
    # A shot of one frame costs less scatter than a change does, at the usual penalty.
    assert shots.change_points(features, 10, penalty=0.1).tolist() == list(places)


def test_the_number_of_boundaries_is_limited():
    features = np.eye(8)
    assert len(shots.change_points(features, 3, penalty=0.0)) == 3
    assert shots.change_points(features[:2], 9, penalty=0.0).tolist() == [1]
    assert shots.change_points(features, 0).tolist() == []
    assert shots.change_points(features[:1], 5).tolist() == []


def test_features_of_zeros_are_a_shot_of_their_own():
    features = np.concatenate([np.zeros((10, 4)), np.ones((10, 4))])
    assert shots.change_points(features, 4).tolist() == [10]


def test_long_shots_are_divided_equally():
    assert shots.divide_long_shots(np.array([3, 13]), 14, longest=4).tolist() == [
        3,
        6,
        9,
        13,
    ]
    assert shots.divide_long_shots(np.array([], int), 7, longest=9).tolist() == []
    assert shots.divide_long_shots(np.array([2]), 4, longest=1).tolist() == [1, 2, 3]
