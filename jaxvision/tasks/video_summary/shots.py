"""Shot boundaries of a video, detected from the features of its frames."""

import itertools

import numpy as np
from jaxtyping import Float, Int

# The first frame of each shot but the first.
Boundaries = Int[np.ndarray, 'm']


def change_points(
    features: Float[np.ndarray, 't d'], most: int, penalty: float = 0.5
) -> Boundaries:
    """Detect shot boundaries by kernel temporal segmentation (Potapov et al. 2014).

    The minimum is exact. The objective is the scatter within the shots plus the penalty
    C m (log(t / m) + 1), for m boundaries and t frames. The kernel is linear, on features that
    are first scaled to norm 1. A few matrices take 8 t^2 bytes each, and there are most * t^2
    operations. For a long video pass every n-th frame.

    Args:
        features: features of the frames, of any norm.
        most: largest number of boundaries.
        penalty: the factor C, half of `vmax` in the program of the authors.

    Returns:
        The first frame of every shot except the first shot, in ascending order. It may be empty.
    """
    frames = len(features)
    scatter = _scatter(features)
    # cost[j]: the least scatter of frames 0 to j - 1
    cost = scatter[0]
    previous = []
    totals = [cost[frames]]
    for changes in range(1, min(most, frames - 1) + 1):
        through = cost[:, None] + scatter
        previous.append(through.argmin(axis=0))
        cost = through.min(axis=0)
        change_cost = penalty * changes * (np.log(frames / changes) + 1)
        totals.append(cost[frames] + change_cost)
    best = int(np.argmin(totals))
    return _back_from(frames, previous[:best])


def divide_long_shots(
    boundaries: Boundaries, frames: int, longest: int
) -> Int[np.ndarray, 'n']:
    """Divide long shots into as few equal parts as possible.

    Args:
        boundaries: the first frame of every shot but the first, in ascending order.
        frames: number of frames of the video.
        longest: largest number of frames in a part, at least 1.

    Returns:
        The old and new boundaries in ascending order: the first frame of every part but the
        first.
    """
    edges = [0, *boundaries.tolist(), frames]
    starts = [
        _part_starts(start, end, longest) for start, end in itertools.pairwise(edges)
    ]
    return np.concatenate(starts)[1:]


def _part_starts(start: int, end: int, longest: int) -> Int[np.ndarray, 'p']:
    parts = -(-(end - start) // longest)
    return start + np.arange(parts) * (end - start) // parts


def _scatter(features: Float[np.ndarray, 't d']) -> Float[np.ndarray, 'n n']:
    """Compute the scatter of all segments, with n = t + 1.

    Element [i, j] is the sum of |x - mean|^2 over frames i to j - 1, infinite if j <= i.
    """
    scaled = features.astype(np.float64)
    scaled /= np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)
    kernel = scaled @ scaled.T
    # The integral of the kernel gives sums over its rectangles.
    integral = np.zeros((len(kernel) + 1,) * 2)
    integral[1:, 1:] = kernel.cumsum(0).cumsum(1)
    corner = np.diag(integral)
    squares = np.append(0, np.diag(kernel).cumsum())
    place = np.arange(len(squares))
    length = place[None, :] - place[:, None]
    within = corner[None, :] + corner[:, None] - integral - integral.T
    mean_term = within / np.maximum(length, 1)
    scatter = squares[None, :] - squares[:, None] - mean_term
    # Rounding errors in a still shot must not decide where it is divided.
    scatter = np.maximum(np.round(scatter, 9), 0)
    return np.where(length > 0, scatter, np.inf)


def _back_from(frames: int, previous: list[Int[np.ndarray, 'n']]) -> Boundaries:
    """Trace the boundaries of the best segmentation back from the end."""
    changes = []
    end = frames
    for starts in reversed(previous):
        end = starts[end]
        changes.append(end)
    return np.array(changes[::-1], np.int64)
