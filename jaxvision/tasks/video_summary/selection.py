"""A summary of a video from one score a frame: which shots to keep, and how well it agrees."""

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxvision.tasks.video_summary import shots

SHARE = 0.15  # of a video's length, for its summary

Boundaries = Int[np.ndarray, 'm']  # the first frame of every shot but the first


def shorten(
    scores: Float[np.ndarray, 't'], features: Float[np.ndarray, 't d']
) -> tuple[Boundaries, Bool[np.ndarray, 't']]:
    """Where the shots of a video change, and its frames to keep: SHARE of them, and at least one.

    Shots change where the features do, and at least three have to fit into the summary: longer
    ones are divided. Scores are above 0.
    """
    frames = len(scores)
    share = share_of(frames)
    changes = shots.change_points(features, most=frames // 5)
    boundaries = shots.divided(
        changes, frames, longest=max(_capacity(frames, share) // 3, 1)
    )
    return boundaries, select(scores, boundaries, share)


def share_of(frames: int) -> float:
    """SHARE, or more of a video that has so few frames."""
    return max(SHARE, 1 / frames)


def knapsack(
    values: Float[np.ndarray, 'n'], lengths: Int[np.ndarray, 'n'], capacity: int
) -> Bool[np.ndarray, 'n']:
    """The items of the greatest total value whose lengths sum to at most `capacity`, exactly.

    An item of no value is left out. Raises ValueError for a length below 1.
    """
    if (lengths < 1).any():
        raise ValueError(f'lengths must be at least 1, got {lengths.min()}')
    best = np.zeros(capacity + 1)  # by the room there is, of the items so far
    taken = np.zeros((len(values), capacity + 1), bool)
    for item, (value, length) in enumerate(zip(values, lengths)):
        room = best[length:]
        with_it = best[: len(room)] + value
        taken[item, length:] = with_it > room
        best[length:] = np.maximum(room, with_it)
    chosen, left = np.zeros(len(values), bool), capacity
    for item in reversed(range(len(values))):
        chosen[item] = taken[item, left]
        left -= int(lengths[item]) * chosen[item]
    return chosen


def select(
    scores: Float[np.ndarray, 't'], boundaries: Boundaries, share: float = SHARE
) -> Bool[np.ndarray, 't']:
    """The frames of the shots to keep, at most floor(share * t) of them.

    A shot's value is the mean of its frames' scores (Zhou et al. 2018, arXiv:1801.00054).
    """
    lengths = _lengths(len(scores), boundaries)
    values = np.add.reduceat(scores, np.append(0, boundaries)) / lengths
    return np.repeat(knapsack(values, lengths, _capacity(len(scores), share)), lengths)


def f_score(selected: Bool[np.ndarray, 't'], annotated: Bool[np.ndarray, 't']) -> float:
    """2 P R / (P + R) of the frames in common with one person's summary; 0 for none in common.

    The weaker measure: how shots are cut decides much of it, and a random choice can reach a
    person's score (Otani et al. 2019). `metrics.ranking` measures the scores themselves.
    """
    chosen = selected.sum() + annotated.sum()
    return float(2 * (selected & annotated).sum() / max(chosen, 1))


def key_frames(
    scores: Float[np.ndarray, 't'],
    boundaries: Boundaries,
    selected: Bool[np.ndarray, 't'],
) -> Int[np.ndarray, 'k']:
    """The frame of the highest score in each selected shot, in order of time."""
    starts = np.append(0, boundaries)
    return np.array(
        [
            start + np.argmax(scores[start : start + length])
            for start, length in zip(starts, _lengths(len(scores), boundaries))
            if selected[start]
        ],
        np.int64,
    )


def kept_lengths(
    selected: Bool[np.ndarray, 't'], boundaries: Boundaries
) -> Int[np.ndarray, 'k']:
    """Of the selected shots, frames in each."""
    lengths = _lengths(len(selected), boundaries)
    return lengths[selected[np.append(0, boundaries)]]


def stretches(selected: Bool[np.ndarray, 't']) -> Int[np.ndarray, 'k 2']:
    """The first frame of each run of selected ones, and the first after it."""
    return np.flatnonzero(np.diff(selected.astype(int), prepend=0, append=0)).reshape(
        -1, 2
    )


def spread(lengths: Int[np.ndarray, 'k'], frames: int) -> Bool[np.ndarray, '{frames}']:
    """As many frames in all, in as many stretches, of equal lengths and evenly spread over a video:
    the uniform summary."""
    number, kept = len(lengths), lengths.sum()
    equal = np.diff(np.arange(number + 1) * kept // max(number, 1))
    left_out = (np.arange(number) + 0.5) / max(number, 1) * (frames - kept)
    return _placed(left_out.astype(int), equal, frames)


def scattered(
    rng: np.random.Generator, lengths: Int[np.ndarray, 'k'], frames: int
) -> Bool[np.ndarray, '{frames}']:
    """Stretches of these lengths in any order at any places of a video: a random summary."""
    lengths = rng.permutation(lengths)
    left_out = frames - lengths.sum()
    # Of which no two touch: the places differ.
    before = np.sort(rng.choice(left_out + 1, len(lengths), replace=False))
    return _placed(before, lengths, frames)


def _placed(before, lengths, frames: int) -> Bool[np.ndarray, 't']:
    """Stretches of these lengths; before each so many frames in all that are left out."""
    selected = np.zeros(frames, bool)
    for start, length in zip(before + np.append(0, lengths.cumsum()[:-1]), lengths):
        selected[start : start + length] = True
    return selected


def _capacity(frames: int, share: float) -> int:
    # 0.15 * 20 is a little less than 3 in floating point.
    return int(np.floor(share * frames + 1e-9))


def _lengths(frames: int, boundaries: Boundaries) -> Int[np.ndarray, 'n']:
    return np.diff(boundaries, prepend=0, append=frames)
