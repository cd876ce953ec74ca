"""Corruption errors relative to a reference (Hendrycks & Dietterich 2019)."""

import numpy as np
from jaxtyping import Float

# The error at each severity.
Errors = Float[np.ndarray, 's']


def corruption_error(errors: Errors, reference: Errors) -> float | None:
    """The error of a corruption relative to that of a reference (CE).

    Args:
        errors: error at each severity, in [0, 1].
        reference: error of the reference at the same severities.

    Returns:
        The ratio of the sums. 1: as the reference; less is better. None: the reference has
        no errors.
    """
    return _ratio(errors.sum(), reference.sum())


def relative_corruption_error(
    errors: Errors, clean: float, reference: Errors, reference_clean: float
) -> float | None:
    """The growth of the error by a corruption relative to that of a reference (relative CE).

    Args:
        errors: error at each severity, in [0, 1].
        clean: error without a corruption.
        reference: error of the reference at the same severities.
        reference_clean: error of the reference without a corruption.

    Returns:
        The ratio of the sums of the growths. None: the corruption does not raise the error
        of the reference.
    """
    return _ratio((errors - clean).sum(), (reference - reference_clean).sum())


def _ratio(numerator: float, denominator: float) -> float | None:
    # A sum of differences that cancel is 0 but for rounding.
    if denominator < 1e-9:
        return None
    return float(numerator / denominator)
