"""The size of a perturbation as a user writes it."""

from fractions import Fraction

from jaxvision.attacks.types import Norm
from jaxvision.core.errors import UserError


def parse_eps(field: str, value: str | float | int, norm: Norm = 'linf') -> float:
    """Read eps, the largest norm of a perturbation of pixels in [0, 1].

    Args:
        field: the name of the field or argument, for messages.
        value: a number, or text such as '8/255' or '0.3'.
        norm: with 'linf', eps is at most 1. With 'l2' any positive number is a length.

    Returns:
        eps >= 0.

    Raises:
        UserError: The text is no number, or eps is negative, not finite, or above 1
            with 'linf'.
    """
    try:
        eps = float(
            Fraction(value.replace(' ', '')) if isinstance(value, str) else value
        )
    except (ValueError, ZeroDivisionError, OverflowError):
        eps = float('nan')
    if not 0 <= eps < float('inf'):
        raise UserError(
            f'{field}={value}: expected a size in pixels of [0, 1]. Write a number or a '
            'fraction, such as 0.3 or 8/255.'
        )
    if norm == 'linf' and eps > 1:
        raise UserError(
            f'{field}={value}: expected at most 1, because pixels are in [0, 1]. '
            f'Write {value}/255.'
        )
    return eps
