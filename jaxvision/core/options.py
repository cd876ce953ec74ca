"""Options: keyword arguments of a model or an optimizer that a config sets by name."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from jaxvision.core.errors import UserError, unknown
from jaxvision.core.fields import Config
from jaxvision.core.types import Value, Values

T = TypeVar('T')


def call(
    function: Callable[..., T],
    what: str,
    *arguments: Any,
    options: Values | Config,
    **keywords: Any,
) -> T:
    """Call a function with options of the user, after checking them against its signature.

    Args:
        function: called as `function(*arguments, **keywords, **options)`.
        what: the thing that the function builds, for messages, such as "optimizer
            'sgd'".
        *arguments: the first arguments of the function.
        options: {name: value} from the config.
        **keywords: further arguments, which no option may set.

    Returns:
        The result of the function.

    Raises:
        UserError: The function has no such option, or an option has another type than
            the default of its parameter. An int may stand for a float. Only defaults
            that are bool, int, float or text are compared.
        TypeError: The function needs an argument that is not given.
    """
    parameters = list(inspect.signature(function).parameters.values())
    count = len(arguments)
    reserved = {parameter.name for parameter in parameters[:count]} | keywords.keys()
    defaults = {}
    takes_any = False
    for parameter in parameters[count:]:
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_any = True
        elif parameter.name not in keywords:
            defaults[parameter.name] = parameter.default
    for name, value in options.items():
        is_known = name in defaults or takes_any
        if name in reserved or not is_known:
            raise unknown(f'{what} has no option', name, defaults)
        _check_type(what, name, value, defaults.get(name))
    return function(*arguments, **keywords, **options)


def _check_type(what: str, name: str, value: Value, default: Value) -> None:
    """Require the type of the default; a whole number may stand for a float."""
    if not isinstance(default, bool | int | float | str):
        return
    kinds = type(default)
    if kinds is float:
        kinds = (int, float)
    if not isinstance(value, kinds):
        raise UserError(
            f'{what}: option {name}={value!r}: expected a value like {default!r}'
        )
