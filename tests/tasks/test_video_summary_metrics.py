"""Metrics of video summaries, compared with SciPy and loops."""

import itertools

import numpy as np
import pytest
from scipy import stats

from jaxvision.core.errors import UserError
from jaxvision.tasks.video_summary import metrics, selection


def diversity_and_representativeness(features, chosen):
    """The reward, computed with loops over the frames."""
    chosen = np.flatnonzero(chosen)
    unlike = []
    for i, j in itertools.permutations(chosen, 2):
        term = 1 - features[i] @ features[j]
        if abs(i - j) > 20:
            term = 1.0
        unlike.append(term)
    nearest = [min(((x - features[j]) ** 2).sum() for j in chosen) for x in features]
    return (np.mean(unlike) if unlike else 0) + np.exp(-np.mean(nearest))


@pytest.fixture
def records():
    """Records of two videos, of 30 and 24 frames; the padding is noise."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 30, 6)) + 3 * rng.normal(size=(2, 5, 6)).repeat(
        6, axis=1
    )
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    return {
        'features': features.astype(np.float32),
        'index': np.array([0, 1]),
        'scores': rng.uniform(0.1, 1, (2, 30)).astype(np.float32),
        'importance': rng.integers(0, 9, (2, 30)).astype(np.float32),
        'video_mask': (np.arange(30) < np.array([[30], [24]])).astype(np.uint8),
    }


def test_the_metrics_are_means_over_the_videos_of_scipy_and_loops(records):
    summary = metrics.summarize(records)
    expected = []
    for i, length in enumerate((30, 24)):
        scores, importance = (
            records[name][i, :length] for name in ('scores', 'importance')
        )
        features = records['features'][i, :length].astype(np.float64)
        boundaries, selected = selection.shorten(scores.astype(np.float64), features)
        shots = np.searchsorted(boundaries, np.flatnonzero(selected), side='right')
        lengths = np.unique(shots, return_counts=True)[1]
        expected.append(
            [
                stats.kendalltau(scores, importance).statistic,
                stats.spearmanr(scores, importance).statistic,
                diversity_and_representativeness(features, selected),
                diversity_and_representativeness(
                    features, selection.uniform_summary(lengths, length)
                ),
            ]
        )
    for name, value in zip(
        ('tau_b', 'rho', 'reward', 'reward_uniform'),
        np.mean(expected, 0),
        strict=True,
    ):
        assert summary[name] == pytest.approx(value, rel=1e-5), name


def test_no_videos_have_no_metrics(records):
    nothing = {name: values[:0] for name, values in records.items()}
    with pytest.raises(UserError, match='the split has no videos: expected at least 1'):
        metrics.summarize(nothing)


def test_random_summaries_are_the_same_in_every_evaluation(records):
    summary = metrics.summarize(records)
    alone = [
        metrics.summarize({name: values[[i]] for name, values in records.items()})
        for i in (0, 1)
    ]
    for name, value in summary.items():
        assert value == pytest.approx(
            np.mean([of_video[name] for of_video in alone])
        ), name
    assert 0.8 < summary['reward_random'] / summary['reward_uniform'] < 1.2


def test_scores_equal_to_the_importance_have_perfect_correlations(records):
    known = {**records, 'scores': records['importance'] + 1}
    summary = metrics.summarize(known)
    assert [summary[name] for name in ('tau_b', 'rho')] == pytest.approx([1, 1])
    assert summary['f_score'] > 0.6
    assert set(summary) == set(metrics.names(has_importance=True))
    del known['importance']
    rewards = {'reward', 'reward_uniform', 'reward_random'}
    assert set(metrics.summarize(known)) == rewards
    assert set(metrics.names(has_importance=False)) == rewards
