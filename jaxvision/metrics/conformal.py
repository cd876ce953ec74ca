"""Conformal sets of classes: sets that contain the true class with a chosen probability.

A score says how untypical a class is for an image. A set has all classes whose score is at most a
threshold, which is fitted on examples that trained nothing (split conformal prediction). If these
examples and a new one are exchangeable, the set of the new one contains its class with a
probability of at least 1 - alpha, whatever the classifier.
"""

import math
from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

Probabilities = Float[np.ndarray, 'n k']
Scores = Float[np.ndarray, 'n k']
Sets = Bool[np.ndarray, 'n k']
Labels = Integer[np.ndarray, 'n']

# Regularisation of RAPS: the penalty of each rank after the first `FREE_RANKS`.
PENALTY = 0.01
FREE_RANKS = 5


def lac_scores(probabilities: Probabilities) -> Scores:
    """Score each class by 1 - its probability (least ambiguous classes, Sadinle et al. 2019)."""
    return 1 - probabilities.astype(np.float64)


def aps_scores(probabilities: Probabilities, uniform: Float[np.ndarray, 'n']) -> Scores:
    """Score each class by the probability of all likelier ones (APS, Romano et al. 2020).

    A random part of its own probability is added, so that the coverage is exact. Equal
    probabilities are ranked by class index.

    Args:
        probabilities: [N, K].
        uniform: one random number in [0, 1] for each example, [N].

    Returns:
        Scores in [0, 1], [N, K].
    """
    probabilities = probabilities.astype(np.float64)
    order = np.argsort(-probabilities, axis=1, kind='stable')
    falling = np.take_along_axis(probabilities, order, axis=1)
    likelier = np.cumsum(falling, axis=1) - falling
    ranked = likelier + uniform[:, None] * falling
    scores = np.empty_like(ranked)
    np.put_along_axis(scores, order, ranked, axis=1)
    return scores


def raps_scores(
    probabilities: Probabilities,
    uniform: Float[np.ndarray, 'n'],
    penalty: float = PENALTY,
    free_ranks: int = FREE_RANKS,
) -> Scores:
    """Score each class as APS does, with a penalty on its rank (RAPS, Angelopoulos et al. 2021).

    Args:
        probabilities: [N, K].
        uniform: one random number in [0, 1] for each example, [N].
        penalty: added for each rank after the first `free_ranks`.
        free_ranks: number of ranks without penalty.

    Returns:
        Scores of at least 0, [N, K].
    """
    scores = aps_scores(probabilities, uniform)
    order = np.argsort(-probabilities.astype(np.float64), axis=1, kind='stable')
    ranks = np.argsort(order, axis=1, kind='stable') + 1
    return scores + penalty * np.maximum(ranks - free_ranks, 0)


def threshold(true_scores: Float[np.ndarray, 'n'], alpha: float) -> float:
    """Compute the threshold of split conformal prediction (Vovk et al. 2005).

    It is the k-th smallest score, k = N + 1 - floor(alpha (N + 1)). The product is exact
    for the decimal digits of alpha.

    Args:
        true_scores: the scores of the true classes of N examples.
        alpha: the accepted probability of a set without the true class, in (0, 1).

    Returns:
        The threshold. It is infinite if N is too small for alpha, so that each set has
        every class.
    """
    misses = allowed_misses(len(true_scores), alpha)
    if not misses:
        return math.inf
    place = len(true_scores) - misses
    return float(np.partition(true_scores, place)[place])


def allowed_misses(count: int, alpha: float) -> int:
    """Compute floor(alpha (count + 1)), the rank of the threshold from the largest score."""
    return math.floor(Fraction(repr(float(alpha))) * (count + 1))


def scores_of(scores: Scores, labels: Labels) -> Float[np.ndarray, 'n']:
    """Select the score of the true class of each example."""
    return scores[np.arange(len(labels)), labels]


def sets(scores: Scores, limit: float) -> Sets:
    """Select the classes whose score is at most a threshold. A set may be empty."""
    return scores <= limit


def coverage(included: Sets, labels: Labels) -> float:
    """Compute the fraction of sets with the true class."""
    return float(included[np.arange(len(labels)), labels].mean())


def sizes(included: Sets) -> Int[np.ndarray, 'n']:
    """Count the classes of each set."""
    return included.sum(axis=1)


def coverage_band(
    fitted: int, measured: int, alpha: float, level: float
) -> tuple[float, float]:
    """Compute the band of coverages that exchangeable examples allow.

    The coverage of a threshold is distributed as Beta(N + 1 - l, l) with l = floor(alpha
    (N + 1)), and the number of covered examples as the beta-binomial distribution. Both
    are exact for scores without ties. Ties can only increase the coverage. See
    Angelopoulos & Bates (2023), section 3.2.

    Args:
        fitted: number N of examples of the threshold.
        measured: number of examples on which the coverage is measured.
        alpha: the accepted probability of a set without the true class, in (0, 1).
        level: the probability of a coverage outside the band, half of it on each side.

    Returns:
        The (smallest, largest) coverage of the band. Both are 1 if N is too small for
        alpha.
    """
    from scipy.stats import betabinom

    misses = allowed_misses(fitted, alpha)
    if not misses:
        return 1.0, 1.0
    covered = betabinom(measured, fitted + 1 - misses, misses)
    low = covered.ppf(level / 2)
    high = covered.isf(level / 2)
    return float(low / measured), float(high / measured)
