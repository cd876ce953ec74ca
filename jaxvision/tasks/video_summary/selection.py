"""Video summaries: select shots by the scores of their frames."""

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxvision.tasks.video_summary import shots

# One number for each frame.
FrameScores = Float[np.ndarray, 't']

# True for some frames of a video.
FrameMask = Bool[np.ndarray, 't']
# One whole number per segment of a video.
PerSegment = Int[np.ndarray, 'k']

# Length of a summary as a fraction of the length of the video.
FRACTION = 0.15

# The first frame of every shot except the first shot.
Boundaries = Int[np.ndarray, 'm']


def shorten(
    scores: FrameScores, features: Float[np.ndarray, 't d']
) -> tuple[Boundaries, FrameMask]:
    """Select the frames of a summary: at most `FRACTION` of the frames, or one frame.

    The video is divided into shots at changes of the features. Long shots are divided
    further, so that at least three shots fit into a summary of three frames or more.

    Args:
        scores: scores of the frames, above 0, without padding.
        features: features of the frames.

    Returns:
        (the first frame of every shot but the first, True for frames of the summary).
        The boundaries are those of all shots, also of shots that are left out.
    """
    frames = len(scores)
    fraction = kept_fraction(frames)
    changes = shots.change_points(features, most=frames // 5)
    longest = max(_capacity(frames, fraction) // 3, 1)
    boundaries = shots.divide_long_shots(changes, frames, longest)
    return boundaries, select(scores, boundaries, fraction)


def kept_fraction(frames: int) -> float:
    """Return the largest fraction of a video in a summary: `FRACTION`, at least 1 / frames."""
    return max(FRACTION, 1 / frames)


def knapsack(
    values: Float[np.ndarray, 'n'], lengths: Int[np.ndarray, 'n'], capacity: int
) -> Bool[np.ndarray, 'n']:
    """Solve the knapsack problem exactly, by dynamic programming.

    Args:
        values: values of the items; items with a value of at most 0 are left out.
        lengths: lengths of the items, at least 1.
        capacity: largest sum of lengths.

    Returns:
        True for the items with the greatest total value. Between equally good sets, the set
        without the later item is chosen.

    Raises:
        ValueError: A length is below 1.
    """
    if (lengths < 1).any():
        raise ValueError(f'lengths: expected at least 1, got {lengths.min()}')
    # best[c]: the greatest total value of the items so far, with capacity c.
    best = np.zeros(capacity + 1)
    is_taken = np.zeros((len(values), capacity + 1), bool)
    for item, (value, length) in enumerate(zip(values, lengths, strict=True)):
        without_item = best[length:]
        with_item = best[: len(without_item)] + value
        is_taken[item, length:] = with_item > without_item
        best[length:] = np.maximum(without_item, with_item)
    chosen = np.zeros(len(values), bool)
    remaining = capacity
    for item in reversed(range(len(values))):
        chosen[item] = is_taken[item, remaining]
        remaining -= int(lengths[item]) * chosen[item]
    return chosen


def select(
    scores: FrameScores,
    boundaries: Boundaries,
    fraction: float = FRACTION,
) -> FrameMask:
    """Select the shots of a summary by the knapsack problem (Zhou et al. 2018, arXiv 1801.00054).

    Args:
        scores: scores of the frames; the value of a shot is the mean of its scores. A shot
            without a mean above 0 is never selected.
        boundaries: the first frame of every shot but the first, in ascending order.
        fraction: largest fraction of the frames in the summary.

    Returns:
        True for frames of the summary, which are whole shots. All are False if no shot fits.
    """
    lengths = _lengths(len(scores), boundaries)
    values = np.add.reduceat(scores, np.append(0, boundaries)) / lengths
    chosen = knapsack(values, lengths, _capacity(len(scores), fraction))
    return np.repeat(chosen, lengths)


def f_score(selected: FrameMask, annotated: FrameMask) -> float:
    """Compute the F-score of the frames that a summary shares with the summary of an annotator.

    It is 2 |common frames| / (|selected| + |annotated|), in [0, 1], and 0 if both are empty.

    The F-score is a weak measure (Otani et al. 2019). It depends much on how shots are
    divided, and random summaries can reach the score of an annotator. The correlations of
    `metrics.ranking` measure the scores directly.
    """
    common = (selected & annotated).sum()
    total = selected.sum() + annotated.sum()
    return float(2 * common / max(total, 1))


def key_frames(
    scores: FrameScores,
    boundaries: Boundaries,
    selected: FrameMask,
) -> PerSegment:
    """Find the frame with the highest score in each selected shot.

    Args:
        scores: scores of the frames.
        boundaries: the first frame of every shot but the first.
        selected: True for frames of the summary, which must be whole shots.

    Returns:
        The numbers of these frames, in order of time. The first one wins a tie.
    """
    starts = np.append(0, boundaries)
    lengths = _lengths(len(scores), boundaries)
    best = [
        start + np.argmax(scores[start : start + length])
        for start, length in zip(starts, lengths, strict=True)
        if selected[start]
    ]
    return np.array(best, np.int64)


def kept_lengths(selected: FrameMask, boundaries: Boundaries) -> PerSegment:
    """Count the frames in each selected shot, in order of time.

    Args:
        selected: True for frames of the summary, which must be whole shots.
        boundaries: the first frame of every shot but the first.
    """
    lengths = _lengths(len(selected), boundaries)
    return lengths[selected[np.append(0, boundaries)]]


def find_segments(selected: FrameMask) -> Int[np.ndarray, 'k 2']:
    """Find each series of consecutive selected frames.

    Returns:
        A row (first frame, first frame after it) for each series, in order of time.
    """
    changes = np.diff(selected.astype(int), prepend=0, append=0)
    return np.flatnonzero(changes).reshape(-1, 2)


def uniform_summary(lengths: PerSegment, frames: int) -> Bool[np.ndarray, '{frames}']:
    """Build the uniform summary: segments of equal length, evenly spaced in a video.

    Before the first and after the last segment is half of the gap between two. Lengths
    and gaps are rounded to frames.

    Args:
        lengths: lengths of the segments of another summary. The uniform summary has as many
            segments and as many frames in all.
        frames: number of frames of the video.

    Returns:
        True for frames of the summary.
    """
    segments = len(lengths)
    divisor = max(segments, 1)
    kept = lengths.sum()
    equal_lengths = np.diff(np.arange(segments + 1) * kept // divisor)
    skipped = (np.arange(segments) + 0.5) / divisor * (frames - kept)
    return _placed(skipped.astype(int), equal_lengths, frames)


def random_summary(
    rng: np.random.Generator, lengths: PerSegment, frames: int
) -> Bool[np.ndarray, '{frames}']:
    """Generate a random summary: segments in random order at random places of a video.

    Args:
        rng: random generator.
        lengths: lengths of the segments. At least as many frames as segments, less one,
            must be left over, because segments do not touch. Otherwise ValueError.
        frames: number of frames of the video.

    Returns:
        True for frames of the summary.
    """
    lengths = rng.permutation(lengths)
    skipped = frames - lengths.sum()
    # The places differ, so no two segments touch.
    before = np.sort(rng.choice(skipped + 1, len(lengths), replace=False))
    return _placed(before, lengths, frames)


def _placed(before: PerSegment, lengths: PerSegment, frames: int) -> FrameMask:
    """Place segments; `before` counts the skipped frames before each segment."""
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
