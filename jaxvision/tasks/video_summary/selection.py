"""Summaries of videos: the selection of shots by the scores of their frames."""

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxvision.tasks.video_summary import shots

FRACTION = 0.15  # of a video's length, for its summary

Boundaries = Int[np.ndarray, 'm']  # the first frame of every shot but the first


def shorten(
    scores: Float[np.ndarray, 't'], features: Float[np.ndarray, 't d']
) -> tuple[Boundaries, Bool[np.ndarray, 't']]:
    """Select `FRACTION` of a video's frames, and at least one.

    Shots change where the features do. Long shots are divided, so that at least three fit
    into the summary.

    Args:
        scores: scores of the frames, above 0.
        features: features of the frames.

    Returns:
        (the boundaries of the shots, which frames are kept).
    """
    frames = len(scores)
    fraction = kept_fraction(frames)
    changes = shots.change_points(features, most=frames // 5)
    longest = max(_capacity(frames, fraction) // 3, 1)
    boundaries = shots.divided(changes, frames, longest)
    return boundaries, select(scores, boundaries, fraction)


def kept_fraction(frames: int) -> float:
    """The fraction of a video that a summary keeps: one frame of a short video."""
    return max(FRACTION, 1 / frames)


def knapsack(
    values: Float[np.ndarray, 'n'], lengths: Int[np.ndarray, 'n'], capacity: int
) -> Bool[np.ndarray, 'n']:
    """Solve the knapsack problem exactly, by dynamic programming.

    Args:
        values: of the items; an item of no value is left out.
        lengths: of the items, at least 1.
        capacity: the largest sum of lengths.

    Returns:
        The items of the greatest total value.

    Raises:
        ValueError: A length is below 1.
    """
    if (lengths < 1).any():
        raise ValueError(f'lengths must be at least 1, got {lengths.min()}')
    best = np.zeros(capacity + 1)  # Total values by capacity, of the items so far.
    is_taken = np.zeros((len(values), capacity + 1), bool)
    for item, (value, length) in enumerate(zip(values, lengths, strict=True)):
        without_it = best[length:]
        with_it = best[: len(without_it)] + value
        is_taken[item, length:] = with_it > without_it
        best[length:] = np.maximum(without_it, with_it)
    chosen = np.zeros(len(values), bool)
    left = capacity
    for item in reversed(range(len(values))):
        chosen[item] = is_taken[item, left]
        left -= int(lengths[item]) * chosen[item]
    return chosen


def select(
    scores: Float[np.ndarray, 't'],
    boundaries: Boundaries,
    fraction: float = FRACTION,
) -> Bool[np.ndarray, 't']:
    """Select the shots to keep (Zhou et al. 2018, arXiv 1801.00054).

    Args:
        scores: scores of the frames; the value of a shot is the mean of its scores.
        boundaries: the first frame of every shot but the first.
        fraction: of the frames that are kept, at most.

    Returns:
        Whether each frame is kept.
    """
    lengths = _lengths(len(scores), boundaries)
    values = np.add.reduceat(scores, np.append(0, boundaries)) / lengths
    chosen = knapsack(values, lengths, _capacity(len(scores), fraction))
    return np.repeat(chosen, lengths)


def f_score(selected: Bool[np.ndarray, 't'], annotated: Bool[np.ndarray, 't']) -> float:
    """Compute 2 P R / (P + R) of the frames in common with one person's summary.

    It is the weaker measure: how shots are cut decides much of it, and a random choice can
    reach a person's score (Otani et al. 2019). `metrics.ranking` measures the scores.
    """
    chosen = selected.sum() + annotated.sum()
    return float(2 * (selected & annotated).sum() / max(chosen, 1))


def key_frames(
    scores: Float[np.ndarray, 't'],
    boundaries: Boundaries,
    selected: Bool[np.ndarray, 't'],
) -> Int[np.ndarray, 'k']:
    """Find the frame of the highest score in each selected shot.

    Args:
        scores: scores of the frames.
        boundaries: the first frame of every shot but the first.
        selected: True for frames of the summary.

    Returns:
        The frames' numbers, in order of time.
    """
    starts = np.append(0, boundaries)
    lengths = _lengths(len(scores), boundaries)
    best = [
        start + np.argmax(scores[start : start + length])
        for start, length in zip(starts, lengths, strict=True)
        if selected[start]
    ]
    return np.array(best, np.int64)


def kept_lengths(
    selected: Bool[np.ndarray, 't'], boundaries: Boundaries
) -> Int[np.ndarray, 'k']:
    """The number of frames in each selected shot."""
    lengths = _lengths(len(selected), boundaries)
    return lengths[selected[np.append(0, boundaries)]]


def stretches(selected: Bool[np.ndarray, 't']) -> Int[np.ndarray, 'k 2']:
    """The first frame of each run of selected frames, and the first frame after it."""
    changes = np.diff(selected.astype(int), prepend=0, append=0)
    return np.flatnonzero(changes).reshape(-1, 2)


def spread(lengths: Int[np.ndarray, 'k'], frames: int) -> Bool[np.ndarray, '{frames}']:
    """Build the uniform summary: stretches of equal length, evenly spread over a video.

    Args:
        lengths: as many stretches are made, with as many frames in all.
        frames: number of frames of the video.
    """
    number = len(lengths)
    kept = lengths.sum()
    equal = np.diff(np.arange(number + 1) * kept // max(number, 1))
    left_out = (np.arange(number) + 0.5) / max(number, 1) * (frames - kept)
    return _placed(left_out.astype(int), equal, frames)


def scattered(
    rng: np.random.Generator, lengths: Int[np.ndarray, 'k'], frames: int
) -> Bool[np.ndarray, '{frames}']:
    """Draw a random summary: stretches in any order at any places of a video.

    Args:
        rng: draws the order and the places.
        lengths: of the stretches.
        frames: number of frames of the video.
    """
    lengths = rng.permutation(lengths)
    left_out = frames - lengths.sum()
    # No two stretches touch: the places differ.
    before = np.sort(rng.choice(left_out + 1, len(lengths), replace=False))
    return _placed(before, lengths, frames)


def _placed(
    before: Int[np.ndarray, 'k'], lengths: Int[np.ndarray, 'k'], frames: int
) -> Bool[np.ndarray, 't']:
    """Place stretches; `before` counts the frames before each that are left out."""
    selected = np.zeros(frames, bool)
    starts = before + np.append(0, lengths.cumsum()[:-1])
    for start, length in zip(starts, lengths, strict=True):
        selected[start : start + length] = True
    return selected


def _capacity(frames: int, fraction: float) -> int:
    # 0.15 * 20 is a little less than 3 in floating point.
    return int(np.floor(fraction * frames + 1e-9))


def _lengths(frames: int, boundaries: Boundaries) -> Int[np.ndarray, 'n']:
    return np.diff(boundaries, prepend=0, append=frames)
