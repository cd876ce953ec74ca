"""Selection of the shots of a summary: knapsack, key frames, uniform and random summaries."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.tasks.video_summary import selection

# A video of 20 frames, with shots of 4, 6, 3 and 7 frames.
BOUNDARIES = np.array([4, 10, 13])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1, 5), st.integers(1, 9)), min_size=1, max_size=8),
    st.integers(0, 25),
)
def test_knapsack_equals_a_search_over_all_choices(items, capacity):
    values, lengths = map(np.array, zip(*items, strict=True))
    choices = np.array([*itertools.product([0, 1], repeat=len(items))])
    possible = choices[choices @ lengths <= capacity]
    chosen = selection.knapsack(values, lengths, capacity)
    assert lengths[chosen].sum() <= capacity
    assert values[chosen].sum() == pytest.approx((possible @ values).max())


def test_knapsack_refuses_items_of_length_zero():
    with pytest.raises(ValueError, match='expected at least 1, got 0'):
        selection.knapsack(np.ones(2), np.array([3, 0]), 4)


def test_whole_shots_are_selected_by_their_mean_score():
    scores = np.repeat([0.2, 0.3, 0.9, 0.5], [4, 6, 3, 7])
    shots = np.repeat(np.arange(4), [4, 6, 3, 7])
    for fraction, kept in (
        (0.15, {2}),
        (0.35, {2, 0}),
        (0.5, {2, 3}),
        (1.0, {0, 1, 2, 3}),
        (0.1, {}),
    ):
        chosen = selection.select(scores, BOUNDARIES, fraction)
        np.testing.assert_array_equal(chosen, np.isin(shots, [*kept]))


def test_a_video_of_one_shot_is_selected_whole_or_not_at_all():
    scores = np.ones(9, np.float32)
    none = np.array([], int)
    assert not selection.select(scores, none).any()
    assert selection.select(scores, none, fraction=1.0).all()


@pytest.mark.parametrize(
    'selected, annotated, expected',
    [
        ([1, 1, 0, 0], [1, 1, 0, 0], 1.0),
        ([1, 1, 0, 0], [0, 0, 1, 1], 0.0),
        # Precision 1/3, recall 1.
        ([1, 1, 1, 0], [1, 0, 0, 0], 0.5),
        ([0, 0, 0, 0], [0, 0, 0, 0], 0.0),
    ],
)
def test_f_score(selected, annotated, expected):
    score = selection.f_score(np.array(selected, bool), np.array(annotated, bool))
    assert score == pytest.approx(expected)


def test_one_key_frame_for_each_selected_shot():
    scores = np.zeros(20)
    scores[[2, 9, 11, 13]] = 1, 2, 3, 4
    selected = np.repeat([True, False, True, True], [4, 6, 3, 7])
    assert selection.key_frames(scores, BOUNDARIES, selected).tolist() == [2, 11, 13]
    assert selection.key_frames(scores, BOUNDARIES, np.zeros(20, bool)).tolist() == []


@pytest.mark.parametrize('frames', [1, 2, 6, 7, 20, 50, 133])
def test_a_summary_has_a_few_whole_shots_with_the_highest_scores(frames):
    rng = np.random.default_rng(frames)
    features = np.repeat(rng.normal(size=(4, 5)), [1, 2, 3, 127], axis=0)[:frames]
    boundaries, selected = selection.shorten(rng.uniform(0.1, 1, frames), features)
    capacity = max(int(0.15 * frames + 1e-9), 1)
    lengths = np.diff(boundaries, prepend=0, append=frames)
    assert 1 <= selected.sum() <= capacity
    assert lengths.max() <= max(capacity // 3, 1)
    shots = np.repeat(np.arange(len(lengths)), lengths)
    kept = [selected[shots == shot] for shot in range(len(lengths))]
    assert all(shot.all() or not shot.any() for shot in kept)
    best = np.zeros(frames)
    best[shots == shots[frames // 2]] = 1
    _, selected = selection.shorten(best + 1e-3, features)
    assert selected[frames // 2]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_segments_are_the_words_of_a_string(frames):
    text = ''.join('x' if frame else ' ' for frame in frames)
    assert [
        end - start for start, end in selection.find_segments(np.array(frames))
    ] == list(map(len, text.split()))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 5), max_size=6), st.integers(0, 30), st.integers(0, 10))
def test_uniform_and_random_summaries_have_the_same_frames_and_segments(
    lengths, more, seed
):
    lengths = np.array(lengths, int)
    frames = int(lengths.sum()) + len(lengths) + more

    def runs(selected):
        return sorted(end - start for start, end in selection.find_segments(selected))

    random = selection.random_summary(np.random.default_rng(seed), lengths, frames)
    assert runs(random) == sorted(lengths) and len(random) == frames
    uniform = selection.uniform_summary(lengths, frames)
    assert uniform.sum() == lengths.sum() and len(uniform) == frames
    assert len(runs(uniform)) == len(lengths)
    assert max(runs(uniform), default=0) - min(runs(uniform), default=0) <= 1


def test_all_random_summaries_of_two_segments_occur():
    lengths = np.array([4, 2])
    uniform = selection.uniform_summary(lengths, 14)
    assert np.flatnonzero(uniform).tolist() == [2, 3, 4, 9, 10, 11]
    summaries = set()
    for seed in range(400):
        rng = np.random.default_rng(seed)
        summaries.add(selection.random_summary(rng, lengths, 14).tobytes())
    # Two orders, and two of nine gaps.
    assert len(summaries) == 2 * 9 * 8 / 2


def test_neighbouring_shots_are_counted_separately():
    selected = np.repeat([True, True, False, True], [4, 6, 3, 7])
    assert selection.kept_lengths(selected, BOUNDARIES).tolist() == [4, 6, 7]
    assert selection.kept_lengths(~selected, BOUNDARIES).tolist() == [3]
