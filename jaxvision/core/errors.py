"""The one exception that a person caused and can mend."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in a config, a path or a file; the commands print it as one line and exit 2."""


def unknown(what: str, name: str, known: Iterable[str]) -> UserError:
    """'WHAT NAME is unknown', with the nearest name and all the known ones."""
    known = [one for one in known if one]  # '' is a default, which has no name
    near = difflib.get_close_matches(name, known, 1, 0.4)
    hint = f'; did you mean {near[0]!r}?' if near else '.'
    return UserError(f'{what} {name!r}{hint} There are: {", ".join(known) or "none"}')


def not_a_choice(field: str, value: object, choices: Iterable[object]) -> UserError:
    """An error for a value that is none of a field's choices, with the nearest of them."""
    known = [repr(choice) for choice in choices]
    near = difflib.get_close_matches(repr(value), known, 1, 0.4)
    hint = f'. Did you mean {near[0]}?' if near else ''
    return UserError(f'{field}={value!r}: expected one of {", ".join(known)}{hint}')
