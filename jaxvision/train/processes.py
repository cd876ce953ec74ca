"""Several processes as one run: how they start, agree, stop together and fail together."""

import contextlib
import io
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxvision.core.config import difference
from jaxvision.core.errors import UserError
from jaxvision.core.types import Example, Json, Tree

T = TypeVar('T')

# Seconds without a heartbeat after which the other processes give up a process.
HEARTBEAT = 10
# Numbers of the calls that ask JAX for a stop. JAX compares them over the whole process.
_calls = itertools.count(1)
Handler = Callable[[int, FrameType | None], None] | signal.Handlers


def start(
    coordinator: str | None = None,
    number: int | None = None,
    process: int | None = None,
) -> None:
    """Join the other processes of a run, before any other use of JAX.

    Without arguments JAX detects the processes from its environment: a TPU pod, Slurm, GKE or
    MPI.

    Give all three arguments or none.

    Args:
        coordinator: HOST:PORT of process 0.
        number: number of processes.
        process: the index of this process, from 0.

    Raises:
        UserError: Arguments are missing or out of range, or nothing was detected.
    """
    if len({coordinator is None, number is None, process is None}) > 1:
        raise UserError(
            '--coordinator, --num_processes and --process_id: expected all three or none'
        )
    if number is not None and process is not None and not 0 <= process < number:
        raise UserError(
            f'--process_id={process}: expected 0 to {number - 1}, since '
            f'--num_processes={number}'
        )
    try:
        jax.distributed.initialize(
            coordinator, number, process, heartbeat_timeout_seconds=HEARTBEAT
        )
    # JAX detected no other processes. Later errors are no mistake of the user.
    except ValueError as error:
        first_line = str(error).splitlines()[0]
        raise UserError(
            'the processes did not find each other. Outside a TPU pod, Slurm or GKE, give '
            'each process --coordinator HOST:PORT (of process 0), --num_processes N and '
            f'--process_id I. JAX says: {first_line}'
        ) from error


def is_first() -> bool:
    """Whether this process is process 0, which writes and prints for all processes."""
    return jax.process_index() == 0


def say(text: str) -> None:
    """Print a line, once for all processes."""
    if is_first():
        print(text, flush=True)


def agree(what: str, value: Json) -> None:
    """Check that a value is the same on all processes, which must all call this.

    Processes that differ would hang at best, and train something undefined at worst.

    Args:
        what: the name of the value, for messages.
        value: {name: setting}.

    Raises:
        UserError: A process has another value. All processes raise the error.
    """
    if jax.process_count() == 1:
        return
    first, *others = [json.loads(text) for text in _gather_texts(json.dumps(value))]
    differences = []
    for process, other in enumerate(others, 1):
        if other == first:
            continue
        for name, (ours, theirs) in difference(first, other).items():
            differences.append(
                f'process {process} has {name}={theirs!r}, process 0 {ours!r}'
            )
    if differences:
        raise UserError(
            f'the processes differ in their {what}: {"; ".join(differences)}. Start all of '
            'them with the same command and on the same files'
        )


def of_first(value: T) -> T:
    """Return the value of process 0 on all processes, which must all call this.

    JSON must be able to hold the value. With several processes it goes through JSON, so
    a tuple becomes a list. A single process gets the value itself.
    """
    if jax.process_count() == 1:
        return value
    return json.loads(_gather_texts(json.dumps(value))[0])


def arrays_of_first(tree: Tree) -> Tree:
    """Return the arrays of process 0 on all processes, which must all call this.

    The last digits of arrays may differ between processes. Their shapes must be equal.
    """
    if jax.process_count() == 1:
        return tree
    return multihost_utils.broadcast_one_to_all(tree)


def expect(path: Path, seconds: float = 60) -> None:
    """Wait until all processes, which must all call this, see a file of process 0.

    Process 0 must have written the file before. A single process returns at once.

    Args:
        path: the file.
        seconds: how long to wait.

    Raises:
        UserError: A process does not see the file. All processes raise the error.
    """
    if jax.process_count() == 1:
        return
    multihost_utils.sync_global_devices('written')
    # A network file system may remember for a while that a file was absent.
    end = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.5)
    answers = _gather_texts(json.dumps(path.exists()))
    blind = [process for process, answer in enumerate(answers) if answer != 'true']
    if blind:
        raise UserError(
            f'processes {blind} do not see {path}, which process 0 has written. Put '
            '--workdir on storage that all processes share'
        )


def gather(records: list[Example]) -> list[Example]:
    """Collect the records of all processes, which must all call this.

    Args:
        records: of this process, each with arrays of any shape by name.

    Returns:
        The records of process 0, then those of process 1, and so on.
    """
    if jax.process_count() == 1:
        return records
    gathered = []
    for data in _gather_bytes(pack(records)):
        gathered += unpack(data)
    return gathered


def pack(records: list[Example]) -> bytes:
    """Write records, arrays by name without objects, for `unpack`."""
    arrays: dict[str, Any] = {}
    for row, record in enumerate(records):
        for name, array in record.items():
            arrays[f'{row}/{name}'] = array
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def unpack(data: bytes) -> list[Example]:
    """Read the records that `pack` wrote, in their order."""
    records: dict[int, Example] = {}
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        for path, array in file.items():
            row, _, name = path.partition('/')
            records.setdefault(int(row), {})[name] = array
    return list(records.values())


def _gather_texts(text: str) -> list[str]:
    """Collect the text of every process, in the order of the processes."""
    return [data.decode() for data in _gather_bytes(text.encode())]


def _gather_bytes(content: bytes) -> list[bytes]:
    """Collect the bytes of every process, in the order of the processes."""
    data = np.frombuffer(content, np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(data.size))
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: data.size] = data
    rows = multihost_utils.process_allgather(padded)
    return [row[:size].tobytes() for row, size in zip(rows, sizes, strict=True)]


@contextlib.contextmanager
def stop_signal() -> Iterator[Callable[[int], bool]]:
    """Handle signals that ask the run to save and stop.

    With one process, SIGTERM or Ctrl-C asks for it, and Ctrl-C after that raises
    KeyboardInterrupt. Schedulers may send SIGTERM to a process and its parent, which sends it
    again. With several processes, SIGTERM to any process asks for it, by
    JAX. Ctrl-C is then left to the launcher of the processes.

    JAX stops at the call whose number is the largest one at the signal plus 1. So the calls
    are numbered over the whole process. Steps begin at 1 again in each training, such as
    that of an auxiliary network.

    Yields:
        `asked(step)`: whether to save and stop after this step, the same on all processes.
        All processes must call it once per step. A single process notices signals only
        if the block runs in the main thread.
    """
    if jax.process_count() > 1:
        with _handling({signal.SIGINT: signal.SIG_IGN}):
            yield lambda step: multihost_utils.reached_preemption_sync_point(
                next(_calls)
            )
        return
    stop = threading.Event()

    def handle(number, frame):
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        if stop.is_set():
            return
        stop.set()
        text = f'{signal.Signals(number).name}: saving and stopping ...\n'
        # Not print: the signal may have interrupted a print.
        os.write(2, text.encode())

    with _handling({signal.SIGTERM: handle, signal.SIGINT: handle}):
        yield lambda step: stop.is_set()


@contextlib.contextmanager
def _handling(handlers: dict[signal.Signals, Handler]) -> Iterator[None]:
    """Set signal handlers during the block; only the main thread may set them."""
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
    """End this process at once with an exit code, after its run failed.

    Printed text is written out, but no `finally` runs. An orderly exit would wait for
    the other processes, which wait for this one.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
