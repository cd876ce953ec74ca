"""Shapley values of parts of an image, by KernelSHAP."""

import itertools

import numpy as np
from jaxtyping import Bool, Float

from jaxvision.attribution import perturbation
from jaxvision.attribution.types import HostImage, HostScore, Segments
from jaxvision.image.types import Size

# Which parts of an image are kept, in each of some coalitions.
Coalitions = Bool[np.ndarray, 'n k']
Values = Float[np.ndarray, 'k']


def grid_segments(size: Size, rows: int, columns: int) -> Segments:
    """Divide an image into a grid of nearly equal rectangles, numbered row by row.

    Args:
        size: (height, width) of the image, pixels.
        rows: of the grid, at most the height.
        columns: of the grid, at most the width.
    """
    height, width = size
    row = np.arange(height) * rows // height
    column = np.arange(width) * columns // width
    return row[:, None] * columns + column


def kernel_shap(
    score: HostScore,
    image: HostImage,
    baseline: HostImage,
    segments: Segments,
    rng: np.random.Generator,
    *,
    samples: int = 2048,
    batch: int = 32,
) -> Values:
    """Estimate the Shapley value of each part of an image.

    Lundberg and Lee, "A Unified Approach to Interpreting Model Predictions", 2017. Coalitions are
    sampled by the Shapley kernel, each together with its complement (Covert and Lee 2020). If there
    are no more coalitions than `samples`, all of them are scored, and the values are exact. In
    both cases the values sum to score(image) - score(baseline).

    Args:
        score: `(images [N, H, W, C]) -> scores [N]`.
        image: in [0, 1].
        baseline: the image that parts show instead.
        segments: the part of each pixel, from 0 to K - 1 with K > 1.
        rng: of this image alone.
        samples: number of scored coalitions.
        batch: images that `score` gets at once.

    Returns:
        The values [K]. `values[segments]` is a map.
    """
    number = int(segments.max()) + 1
    if 2**number - 2 <= samples:
        coalitions, weights = _all_coalitions(number)
    else:
        coalitions, weights = _sample_coalitions(rng, number, samples // 2)
    whole, blank = perturbation.score_in_batches(score, [image, baseline], batch)

    def kept():
        for coalition in coalitions:
            yield coalition[segments][None].astype(np.float32)

    parts = perturbation.masked_scores(score, image, baseline, kept(), batch)
    scores = np.concatenate([part for part, _ in parts])
    return _solve(coalitions, weights, scores - blank, whole - blank)


def _all_coalitions(number: int) -> tuple[Coalitions, Float[np.ndarray, 'n']]:
    """All coalitions but the empty and the full one, and their weights in the kernel."""
    every = itertools.product((False, True), repeat=number)
    coalitions = np.array(list(every))[1:-1]
    sizes = coalitions.sum(axis=1)
    # The binomial coefficients of Pascal's row.
    row = np.ones(1)
    for _ in range(number):
        row = np.convolve(row, [1.0, 1.0])
    pairs = sizes * (number - sizes)
    weights = (number - 1) / (row[sizes] * pairs)
    return coalitions, weights


def _sample_coalitions(
    rng: np.random.Generator, number: int, pairs: int
) -> tuple[Coalitions, Float[np.ndarray, 'n']]:
    """Pairs of a coalition, sampled by the kernel, and its complement; weights of 1."""
    sizes = np.arange(1, number)
    kernel = 1.0 / (sizes * (number - sizes))
    probabilities = kernel / kernel.sum()
    chosen = rng.choice(sizes, size=pairs, p=probabilities)
    order = rng.random((pairs, number)).argsort(axis=1)
    places = order.argsort(axis=1)
    coalitions = places < chosen[:, None]
    both = np.stack([coalitions, ~coalitions], axis=1)
    both = both.reshape(-1, number)
    return both, np.ones(len(both))


def _solve(
    coalitions: Coalitions,
    weights: Float[np.ndarray, 'n'],
    gains: Float[np.ndarray, 'n'],
    total: float,
) -> Values:
    """Weighted least squares of the gains by values that sum to `total`.

    Args:
        coalitions: which parts are kept.
        weights: of the coalitions.
        gains: their score, less that of the baseline.
        total: gain of the whole image.
    """
    last = coalitions[:, -1].astype(np.float64)
    columns = coalitions[:, :-1] - last[:, None]
    root = np.sqrt(weights)
    weighted_columns = columns * root[:, None]
    weighted_gains = (gains - last * total) * root
    solution, *_ = np.linalg.lstsq(weighted_columns, weighted_gains, rcond=None)
    value_of_last = total - solution.sum()
    return np.append(solution, value_of_last)
