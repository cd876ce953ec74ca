"""Scores of unlike images against scipy, scikit-learn and closed forms."""

import numpy as np
import pytest
from scipy import special, stats
from scipy.spatial import distance

from jaxvision.metrics import out_of_distribution as metrics


def test_scores_of_logits_are_those_of_their_papers():
    logits = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32) * 5
    p = special.softmax(logits.astype(np.float64), axis=1)
    np.testing.assert_allclose(metrics.max_softmax(logits), p.max(axis=1), rtol=1e-12)
    energy = -2 * np.log(np.exp(logits.astype(np.float64) / 2).sum(axis=1))
    np.testing.assert_allclose(
        metrics.negative_energy(logits, 2.0), -energy, rtol=1e-12
    )
    assert metrics.negative_energy(np.array([[1e4, 0.0]]))[0] == 1e4


def test_mahalanobis_distances_are_those_of_scipy():
    rng = np.random.default_rng(1)
    labels = np.arange(90) % 3
    features = rng.normal(size=(90, 4)) @ rng.normal(size=(4, 4)) + 3 * labels[:, None]
    others = rng.normal(size=(7, 4)) * 4
    means = [features[labels == k].mean(axis=0) for k in range(3)]
    residuals = features - np.stack(means)[labels]
    inverse = np.linalg.inv(residuals.T @ residuals / 90)
    expected = []
    for row in others:
        to_means = [distance.mahalanobis(row, mean, inverse) ** 2 for mean in means]
        expected.append(-min(to_means))
    got = metrics.Mahalanobis(features, labels).scores(others)
    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_constant_features_do_not_count():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(50, 3))
    labels = np.arange(50) % 2
    dead = np.column_stack([features, np.zeros(50)])
    np.testing.assert_allclose(
        metrics.Mahalanobis(dead, labels).scores(dead),
        metrics.Mahalanobis(features, labels).scores(features),
        rtol=1e-9,
    )


def test_auroc_is_the_statistic_of_mann_and_whitney():
    rng = np.random.default_rng(3)
    inside = rng.integers(0, 9, 40) + 1.0
    outside = rng.integers(0, 9, 30) * 1.0
    statistic = stats.mannwhitneyu(inside, outside).statistic
    assert metrics.auroc(inside, outside) == pytest.approx(statistic / 1200)
    assert metrics.auroc(inside, inside) == 0.5
    assert metrics.auroc(outside + 100, outside) == 1


def test_halves_of_one_split_are_inside_the_band_of_equal_distributions():
    """Equal distributions: the null of Mann and Whitney, at a level of 1e-6."""
    scores = np.random.default_rng(4).normal(size=60)
    inside, outside = scores[:30], scores[30:]
    got = metrics.auroc(inside, outside)
    std = np.sqrt((30 + 30 + 1) / (12 * 30 * 30))
    assert abs(got - 0.5) < stats.norm.isf(1e-6 / 2) * std
    expected = stats.mannwhitneyu(inside, outside).statistic / 900
    assert got == pytest.approx(expected)


def test_fpr95_by_hand():
    inside = np.arange(1, 21) * 1.0
    # 19 of 20 pass a threshold of 2, and so do three of the others.
    outside = np.array([0.0, 1.5, 2.0, 5.0, 30.0])
    assert metrics.false_positive_rate(inside, outside) == pytest.approx(3 / 5)
    assert metrics.false_positive_rate(inside, outside - 100) == 0
    assert metrics.false_positive_rate(inside, outside, 1.0) == pytest.approx(4 / 5)
