"""Changes of shots in a video, found from the features of its frames."""

import itertools

import numpy as np
from jaxtyping import Float, Int


def change_points(
    features: Float[np.ndarray, 't d'], most: int, penalty: float = 0.5
) -> Int[np.ndarray, 'm']:
    """Find the changes of shots: kernel temporal segmentation (Potapov et al. 2014).

    It is exact. Over all m <= `most` and all places of m changes it minimises the scatter
    within the shots plus C m (log(t / m) + 1), with the linear kernel on features of length
    1. A few matrices take 8 t^2 bytes each, and there are most * t^2 operations. For a long
    video give every n-th frame.

    Args:
        features: features of the frames.
        most: changes.
        penalty: C; the authors' program has half its `vmax`.

    Returns:
        The first frame of every shot but the first.
    """
    frames = len(features)
    scatter = _scatter(features)
    cost = scatter[0]  # cost[j]: the least scatter of frames 0 to j - 1
    previous = []
    totals = [cost[frames]]
    for changes in range(1, min(most, frames - 1) + 1):
        through = cost[:, None] + scatter
        previous.append(through.argmin(axis=0))
        cost = through.min(axis=0)
        totals.append(cost[frames] + penalty * changes * (np.log(frames / changes) + 1))
    best = int(np.argmin(totals))
    return _back_from(frames, previous[:best])


def divided(
    boundaries: Int[np.ndarray, 'm'], frames: int, longest: int
) -> Int[np.ndarray, 'n']:
    """Divide long shots into as few equal parts as possible.

    Args:
        boundaries: the first frame of every shot but the first.
        frames: number of frames of the video.
        longest: frames of a shot that is not divided, at most.

    Returns:
        The boundaries of the shots and parts.
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
    """[i, j]: the sum over frames i to j - 1 of |x - mean|^2; infinite for no frames.

    n is t + 1.
    """
    scaled = features.astype(np.float64)
    scaled /= np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)
    kernel = scaled @ scaled.T
    # Sums over rectangles of the kernel from the corners of its integral.
    integral = np.zeros((len(kernel) + 1,) * 2)
    integral[1:, 1:] = kernel.cumsum(0).cumsum(1)
    corner = np.diag(integral)
    squares = np.append(0, np.diag(kernel).cumsum())
    length = np.subtract.outer(np.arange(len(squares)), np.arange(len(squares))).T
    within = corner[None, :] + corner[:, None] - integral - integral.T
    spread = squares[None, :] - squares[:, None] - within / np.maximum(length, 1)
    # Rounding errors in a still shot must not decide where it is split.
    return np.where(length > 0, np.maximum(np.round(spread, 9), 0), np.inf)


def _back_from(
    frames: int, previous: list[Int[np.ndarray, 'n']]
) -> Int[np.ndarray, 'm']:
    """Trace the changes of the best segmentation back from the end."""
    changes = []
    end = frames
    for starts in reversed(previous):
        end = starts[end]
        changes.append(end)
    return np.array(changes[::-1], np.int64)
