"""Rank correlations, for predicted scores against human ratings (Otani et al. 2019)."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from jaxvision.core.types import Value

Scores = Float[np.ndarray, 'n']


def kendall_tau_b(a: Scores, b: Scores) -> float:
    """Kendall's tau-b of two lists of scores, in [-1, 1].

    tau-b = (concordant - discordant) / sqrt(pairs untied in a * pairs untied in b). It is 0 if a
    list is constant, as constant scores contain no ranking.
    """
    from scipy import stats

    return _correlation(stats.kendalltau, a, b)


def spearman_rho(a: Scores, b: Scores) -> float:
    """Spearman's rho of two lists of scores, in [-1, 1]: the correlation of their ranks.

    Tied scores have their mean rank. Rho is 0 if a list is constant.
    """
    from scipy import stats

    return _correlation(stats.spearmanr, a, b)


def _is_constant(scores: Scores) -> bool:
    return bool((scores == scores[:1]).all())


def _correlation(measure: Callable[..., Value], a: Scores, b: Scores) -> float:
    if _is_constant(a) or _is_constant(b):
        return 0.0
    # SciPy 1.18 and later compute in the precision of the inputs.
    result = measure(np.float64(a), np.float64(b))
    return float(result.statistic)
