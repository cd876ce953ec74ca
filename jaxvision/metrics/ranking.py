"""How alike two rankings of the same things are: scores against a person's (Otani et al. 2019)."""

import numpy as np
from jaxtyping import Float
from scipy import stats


def kendall_tau_b(a: Float[np.ndarray, 'n'], b: Float[np.ndarray, 'n']) -> float:
    """(concordant - discordant) / sqrt(pairs untied in a * pairs untied in b), in [-1, 1].

    0 where one side is constant, as for a random ranking: it tells nothing of the other.
    """
    return 0.0 if _constant(a) or _constant(b) else float(stats.kendalltau(a, b).statistic)


def spearman_rho(a: Float[np.ndarray, 'n'], b: Float[np.ndarray, 'n']) -> float:
    """The correlation of the ranks, ties sharing their mean rank, in [-1, 1]; constants as above."""
    return 0.0 if _constant(a) or _constant(b) else float(stats.spearmanr(a, b).statistic)


def _constant(scores: Float[np.ndarray, 'n']) -> bool:
    return bool((scores == scores[:1]).all())
