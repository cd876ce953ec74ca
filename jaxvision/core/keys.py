"""Named random streams: every key is a function of (seed, stream name, step, example index).

Nothing random is ever carried from one step to the next, so a run that resumes, or that is spread
over another number of devices, draws exactly the same numbers.
"""

import zlib

import jax
import numpy as np
from jaxtyping import Array, Int, Key, PRNGKeyArray


def stream(key: PRNGKeyArray, name: str) -> PRNGKeyArray:
    """The key of the stream called `name` under `key`."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def at_step(key: PRNGKeyArray, name: str, step: Int[Array, ''] | int) -> PRNGKeyArray:
    """The key of the stream `name` at one training step."""
    return jax.random.fold_in(stream(key, name), step)


def per_example(key: PRNGKeyArray, index: Int[Array, 'b']) -> Key[Array, 'b']:
    """One key an example, from its global index: its place in the batch does not matter."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, index)


def fold_name(keys: Key[Array, 'b'], name: str) -> Key[Array, 'b']:
    """Per-example keys of a sub-stream, e.g. of one dropout layer among many."""
    return jax.vmap(stream, (0, None))(keys, name)


def host(seed: int, name: str, *numbers: int) -> np.random.Generator:
    """The host's twin: a numpy generator that is a function of (seed, stream name, numbers)."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), *numbers])
