"""Steps of a run in tests, by the program that training itself compiles."""

import jax

from jaxvision.train import sharding


def take_step(run, state, batch):
    """(The state after one step, its scalars).

    The memory of `state` is used again, so a test copies what it compares before.
    """
    return run.update(state, jax.device_put(batch, sharding.split(run.mesh)))
