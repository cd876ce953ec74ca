"""Named random streams: every key is a function of (seed, stream name, step, example index).

No random state is carried from one step to the next. So a run draws the same numbers
after a resume, and on any number of devices.
"""

import zlib

import jax
import numpy as np
from jaxtyping import Array, Int, Key, PRNGKeyArray

# One key for each example.
ExampleKeys = Key[Array, 'b']


def stream(key: PRNGKeyArray, name: str) -> PRNGKeyArray:
    """Derive the key of the stream called `name` from `key`."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def at_step(key: PRNGKeyArray, name: str, step: Int[Array, ''] | int) -> PRNGKeyArray:
    """Derive the key of a stream at one training step.

    Args:
        key: the base key of the run.
        name: the name of the stream.
        step: the number of steps taken before.
    """
    return jax.random.fold_in(stream(key, name), step)


def per_example(key: PRNGKeyArray, index: Int[Array, 'b']) -> ExampleKeys:
    """Derive one key per example from its index in the dataset.

    The place of the example in the batch does not matter.

    Args:
        key: the key of a stream at one step.
        index: the row of each example in its split, the `index` of a batch.
    """
    return jax.vmap(jax.random.fold_in, (None, 0))(key, index)


def fold_name(keys: ExampleKeys, name: str) -> ExampleKeys:
    """Derive the keys of a sub-stream per example, for one dropout layer among many."""
    return jax.vmap(stream, (0, None))(keys, name)


def host(seed: int, name: str, *numbers: int) -> np.random.Generator:
    """Make the NumPy generator of a stream on the host.

    Args:
        seed: the seed of the run.
        name: the name of the stream.
        *numbers: further numbers >= 0 that select the generator, such as an epoch.

    Returns:
        A new generator, which always begins with the same numbers for equal arguments.
    """
    return np.random.default_rng([seed, zlib.crc32(name.encode()), *numbers])
