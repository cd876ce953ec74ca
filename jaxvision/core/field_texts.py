"""Values of config fields, read from text."""

import ast
from typing import Any

from jaxvision.core.types import Value

# The values of each type, for messages.
KINDS = {bool: 'true or false', int: 'a whole number', float: 'a number'}
_SWITCH = {'true': True, '1': True, 'false': False, '0': False}


def parse(text: str, old: Value) -> Value:
    """Convert text to the type of the old value.

    Raises:
        ValueError: The text is no number.
        KeyError: The text is not true, false, 1 or 0.
    """
    if isinstance(old, str):
        return text
    if isinstance(old, bool):
        return _SWITCH[text.lower()]
    return type(old)(text)


def literal(text: str) -> Value:
    """Read text as a Python literal, or keep it as text."""
    words: dict[str, Any] = {'true': True, 'false': False, 'none': None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
