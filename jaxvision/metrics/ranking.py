"""How alike two rankings of the same things are: scores against a person's (Otani et al. 2019)."""

import numpy as np
from jaxtyping import Float


def kendall_tau_b(a: Float[np.ndarray, 'n'], b: Float[np.ndarray, 'n']) -> float:
    """(concordant - discordant) / sqrt(pairs untied in a * pairs untied in b), in [-1, 1].

    0 where one side is constant, as for a random ranking: it tells nothing of the other.
    """
    from scipy import stats

    return _measured(stats.kendalltau, a, b)


def spearman_rho(a: Float[np.ndarray, 'n'], b: Float[np.ndarray, 'n']) -> float:
    """The correlation of the ranks, in [-1, 1]; ties share their mean rank, constants as above."""
    from scipy import stats

    return _measured(stats.spearmanr, a, b)


def _measured(measure, a: Float[np.ndarray, 'n'], b: Float[np.ndarray, 'n']) -> float:
    if (a == a[:1]).all() or (b == b[:1]).all():
        return 0.0
    return float(
        measure(np.float64(a), np.float64(b)).statistic
    )  # in their precision, from 1.18 on
