"""Several processes as one run: how they start, agree, stop together and fail together."""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxvision.core.config import difference
from jaxvision.core.errors import UserError
from jaxvision.core.types import Json, Tree

T = TypeVar('T')

# Seconds without a sign of life after which the others give a process up.
HEARTBEAT = 10
Handler = Callable[[int, FrameType | None], None] | signal.Handlers


def start(
    coordinator: str | None = None,
    number: int | None = None,
    process: int | None = None,
) -> None:
    """Join the other processes, before anything else uses JAX.

    Without arguments JAX finds out from its surroundings: a TPU pod, Slurm, GKE, MPI.
    """
    if len({coordinator is None, number is None, process is None}) > 1:
        raise UserError('--coordinator, --num_processes and --process_id go together')
    if number is not None and process is not None and not 0 <= process < number:
        raise UserError(
            f'--process_id={process}: expected 0 to {number - 1}, since '
            f'--num_processes={number}'
        )
    try:
        jax.distributed.initialize(
            coordinator, number, process, heartbeat_timeout_seconds=HEARTBEAT
        )
    # JAX has not found the others out. Later errors are no mistake of the user.
    except ValueError as error:
        raise UserError(
            'the processes did not find each other. Outside a TPU pod, Slurm or GKE give each '
            '--coordinator HOST:PORT (of process 0), --num_processes N and --process_id I. '
            + str(error).splitlines()[0]
        ) from error


def is_first() -> bool:
    """Whether this process is the one that writes and speaks for all."""
    return jax.process_index() == 0


def say(text: str) -> None:
    """A line on the screen, once for all processes."""
    if is_first():
        print(text, flush=True)


def agree(what: str, value: Json) -> None:
    """Raises on every process, with the differences, unless `value` is the same on all.

    A run of processes that differ would hang at best, and at worst train something undefined.
    """
    if jax.process_count() == 1:
        return
    first, *others = [json.loads(text) for text in _gather(json.dumps(value))]
    differ = {
        process: difference(first, other)
        for process, other in enumerate(others, 1)
        if other != first
    }
    if differ:
        raise UserError(
            f'the processes have not the same {what}: '
            + '; '.join(
                f'process {process} has {name}={theirs!r}, process 0 {ours!r}'
                for process, fields in differ.items()
                for name, (ours, theirs) in fields.items()
            )
        )


def of_first(value: T) -> T:
    """Process 0's value (of what JSON holds), for what all must decide alike."""
    return (
        value if jax.process_count() == 1 else json.loads(_gather(json.dumps(value))[0])
    )


def arrays_of_first(tree: Tree) -> Tree:
    """Process 0's arrays, of the same shapes on all: their last digits may differ."""
    return (
        tree if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(tree)
    )


def expect(path: Path, seconds: float = 60) -> None:
    """Raises on every process unless all of them see, in the end, what process 0 has written."""
    if jax.process_count() == 1:
        return
    multihost_utils.sync_global_devices('written')
    # A network file system remembers for a while that a file was absent.
    end = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.5)
    blind = [
        i for i, sees in enumerate(_gather(json.dumps(path.exists()))) if sees != 'true'
    ]
    if blind:
        raise UserError(
            f'processes {blind} do not see {path}, which process 0 has written: '
            '--workdir must be on storage that all processes share'
        )


def _gather(text: str) -> list[str]:
    """Every process's text, in order."""
    data = np.frombuffer(text.encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(data.size))
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: data.size] = data
    rows = multihost_utils.process_allgather(padded)
    return [
        row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)
    ]


@contextlib.contextmanager
def stop_signal() -> Iterator[Callable[[int], bool]]:
    """`asked(step)`, whether to save and stop after this step, the same on all processes.

    Alone, SIGTERM or the first Ctrl-C asks for it, and a second one interrupts. Of several
    processes SIGTERM to any does, through JAX's own handler; Ctrl-C is left to who started them.
    """
    if jax.process_count() > 1:
        with _handling({signal.SIGINT: signal.SIG_IGN}):
            yield multihost_utils.reached_preemption_sync_point
        return
    stop = threading.Event()

    def handle(number, frame):
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        # Not print: the signal may have come in the middle of one.
        os.write(
            2, f'{signal.Signals(number).name}: saving and stopping ...\n'.encode()
        )

    with _handling({signal.SIGTERM: handle, signal.SIGINT: handle}):
        yield lambda step: stop.is_set()


@contextlib.contextmanager
def _handling(handlers: dict[signal.Signals, Handler]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = {
        number: signal.signal(number, handler) for number, handler in handlers.items()
    }
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def leave(code: int) -> None:
    """End this process, whose run failed, at once: an orderly exit would wait for the others, which
    wait for it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
