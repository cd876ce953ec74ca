"""Calibration against scikit-learn, scipy, closed forms and simulated models."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from jaxvision.metrics import calibration as metrics


def drawn(seed=0, count=2000, classes=5, temperature=1.0):
    """Logits, and labels drawn from their softmax at a temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3, size=(count, classes)).astype(np.float32)
    probabilities = special.softmax(logits / temperature, axis=1)
    cumulative = probabilities.cumsum(axis=1)
    labels = (rng.random((count, 1)) > cumulative[:, :-1]).sum(axis=1)
    return logits, labels


def predictions(logits, labels, temperature=1.0):
    probabilities = metrics.softmax(logits, temperature)
    return probabilities.max(axis=1), logits.argmax(axis=1) == labels


def test_proper_scores_are_those_of_scikit_learn():
    logits, labels = drawn()
    classes = np.arange(5)
    probabilities = special.softmax(logits.astype(np.float64) / 1.7, axis=1)
    got = metrics.negative_log_likelihood(logits, labels, 1.7)
    assert got == pytest.approx(log_loss(labels, probabilities, labels=classes), 1e-12)
    got = metrics.brier_score(metrics.softmax(logits, 1.7), labels)
    expected = brier_score_loss(
        labels, probabilities, labels=classes, scale_by_half=False
    )
    assert got == pytest.approx(expected, 1e-12)


def test_a_certain_mistake_has_a_finite_likelihood():
    logits = np.array([[1000.0, 0.0]])
    labels = np.array([1])
    assert metrics.negative_log_likelihood(logits, labels) == 1000
    assert metrics.brier_score(metrics.softmax(logits), labels) == 2


@pytest.mark.parametrize(
    ('binning', 'strategy'), [('width', 'uniform'), ('mass', 'quantile')]
)
def test_bins_are_those_of_scikit_learn(binning, strategy):
    confidence, correct = predictions(*drawn(temperature=2))
    bins = metrics.reliability(confidence, correct, 12, binning)
    accuracy, mean_confidence = calibration_curve(
        correct, confidence, n_bins=12, strategy=strategy
    )
    np.testing.assert_allclose(bins.accuracy, accuracy, rtol=1e-12)
    np.testing.assert_allclose(bins.confidence, mean_confidence, rtol=1e-12)
    assert bins.counts.sum() == len(correct)
    gaps = np.abs(bins.accuracy - bins.confidence)
    expected = (bins.counts * gaps).sum() / len(correct)
    got = metrics.calibration_error(confidence, correct, 12, binning)
    assert got == pytest.approx(expected, 1e-12)


def test_bins_of_equal_mass_have_equal_counts_and_keep_ties_together():
    confidence, correct = predictions(*drawn(count=1200))
    assert set(metrics.reliability(confidence, correct, 12, 'mass').counts) == {100}
    tied = np.repeat([0.5, 0.9], [30, 10])
    counts = metrics.reliability(tied, tied > 0.7, 4, 'mass').counts
    assert counts.tolist() == [30, 10]


def test_calibration_error_of_four_examples():
    # (0.9333, 1]: 2 of 2 right at 0.95; (0.6, 0.6667]: 0 of 1 right at 0.65; 1 of 1 at 0.2.
    confidence, correct = (
        np.array([0.95, 0.95, 0.65, 0.2]),
        np.array([True, True, False, True]),
    )
    expected = 2 / 4 * 0.05 + 1 / 4 * 0.65 + 1 / 4 * 0.8
    assert metrics.calibration_error(confidence, correct) == pytest.approx(expected)


def test_calibration_bins_are_closed_on_the_right():
    # 0.5 belongs to (0, 0.5]: in one bin with 0.6 the two gaps would cancel in part.
    got = metrics.calibration_error(
        np.array([0.5, 0.6]), np.array([True, False]), bins=2
    )
    assert got == pytest.approx((0.5 + 0.6) / 2)


def test_a_perfect_model_is_inside_its_null_and_others_are_not():
    """The p-values of perfect models are uniform, by a test of level 1e-6."""
    places = []
    for seed in range(60):
        confidence, correct = predictions(*drawn(seed, 400))
        null = metrics.null_calibration_errors(
            confidence, np.random.default_rng(seed), 99
        )
        error = metrics.calibration_error(confidence, correct)
        places.append((1 + (null >= error).sum()) / 100)
    assert stats.kstest(places, 'uniform').pvalue > 1e-6
    confidence, correct = predictions(*drawn(0, 2000, temperature=2))
    null = metrics.null_calibration_errors(confidence, np.random.default_rng(0), 200)
    assert metrics.calibration_error(confidence, correct) > null.max()
    assert null.min() > 0


@pytest.mark.parametrize('binning', ['width', 'mass'])
def test_the_null_of_one_bin_is_a_poisson_binomial(binning):
    """One bin: |sum of (correct - p)| / N. Its mean over 3 examples is enumerated."""
    confidence = np.array([0.6, 0.7, 0.9])
    total = 0.0
    for outcome in np.ndindex(2, 2, 2):
        chance = np.prod(np.where(outcome, confidence, 1 - confidence))
        total += chance * abs(sum(outcome) - confidence.sum()) / 3
    draws = 20_000
    null = metrics.null_calibration_errors(
        confidence, np.random.default_rng(1), draws, 1, binning
    )
    # 4.9 standard errors are a level of 1e-6.
    assert abs(null.mean() - total) < 4.9 * null.std() / draws**0.5


def test_the_null_is_a_function_of_its_generator():
    confidence = np.linspace(0.3, 1, 50)
    first, second = (
        metrics.null_calibration_errors(confidence, np.random.default_rng(7), 5)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_temperature_is_the_minimum_that_scipy_finds():
    logits, labels = drawn(temperature=2.5)
    temperature = metrics.fit_temperature(logits, labels)

    def loss(log_temperature):
        return log_loss(
            labels, special.softmax(logits / np.exp(log_temperature), axis=1)
        )

    found = optimize.minimize_scalar(
        loss, bounds=(-3, 3), method='bounded', options={'xatol': 1e-9}
    )
    # A minimum is flat: half of the digits of the loss.
    assert np.log(temperature) == pytest.approx(found.x, abs=1e-5)


@pytest.mark.parametrize('truth', [0.4, 1.0, 3.0])
def test_temperature_of_labels_drawn_at_a_temperature(truth):
    """Within 4.9 standard errors (a level of 1e-6) from the Fisher information."""
    logits, labels = drawn(3, 4000, temperature=truth)
    inverse = 1 / metrics.fit_temperature(logits, labels)
    p = special.softmax(logits / truth, axis=1)
    information = (p * logits**2).sum(1) - (p * logits).sum(1) ** 2
    assert abs(inverse - 1 / truth) < 4.9 / information.sum() ** 0.5


def test_temperature_of_two_classes_has_a_closed_form():
    """Margins of +-m, of which the fraction r is correct: T = m / log(r / (1 - r))."""
    margin = 3.0
    logits = np.tile([[margin, 0.0]], (10, 1))
    labels = np.array([0] * 8 + [1] * 2)
    expected = margin / np.log(0.8 / 0.2)
    assert metrics.fit_temperature(logits, labels) == pytest.approx(expected, 1e-9)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 20), st.integers(0, 5))
def test_temperature_scales_with_the_logits(scale, seed):
    logits, labels = drawn(seed, 100)
    logits = logits.astype(np.float64)
    once = metrics.fit_temperature(logits, labels)
    assert metrics.fit_temperature(scale * logits, labels) == pytest.approx(
        scale * once, 1e-6
    )


def test_no_temperature_fits_a_classifier_without_mistakes_or_knowledge():
    logits = np.array([[2.0, 0.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match='a wrong prediction'):
        metrics.fit_temperature(logits, np.array([0, 1]))
    with pytest.raises(ValueError, match='no better than chance'):
        metrics.fit_temperature(logits, np.array([1, 0]))
