"""Conformal sets: scores by hand, the exact threshold, and coverage in its exact band."""

import numpy as np
import pytest
from scipy import special, stats

from jaxvision.metrics import conformal

P = np.array([[0.2, 0.5, 0.3]])


def test_scores_by_hand():
    np.testing.assert_allclose(conformal.lac_scores(P), [[0.8, 0.5, 0.7]])
    half = np.array([0.5])
    aps = [[0.8 + 0.1, 0.25, 0.5 + 0.15]]
    np.testing.assert_allclose(conformal.aps_scores(P, half), aps)
    raps = conformal.raps_scores(P, half, penalty=0.1, free_ranks=1)
    np.testing.assert_allclose(raps, np.add(aps, [[0.2, 0.0, 0.1]]))
    np.testing.assert_allclose(
        conformal.raps_scores(P, half, penalty=0.0, free_ranks=1), aps
    )


def test_ties_are_ranked_by_class_index():
    equal = np.full((1, 4), 0.25)
    scores = conformal.aps_scores(equal, np.zeros(1))
    np.testing.assert_allclose(scores, [[0, 0.25, 0.5, 0.75]])


@pytest.mark.parametrize(
    ('count', 'alpha', 'misses'),
    [(9, 0.1, 1), (8, 0.1, 0), (99, 0.29, 29), (99, 0.07, 7), (999, 0.001, 1)],
)
def test_threshold_is_the_exact_order_statistic(count, alpha, misses):
    """In floating point, 0.29 * 100 is below 29, and 0.07 * 100 above 7."""
    scores = np.random.default_rng(0).permutation(count) / count
    assert conformal.allowed_misses(count, alpha) == misses
    expected = np.sort(scores)[count - misses] if misses else np.inf
    assert conformal.threshold(scores, alpha) == expected


def test_sets_sizes_and_coverage():
    scores = np.array([[0.1, 0.4], [0.6, 0.7], [0.5, 0.9]])
    included = conformal.sets(scores, 0.5)
    assert included.tolist() == [[True, True], [False, False], [True, False]]
    assert conformal.sizes(included).tolist() == [2, 0, 1]
    assert conformal.coverage(included, np.array([1, 0, 1])) == pytest.approx(1 / 3)
    labels = np.array([0, 1, 1])
    np.testing.assert_array_equal(conformal.scores_of(scores, labels), [0.1, 0.7, 0.9])


def simulated(rng, count):
    """Probabilities of a wrong model, and labels of another distribution."""
    logits = rng.normal(size=(count, 4)) * 2
    truth = special.softmax(logits / 2, axis=1).cumsum(axis=1)
    labels = (rng.random((count, 1)) > truth[:, :-1]).sum(axis=1)
    return special.softmax(logits, axis=1), labels


def scores_of(method, probabilities, uniform):
    if method == 'lac':
        return conformal.lac_scores(probabilities)
    return getattr(conformal, f'{method}_scores')(probabilities, uniform)


@pytest.mark.parametrize('method', ['lac', 'aps', 'raps'])
@pytest.mark.parametrize('fitted', [19, 150])
def test_coverage_has_its_beta_binomial_distribution(method, fitted):
    """Covered counts over 300 splits, by a chi-squared test of level 1e-6."""
    alpha, measured, repeats = 0.13, 60, 300
    rng = np.random.default_rng(5)
    covered = []
    for _ in range(repeats):
        probabilities, labels = simulated(rng, fitted + measured)
        scores = scores_of(method, probabilities, rng.random(len(labels)))
        true = conformal.scores_of(scores, labels)
        limit = conformal.threshold(true[:fitted], alpha)
        included = conformal.sets(scores[fitted:], limit)
        covered.append(conformal.coverage(included, labels[fitted:]) * measured)
    # By hand: 20 * 0.13 = 2.6 and 151 * 0.13 = 19.63.
    misses = {19: 2, 150: 19}[fitted]
    expected = stats.betabinom(measured, fitted + 1 - misses, misses)
    edges = np.unique(expected.ppf(np.linspace(0, 1, 9)[1:-1]))
    counts = np.bincount(np.searchsorted(edges, covered), minlength=len(edges) + 1)
    chances = np.diff(np.concatenate([[0], expected.cdf(edges), [1]]))
    assert stats.chisquare(counts, chances * repeats).pvalue > 1e-6
    mean = np.mean(covered) / measured
    assert abs(mean - (1 - misses / (fitted + 1))) < 4.9 * expected.std() / (
        measured * repeats**0.5
    )


def test_the_band_has_its_level_and_is_the_beta_band_of_many_examples():
    low, high = conformal.coverage_band(150, 60, 0.13, 0.05)
    covered = stats.betabinom(60, 132, 19)
    assert covered.cdf(round(low * 60) - 1) <= 0.025 < covered.cdf(round(low * 60))
    assert covered.sf(round(high * 60)) <= 0.025 < covered.sf(round(high * 60) - 1)
    many = conformal.coverage_band(150, 100_000, 0.13, 0.05)
    np.testing.assert_allclose(many, stats.beta(132, 19).ppf([0.025, 0.975]), atol=1e-4)


def test_too_few_examples_give_every_class():
    assert conformal.coverage_band(8, 10, 0.1, 0.05) == (1, 1)
    limit = conformal.threshold(np.zeros(8), 0.1)
    assert conformal.sets(np.ones((2, 3)), limit).all()
