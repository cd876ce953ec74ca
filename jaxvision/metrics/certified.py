"""Certified radii of a smoothed classifier, from the classes that it counts under Gaussian noise.

The smoothed classifier predicts the class that the classifier predicts most often for an image with
noise N(0, sigma^2). Cohen et al. 2019, 'Certified Adversarial Robustness via Randomized Smoothing',
prove a radius in the L2 norm within which this prediction does not change.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

# How many noisy images of each example were predicted as each class.
Counts = Int[np.ndarray, 'n k']
PerExample = Float[np.ndarray, 'n']
# A class, or `ABSTAIN`.
Classes = Int[np.ndarray, 'n']

ABSTAIN = -1


class Certificates(NamedTuple):
    """Certificates of N examples.

    Attributes:
        classes: the class of the smoothed classifier, or `ABSTAIN`.
        lower: lower bound of the probability of the class under noise.
        radius: the certified radius in the L2 norm, in pixels of [0, 1]; 0 where the
            classifier abstains.
    """

    classes: Classes
    lower: PerExample
    radius: PerExample


def lower_bound(
    successes: Int[np.ndarray, '*shape'],
    trials: Int[np.ndarray, '*shape'] | int,
    alpha: float,
) -> Float[np.ndarray, '*shape']:
    """One-sided lower confidence bound of a probability (Clopper & Pearson 1934).

    Args:
        successes: the number of successes, from 0 to `trials`.
        trials: the number of independent trials.
        alpha: the largest probability that the bound exceeds the true value, in (0, 1).

    Returns:
        Bounds in [0, 1); 0 without a success.
    """
    from scipy import stats

    successes = np.asarray(successes)
    failures = trials - successes
    bounds = stats.beta.ppf(alpha, np.maximum(successes, 1), failures + 1)
    return np.where(successes > 0, bounds, 0.0)


def radius(
    lower: Float[np.ndarray, '*shape'], sigma: float
) -> Shaped[np.ndarray, '*shape']:
    """The radius sigma * Phi^-1(p) (Cohen et al. 2019, theorem 1), where p bounds p_A alone.

    Args:
        lower: lower bounds p of the probability of the class, in [0, 1).
        sigma: std of the noise.

    Returns:
        Radii >= 0; 0 for p <= 1/2.
    """
    from scipy import special

    return sigma * special.ndtri(np.maximum(lower, 0.5))


def certify(
    selection: Counts,
    bounding: Counts,
    trials: int,
    *,
    sigma: float,
    alpha: float,
) -> Certificates:
    """Certify the class of each example (CERTIFY of Cohen et al. 2019).

    Args:
        selection: counts of the noisy images that choose the class.
        bounding: counts of other, independent noisy images, which bound its probability.
        trials: number of noisy images of an example in `bounding`. An image whose logits are
            no numbers has no class, so that the counts may have a smaller sum.
        sigma: std of the noise, in pixels of [0, 1].
        alpha: the largest probability of a wrong certificate, for each example.

    Returns:
        The certificates. The classifier abstains where the bound is not above 1/2.
    """
    candidates = selection.argmax(-1)
    successes = np.take_along_axis(bounding, candidates[:, None], -1)[:, 0]
    lower = lower_bound(successes, trials, alpha)
    is_certified = lower > 0.5
    return Certificates(
        classes=np.where(is_certified, candidates, ABSTAIN),
        lower=lower,
        radius=radius(lower, sigma),
    )


def predict(counts: Counts, alpha: float) -> Classes:
    """Predict the class of the smoothed classifier (PREDICT of Cohen et al. 2019).

    The classifier abstains unless a two-sided binomial test refutes that the two most frequent
    classes are equally likely.

    Args:
        counts: counts of noisy images.
        alpha: the largest probability of a class that is not the most likely one.

    Returns:
        Classes, or `ABSTAIN`.
    """
    from scipy import stats

    first, second = np.sort(counts, -1)[:, :-3:-1].T
    predicted = counts.argmax(-1)
    # The test of Hung & Fithian 2019: both tails of the binomial distribution are equal at 1/2.
    tail = stats.binom.sf(first - 1, first + second, 0.5)
    return np.where(2 * tail <= alpha, predicted, ABSTAIN)


def accuracy(
    radii: PerExample, is_right: Bool[np.ndarray, 'n'], at: Float[np.ndarray, 'r']
) -> Float[np.ndarray, 'r']:
    """Certified accuracy: the fraction of examples that are right within each radius.

    Args:
        radii: certified radii.
        is_right: whether the certified class is the label; False where the classifier
            abstains.
        at: radii >= 0.

    Returns:
        Fractions of all examples, one for each radius of `at`.
    """
    is_certified = is_right & (radii >= at[:, None])
    return is_certified.mean(-1)


def average_radius(radii: PerExample, is_right: Bool[np.ndarray, 'n']) -> float:
    """Mean certified radius over all examples, 0 for wrong ones (ACR, Zhai et al. 2020)."""
    return float(np.where(is_right, radii, 0.0).mean())
