"""Intervals: a number of steps ('300'), of epochs ('2 epochs') or of examples ('5000 examples')."""

import math
import re

from jaxvision.core.errors import UserError

_INTERVAL = re.compile(
    r'\s*(?:(\d+(?:\.\d+)?)\s*epochs?|(\d+)\s*(steps?|examples?)?)\s*'
)


def check_interval(name: str, interval: str | int) -> None:
    """Check that a value is an interval: 300, '300 steps', '2.5 epochs' or '5000 examples'.

    Steps are the default unit, and only epochs may have a fraction. 0 is an interval, but no
    negative number is one.

    Raises:
        UserError: The value has another form. The message names the field `name`.
    """
    if not _INTERVAL.fullmatch(str(interval)):
        raise UserError(
            f'{name}={interval!r}: expected a number of steps (300), "2 epochs" or '
            '"5000 examples"'
        )


def in_examples(interval: str | int, batch_size: int, examples: int) -> int:
    """Convert an interval to training examples.

    Args:
        interval: '300' (steps), '2 epochs' or '5000 examples'. Epochs may be
            fractional.
        batch_size: examples per step.
        examples: examples of the training split.

    Returns:
        The number of examples, rounded up.

    Raises:
        UserError: The value is no interval.
    """
    check_interval('interval', interval)
    match = _INTERVAL.fullmatch(str(interval))
    assert match
    epochs, count, unit = match.groups()
    if epochs:
        return math.ceil(float(epochs) * examples)
    if unit and unit.startswith('example'):
        return int(count)
    return int(count) * batch_size


def steps(interval: str | int, batch_size: int, examples: int) -> int:
    """Convert an interval to steps.

    Args:
        interval: '300' (steps), '2 epochs' or '5000 examples'. Epochs may be
            fractional.
        batch_size: examples per step.
        examples: examples of the training split.

    Returns:
        The number of steps, rounded up.

    Raises:
        UserError: The value is no interval.
    """
    return -(-in_examples(interval, batch_size, examples) // batch_size)
