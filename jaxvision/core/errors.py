"""Errors that a user caused and can mend."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in a config, a path or a file.

    The commands print the message as one line and exit with code 2.
    """


class Diverged(UserError):
    """A loss, a gradient or a metric of a training is not finite."""


def unknown(what: str, name: str, known: Iterable[str]) -> UserError:
    """Make, but do not raise, the error for a name that does not exist.

    Args:
        what: the beginning of the message, such as 'there is no model'.
        name: the name that the user gave.
        known: the names that exist.

    Returns:
        The error. Its message lists all known names but '', and suggests a similar one
        if there is one.
    """
    # '' stands for a default, which has no name.
    known_names = [known_name for known_name in known if known_name]
    nearest = difflib.get_close_matches(name, known_names, 1, 0.4)
    hint = '.'
    if nearest:
        hint = f'; did you mean {nearest[0]!r}?'
    choices = ', '.join(known_names) or 'none'
    return UserError(f'{what} {name!r}{hint} Choose from: {choices}')


def not_a_choice(field: str, value: object, choices: Iterable[object]) -> UserError:
    """Make, but do not raise, the error for a value that is no choice of a field.

    Args:
        field: the name of the field.
        value: the value that the user gave.
        choices: the values that the field may have.

    Returns:
        The error. Its message lists the choices, and suggests a similar one if there is
        one.
    """
    known = [repr(choice) for choice in choices]
    nearest = difflib.get_close_matches(repr(value), known, 1, 0.4)
    hint = ''
    if nearest:
        hint = f'. Did you mean {nearest[0]}?'
    return UserError(f'{field}={value!r}: expected one of {", ".join(known)}{hint}')
