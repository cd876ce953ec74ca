import itertools

import numpy as np
import pytest

from jaxvision.metrics import ranking


def tau_by_hand(a, b):
    """Kendall's tau-b, counted over all pairs."""
    pairs = [
        (np.sign(a[i] - a[j]), np.sign(b[i] - b[j]))
        for i, j in itertools.combinations(range(len(a)), 2)
    ]
    agreed = sum(x * y for x, y in pairs)
    return agreed / np.sqrt(
        sum(x != 0 for x, _ in pairs) * sum(y != 0 for _, y in pairs)
    )


def ranks_by_hand(a):
    return np.array([(a < value).sum() + ((a == value).sum() + 1) / 2 for value in a])


@pytest.mark.parametrize('levels', [3, 8, 10**6])  # few levels: many ties
@pytest.mark.parametrize('seed', range(3))
def test_both_correlations_equal_a_count_of_all_pairs(levels, seed):
    a, b = np.random.default_rng(seed).integers(0, levels, (2, 30)).astype(np.float32)
    assert ranking.kendall_tau_b(a, b) == pytest.approx(tau_by_hand(a, b), abs=1e-9)
    expected = np.corrcoef(ranks_by_hand(a), ranks_by_hand(b))[0, 1]
    assert ranking.spearman_rho(a, b) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize('measure', [ranking.kendall_tau_b, ranking.spearman_rho])
def test_monotone_reversed_and_constant_scores(measure):
    rising, flat = np.arange(9.0), np.full(9, 0.3)
    assert measure(rising, rising**3) == pytest.approx(1)
    assert measure(rising, -rising) == pytest.approx(-1)
    assert measure(rising, flat) == measure(flat, rising) == measure(flat, flat) == 0
    assert measure(rising[:1], rising[:1]) == 0
