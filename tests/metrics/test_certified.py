"""Certificates: exact coverage of the bound, linear classifiers, abstention, the curve."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxvision.metrics import certified
from jaxvision.metrics.certified import ABSTAIN


@pytest.mark.parametrize(
    ('successes', 'trials', 'expected'),
    [(990, 1000, 1.97801), (100_000, 100_000, 3.81146), (500, 1000, 0.0), (0, 9, 0.0)],
)
def test_a_radius_has_its_published_value(successes, trials, expected):
    lower = certified.lower_bound(np.array([successes]), trials, 0.001)
    assert certified.radius(lower, 1.0)[0] == pytest.approx(expected, abs=5e-6)
    assert certified.radius(lower, 0.25)[0] == pytest.approx(expected / 4, abs=5e-6)


@settings(deadline=None, max_examples=40)
@given(
    trials=st.integers(1, 400),
    fraction=st.floats(0, 1),
    alpha=st.sampled_from([0.5, 0.05, 0.001]),
)
def test_at_the_bound_so_many_successes_have_probability_alpha(trials, fraction, alpha):
    """Fault 13: the definition of the one-sided bound. A two-sided one gives alpha / 2."""
    successes = max(1, round(fraction * trials))
    bound = certified.lower_bound(np.array([successes]), trials, alpha)
    tail = stats.binom.sf(successes - 1, trials, bound)
    assert tail == pytest.approx(alpha, rel=1e-6)


def counts_of_every_outcome(trials):
    """Counts of two classes, [trials + 1, 2], with 0, 1, ... noisy images of class 1."""
    numbers = np.arange(trials + 1)
    return np.stack([trials - numbers, numbers], -1)


@pytest.mark.parametrize('margin', [-0.4, 0.05, 0.3, 0.9])
def test_a_linear_classifier_is_certified_beyond_its_margin_with_probability_alpha(
    margin,
):
    """Exact: the sum over all outcomes of the noisy images, weighed by their probabilities.

    A linear classifier with a distance of `margin` to its boundary predicts its class with
    probability Phi(margin / sigma) under noise. Its true radius is the margin.
    """
    trials, sigma, alpha = 600, 0.5, 0.01
    bounding = counts_of_every_outcome(trials)
    selection = np.tile([0, 100], (trials + 1, 1))
    certificates = certified.certify(
        selection, bounding, trials, sigma=sigma, alpha=alpha
    )
    probability = stats.norm.cdf(margin / sigma)
    weights = stats.binom.pmf(bounding[:, 1], trials, probability)
    is_certified = certificates.classes == 1
    is_wrong = is_certified & (certificates.radius > margin)
    assert weights[is_wrong].sum() <= alpha
    # With these numbers a radius of half the margin is likely.
    if margin > 0.1:
        is_useful = certificates.radius > margin / 2
        assert weights[is_useful].sum() > 0.98


@settings(deadline=None, max_examples=40)
@given(margin=st.floats(0.0, 1.0), sigma=st.floats(0.25, 2.0))
def test_smoothing_a_linear_classifier_gives_the_exact_margin(margin, sigma):
    probability = np.array([stats.norm.cdf(margin / sigma)])
    assert certified.radius(probability, sigma)[0] == pytest.approx(margin, abs=1e-9)


def test_the_class_is_chosen_by_other_samples_than_its_bound():
    """Fault 13: class 2 has more of the second samples, and the first ones chose class 0."""
    selection = np.array([[6, 4, 0], [6, 4, 0], [6, 4, 0]])
    bounding = np.array([[400, 0, 600], [900, 100, 0], [520, 480, 0]])
    certificates = certified.certify(selection, bounding, 1000, sigma=1.0, alpha=0.001)
    assert certificates.classes.tolist() == [ABSTAIN, 0, ABSTAIN]
    assert certificates.radius[0] == certificates.radius[2] == 0
    expected = stats.beta.ppf(0.001, 900, 101)
    assert certificates.lower[1] == pytest.approx(expected)
    # Noisy images without a class count as failures.
    certificates = certified.certify(
        selection[:1], np.array([[900, 0, 0]]), 1000, sigma=1.0, alpha=0.001
    )
    assert certificates.lower[0] == pytest.approx(expected)


@settings(deadline=None, max_examples=40)
@given(
    counts=st.lists(st.integers(0, 300), min_size=2, max_size=5),
    alpha=st.sampled_from([0.3, 0.01, 0.001]),
)
def test_a_prediction_needs_a_significant_majority(counts, alpha):
    (predicted,) = certified.predict(np.array([counts]), alpha)
    first, second = sorted(counts, reverse=True)[:2]
    if first + second == 0:
        assert predicted == ABSTAIN
        return
    value = stats.binomtest(first, first + second, 0.5).pvalue
    expected = int(np.argmax(counts)) if value <= alpha else ABSTAIN
    assert predicted == expected


def test_the_curve_counts_right_examples_within_their_radius():
    radii = np.array([0.0, 0.5, 1.0, 2.0, 0.0])
    is_right = np.array([True, True, False, True, False])
    at = np.array([0.0, 0.25, 0.5, 0.75, 2.0, 2.5])
    accuracies = certified.accuracy(radii, is_right, at)
    assert accuracies == pytest.approx([0.6, 0.4, 0.4, 0.2, 0.2, 0.0])
    # The mean radius is the area below the curve.
    assert certified.average_radius(radii, is_right) == pytest.approx(
        0.5 * 0.4 + 1.5 * 0.2
    )
