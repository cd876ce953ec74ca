"""The model of a task, by the names in its config."""

import inspect
from typing import Any

import jax.numpy as jnp

from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.options import call
from jaxvision.core.registry import resolve
from jaxvision.core.types import Module


def make_model(config: Config, **needs: Any) -> Module:
    """Build the config's model.

    Args:
        config: a run's, of which `config.model` is read: name, variant, types, options.
        **needs: what the task knows and this kind of model is built from, such as
            `num_classes`. No option can set these.

    Returns:
        What the model's `make` returns.

    Raises:
        UserError: The model is of another kind, or the variant or an option is wrong.
    """
    c = config.model
    make = resolve('models', c.name).make
    _check_kind(c.name, make, needs)
    return call(
        make,
        f'model {c.name!r}',
        c.variant,
        **needs,
        dtype=jnp.dtype(c.dtype),
        param_dtype=jnp.dtype(c.param_dtype),
        options=c.options,
    )


def _check_kind(name: str, make: Any, needs: dict) -> None:
    """Raise a UserError unless `make` takes these needs, and needs no others."""
    parameters = list(inspect.signature(make).parameters.values())[1:]
    named = [
        p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    takes = {p.name for p in named}
    asks = {p.name for p in named if p.default is p.empty} - {'dtype', 'param_dtype'}
    if asks <= needs.keys() <= takes:
        return
    expected = ', '.join(needs) or 'nothing but its variant'
    raise UserError(
        f'model.name={name!r}: expected a model built from {expected}, this one is built '
        f'from {", ".join(sorted(asks)) or "its variant"}. Choose one for this task.'
    )
