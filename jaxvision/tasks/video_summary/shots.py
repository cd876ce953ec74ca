"""Where a video's shots change, from the features of its frames."""

import numpy as np
from jaxtyping import Float, Int


def change_points(
    features: Float[np.ndarray, 't d'], most: int, penalty: float = 0.5
) -> Int[np.ndarray, 'm']:
    """The first frame of every shot but the first (KTS, Potapov et al. 2014, section 4).

    Exact: over all m <= `most` and all places of m changes it minimises the scatter within the
    shots plus C m (log(t / m) + 1), with C the `penalty` (the authors' program has half its
    `vmax`) and the linear kernel on features of length 1. Takes 8 t^2 bytes for each of a few
    matrices and most * t^2 operations: of a long video give every n-th frame.
    """
    frames = len(features)
    scatter = _scatter(features)
    cost, previous = scatter[0], []  # cost[j]: the least scatter of frames 0 to j - 1
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
    """The boundaries of the same shots, of which those of more than `longest` frames are divided
    into as few equal parts as can be."""
    edges = [0, *boundaries, frames]
    starts = [
        start + np.arange(parts) * (end - start) // parts
        for start, end in zip(edges, edges[1:])
        for parts in [-(-(end - start) // longest)]
    ]
    return np.concatenate(starts)[1:]


def _scatter(features: Float[np.ndarray, 't d']) -> Float[np.ndarray, 'n n']:
    """[i, j]: sum over frames i to j - 1 of |x - mean|^2; infinite for no frames. n = t + 1."""
    scaled = features.astype(np.float64)
    scaled /= np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)
    kernel = scaled @ scaled.T
    # Sums over rectangles of the kernel from the corners of its integral.
    integral = np.zeros((len(kernel) + 1,) * 2)
    integral[1:, 1:] = kernel.cumsum(0).cumsum(1)
    corner, own = np.diag(integral), np.append(0, np.diag(kernel).cumsum())
    length = np.subtract.outer(np.arange(len(own)), np.arange(len(own))).T
    within = corner[None, :] + corner[:, None] - integral - integral.T
    spread = own[None, :] - own[:, None] - within / np.maximum(length, 1)
    # What rounding leaves of a still shot's scatter must not tell its splits apart.
    return np.where(length > 0, np.maximum(np.round(spread, 9), 0), np.inf)


def _back_from(
    frames: int, previous: list[Int[np.ndarray, 'n']]
) -> Int[np.ndarray, 'm']:
    changes, end = [], frames
    for starts in reversed(previous):
        end = starts[end]
        changes.append(end)
    return np.array(changes[::-1], np.int64)
