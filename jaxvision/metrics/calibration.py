"""Calibration of a classifier: proper scores, calibration errors and temperature scaling.

All functions take all N examples of a split, as NumPy arrays.
"""

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

Labels = Integer[np.ndarray, 'n']
Logits = Float[np.ndarray, 'n k']
Probabilities = Float[np.ndarray, 'n k']
Confidence = Float[np.ndarray, 'n']
Correct = Bool[np.ndarray, 'n']
# Bins of equal width, or of equal numbers of examples.
Binning = Literal['width', 'mass']

BINS = 15
# Temperatures beyond these two leave no or all doubt to each example.
_COLDEST = 1e-3
_WARMEST = 1e3


def softmax(logits: Logits, temperature: float = 1.0) -> Float[np.ndarray, 'n k']:
    """Compute the probabilities softmax(logits / temperature) in float64."""
    return np.exp(_log_softmax(logits, temperature))


def negative_log_likelihood(
    logits: Logits, labels: Labels, temperature: float = 1.0
) -> float:
    """Compute the mean negative log-likelihood of the true classes, in nats.

    Args:
        logits: [N, K].
        labels: true classes, [N], from 0.
        temperature: the logits are divided by it; > 0.
    """
    log_probabilities = _log_softmax(logits, temperature)
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())


def brier_score(probabilities: Probabilities, labels: Labels) -> float:
    """Compute the mean squared distance of the probabilities from the true classes.

    The sum is over all classes, as in Brier (1950), so that the score is in [0, 2].
    """
    is_label = np.arange(probabilities.shape[1]) == labels[:, None]
    distances = np.square(probabilities.astype(np.float64) - is_label).sum(axis=1)
    return float(distances.mean())


def calibration_error(
    confidence: Confidence,
    correct: Correct,
    bins: int = BINS,
    binning: Binning = 'width',
) -> float:
    """Expected calibration error (Guo et al. 2017, equation 5).

    This is the mean of |accuracy - confidence| over bins, weighted by their numbers of
    examples. Bins of equal width are (0, 1/M], ..., ((M-1)/M, 1]. Bins of equal mass end at
    the quantiles of the confidence, so that equal confidences share a bin.

    Args:
        confidence: the probability of the predicted class, [N], in [0, 1].
        correct: True where the prediction is correct, [N].
        bins: the number of bins M.
        binning: 'width' or 'mass'.

    Returns:
        A number in [0, 1]; 0 is the best.
    """
    bin_index = _bin_index(confidence, bins, binning)
    # The size of a bin cancels: its term is the difference between two sums.
    differences = correct - confidence.astype(np.float64)
    gaps = np.bincount(bin_index, weights=differences)
    return float(np.abs(gaps).sum() / len(confidence))


def null_calibration_errors(
    confidence: Confidence,
    rng: np.random.Generator,
    draws: int = 1000,
    bins: int = BINS,
    binning: Binning = 'width',
) -> Float[np.ndarray, 'draws']:
    """Simulate the calibration errors of a perfectly calibrated model.

    The error of a perfect model is above 0, because the examples of a bin are few. Each
    draw makes every prediction correct with the probability of its confidence.

    Args:
        confidence: the probability of the predicted class, [N], in [0, 1].
        rng: the source of random numbers.
        draws: number of simulated splits.
        bins: the number of bins.
        binning: 'width' or 'mass'.

    Returns:
        The errors of the draws, in no order. See Vaicenavicius et al. (2019).
    """
    bin_index = _bin_index(confidence, bins, binning)
    confidence = confidence.astype(np.float64)
    errors = np.empty(draws)
    for draw in range(draws):
        differences = (rng.random(len(confidence)) < confidence) - confidence
        gaps = np.bincount(bin_index, weights=differences)
        errors[draw] = np.abs(gaps).sum() / len(confidence)
    return errors


@dataclasses.dataclass(frozen=True)
class Reliability:
    """Accuracy and confidence in bins of the confidence, without empty bins.

    Attributes:
        counts: number of examples of each bin.
        confidence: mean confidence of each bin.
        accuracy: fraction of correct predictions of each bin.
    """

    counts: Int[np.ndarray, 'm']
    confidence: Float[np.ndarray, 'm']
    accuracy: Float[np.ndarray, 'm']


def reliability(
    confidence: Confidence,
    correct: Correct,
    bins: int = BINS,
    binning: Binning = 'width',
) -> Reliability:
    """Compute the bins of a reliability diagram, as for `calibration_error`.

    Args:
        confidence: the probability of the predicted class, [N], in [0, 1].
        correct: True where the prediction is correct, [N].
        bins: the number of bins.
        binning: 'width' or 'mass'.
    """
    bin_index = _bin_index(confidence, bins, binning)
    counts = np.bincount(bin_index)
    filled = counts > 0
    sums = np.bincount(bin_index, weights=confidence.astype(np.float64))
    right = np.bincount(bin_index, weights=correct.astype(np.float64))
    counts = counts[filled]
    return Reliability(counts, sums[filled] / counts, right[filled] / counts)


def fit_temperature(logits: Logits, labels: Labels) -> float:
    """Fit the temperature that minimises the negative log-likelihood (Guo et al. 2017).

    The likelihood is concave in 1 / temperature, so its derivative has one root. Brent's
    method finds the root.

    Args:
        logits: [N, K], of examples that trained nothing.
        labels: true classes, [N], from 0.

    Returns:
        The temperature T. The calibrated probabilities are softmax(logits / T).

    Raises:
        ValueError: There is no best temperature in [0.001, 1000]. All predictions are
            correct, or the logits do not depend on the classes.
    """
    from scipy.optimize import brentq

    logits = logits.astype(np.float64)
    true_logits = logits[np.arange(len(labels)), labels]

    def slope(log_inverse: float) -> float:
        """Derivative of the negative log-likelihood by the inverse temperature."""
        temperature = float(np.exp(-log_inverse))
        expected = (softmax(logits, temperature) * logits).sum(axis=1)
        return float((expected - true_logits).mean())

    warmest, coldest = -np.log(_WARMEST), -np.log(_COLDEST)
    if slope(coldest) <= 0:
        raise ValueError(
            'temperature: expected a wrong prediction. A classifier without mistakes is '
            'never too confident.'
        )
    if slope(warmest) >= 0:
        raise ValueError(
            'temperature: expected logits that are larger for the true classes. These are '
            'no better than chance.'
        )
    root = brentq(slope, warmest, coldest, xtol=1e-12)
    return float(np.exp(-root))


def _log_softmax(logits: Logits, temperature: float) -> Float[np.ndarray, 'n k']:
    from scipy.special import log_softmax

    return log_softmax(logits.astype(np.float64) / temperature, axis=1)


def _bin_index(
    confidence: Confidence, bins: int, binning: Binning
) -> Int[np.ndarray, 'n']:
    """The number of the bin of each example. A bin contains its upper edge."""
    edges = np.linspace(0, 1, bins + 1)
    if binning == 'mass':
        edges = np.quantile(confidence, edges)
    return np.digitize(confidence, edges[1:-1], right=True)
