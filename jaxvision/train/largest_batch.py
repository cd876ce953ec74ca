"""The largest batch whose training step fits in the memory of the devices.

The memory is that of the compiled program. No step is run.
"""

import bisect
import dataclasses
import math
from collections.abc import Callable

import jax

from jaxvision.core.auto_fields import with_values
from jaxvision.core.errors import UserError
from jaxvision.core.fields import AUTO, Config
from jaxvision.train import memory, processes
from jaxvision.train.run import Run
from jaxvision.train.saved import build_task

FIELD = 'data.batch_size'


def smallest(config: Config) -> int:
    """The smallest batch that is tried: two examples for each device and microbatch."""
    return 2 * jax.device_count() * config.optimizer.accumulate


def find(run: Run) -> int:
    """Choose the batch size of a run, and print it.

    The sizes are the smallest one times powers of two, and at most the number of training
    examples. All processes of a run must call it together, and get the size of process 0.

    Args:
        run: a run with the smallest batch, without a checkpoint.

    Raises:
        UserError: Not even the smallest batch fits.
    """
    stated = int(run.config.parallel.memory * 1e9)
    free = memory.free_bytes(run.mesh)
    limit = processes.of_first(stated or int(memory.FRACTION * free))
    first = run.config.data.batch_size
    processes.say(f'{FIELD}={AUTO}: compiling for several sizes ...')
    measured = {}

    def bytes_of(size: int) -> float:
        measured[size] = step_bytes(run, size)
        return measured[size]

    size = largest(first, max(first, run.spec.examples), bytes_of, limit)
    size = processes.of_first(size)
    if not size:
        raise UserError(
            f'{FIELD}={AUTO}: expected a step that fits in {_gigabytes(limit)} per device. '
            f'With {first} examples it takes {_gigabytes(measured[first])}. Set '
            'parallel.memory, or choose a smaller model'
        )
    taken = measured.get(size, math.nan)
    processes.say(
        f'{FIELD}={size}: a step takes {_gigabytes(taken)} of {_gigabytes(limit)} per device'
    )
    return size


def largest(
    first: int, most: int, bytes_of: Callable[[int], float], limit: float
) -> int:
    """Find the largest size that fits, by bisection over the powers of two.

    Args:
        first: the smallest size.
        most: the largest size that is allowed, at least `first`.
        bytes_of: the memory of a size, which does not fall as the size grows.
        limit: the memory that there is.

    Returns:
        `first` times a power of two; 0 if not even `first` fits.
    """
    sizes = [first]
    while 2 * sizes[-1] <= most:
        sizes.append(2 * sizes[-1])
    count = bisect.bisect_right(sizes, limit, key=bytes_of)
    return sizes[count - 1] if count else 0


def step_bytes(run: Run, size: int) -> float:
    """The memory of a training step on each device, in bytes, by its compiled program.

    It is infinite if the compiler finds no room for the step, or if the batch is too large
    for other settings, such as a warm-up of several steps.

    Args:
        run: the run.
        size: the batch size.
    """
    config = with_values(run.config, {FIELD: size})
    try:
        task = build_task(config, run.spec)
        sized = dataclasses.replace(run, config=config, task=task)
        lowered = sized.update.lower(sized.abstract(), sized.abstract_batch())
        return memory.step_bytes(lowered.compile())
    except UserError:
        if size == run.config.data.batch_size:
            raise
        return math.inf
    except jax.errors.JaxRuntimeError as error:
        if 'RESOURCE_EXHAUSTED' not in str(error):
            raise
        return math.inf


def _gigabytes(size: float) -> str:
    return f'{size / 1e9:.3g} GB'
