"""The model of a task, by the names in its config."""

import jax.numpy as jnp

from jaxvision.core.config import call, resolve


def make_model(config, spec: dict):
    """The config's model, its options checked."""
    c = config.model
    module = resolve('models', c.name)
    return call(
        module.make,
        f'model {c.name!r}',
        spec,
        c.variant,
        dtype=jnp.dtype(c.dtype),
        param_dtype=jnp.dtype(c.param_dtype),
        options=c.options,
    )
