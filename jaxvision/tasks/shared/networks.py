"""Building the model that `config.model` names."""

import inspect
from typing import Any

import jax.numpy as jnp

from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.options import call
from jaxvision.core.registry import resolve
from jaxvision.core.types import Module


def make_model(config: Config, **needs: Any) -> Module:
    """Build the model that `config.model` names.

    Args:
        config: config of the run; name, variant, dtypes and options of the model are used.
        **needs: arguments that the task determines, such as `num_classes`. They cannot be
            set by `model.options`.

    Returns:
        The result of the model's `make`: a Flax module, or for a GAN (generator, discriminator).

    Raises:
        UserError: There is no such model, it takes other arguments than `needs`, or its variant
            or an option is wrong.
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
        options=c.options.to_dict(),
    )


def _check_kind(name: str, make: Any, needs: dict) -> None:
    """Raise a UserError unless `make` accepts all `needs` and requires no other argument."""
    parameters = list(inspect.signature(make).parameters.values())[1:]
    accepted = set()
    required = set()
    for parameter in parameters:
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            accepted.add(parameter.name)
            if parameter.default is parameter.empty:
                required.add(parameter.name)
    required -= {'dtype', 'param_dtype'}
    if required <= needs.keys() <= accepted:
        return
    expected = ', '.join(needs) or 'nothing but its variant'
    actual = ', '.join(sorted(required)) or 'its variant'
    raise UserError(
        f'model.name={name!r}: expected a model that is built from {expected}, but this one '
        f'is built from {actual}. Choose a model for this task.'
    )
