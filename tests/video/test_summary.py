import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.video import summary

BOUNDARIES = np.array([4, 10, 13])  # of 20 frames: shots of 4, 6, 3 and 7


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-1, 5), st.integers(1, 9)), min_size=1, max_size=8),
       st.integers(0, 25))
def test_knapsack_is_the_best_of_all_choices(items, capacity):
    values, lengths = map(np.array, zip(*items))
    choices = np.array([*itertools.product([0, 1], repeat=len(items))])
    possible = choices[choices @ lengths <= capacity]
    chosen = summary.knapsack(values, lengths, capacity)
    assert lengths[chosen].sum() <= capacity
    assert values[chosen].sum() == pytest.approx((possible @ values).max())


def test_knapsack_refuses_items_that_take_no_room():
    with pytest.raises(ValueError, match='at least 1, got 0'):
        summary.knapsack(np.ones(2), np.array([3, 0]), 4)


def test_whole_shots_are_selected_by_their_mean_score():
    scores = np.repeat([0.2, 0.3, 0.9, 0.5], [4, 6, 3, 7])
    shots = np.repeat(np.arange(4), [4, 6, 3, 7])
    for share, kept in ((0.15, {2}), (0.35, {2, 0}), (0.5, {2, 3}), (1.0, {0, 1, 2, 3}), (0.1, {})):
        chosen = summary.select(scores, BOUNDARIES, share)
        np.testing.assert_array_equal(chosen, np.isin(shots, [*kept]))


def test_a_video_of_one_shot_fits_only_whole():
    scores, none = np.ones(9, np.float32), np.array([], int)
    assert not summary.select(scores, none).any()
    assert summary.select(scores, none, share=1.0).all()


@pytest.mark.parametrize('selected, annotated, wanted', [
    ([1, 1, 0, 0], [1, 1, 0, 0], 1.0),
    ([1, 1, 0, 0], [0, 0, 1, 1], 0.0),
    ([1, 1, 1, 0], [1, 0, 0, 0], 0.5),  # precision 1/3, recall 1
    ([0, 0, 0, 0], [0, 0, 0, 0], 0.0),
])
def test_f_score(selected, annotated, wanted):
    got = summary.f_score(np.array(selected, bool), np.array(annotated, bool))
    assert got == pytest.approx(wanted)


def test_one_key_frame_for_each_selected_shot():
    scores = np.zeros(20)
    scores[[2, 9, 11, 13]] = 1, 2, 3, 4
    selected = np.repeat([True, False, True, True], [4, 6, 3, 7])
    assert summary.key_frames(scores, BOUNDARIES, selected).tolist() == [2, 11, 13]
    assert summary.key_frames(scores, BOUNDARIES, np.zeros(20, bool)).tolist() == []
