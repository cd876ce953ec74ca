"""Trials as processes of one parent on one machine.

The parent alone decides what runs. A trial is a function of its folder, so a killed one is started
again and continues from its checkpoint.
"""

import collections
import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from jaxvision.cli.sweep import records
from jaxvision.cli.sweep.records import Record

# The program of a trial. It takes the folder of the trial, and an interval or 'end'.
PROGRAM = (sys.executable, '-m', 'jaxvision.cli.sweep.process')
STOPPED = 75
# Starts of a trial that signals ended, before it counts as failed.
MOST_STARTS = 10
_SECONDS_BETWEEN_LOOKS = 0.05


@dataclasses.dataclass(frozen=True)
class Job:
    """A part of a trial to train.

    Attributes:
        folder: the folder of the trial, with its trial.json.
        until: an interval, such as '5000 examples', or 'end'.
    """

    folder: Path
    until: str


# Runs jobs, calls `(job, record)` for each that ended, and returns whether all have. False:
# a signal stopped them, and they are saved.
Engine = Callable[[Sequence[Job], Callable[[Job, Record], None]], bool]


class Pool:
    """An engine that runs jobs as processes of this machine."""

    def __init__(
        self,
        workers: int,
        threads: int,
        asked: Callable[[], bool],
        program: Sequence[str] = PROGRAM,
    ):
        """Start nothing yet.

        Args:
            workers: number of processes at a time.
            threads: threads of each process, one for each of its CPU devices.
            asked: whether a signal asks to stop.
            program: the program of a trial and its first arguments.
        """
        self._workers = workers
        self._threads = threads
        self._asked = asked
        self._program = program

    def __call__(
        self, jobs: Sequence[Job], ended: Callable[[Job, Record], None]
    ) -> bool:
        """Run jobs, as many at a time as there are workers.

        Args:
            jobs: the jobs, which are started in this order.
            ended: called for each job that ended, in the order of their ends.

        Returns:
            Whether all jobs ended. False: a signal stopped them, and they are saved.
        """
        waiting = collections.deque(jobs)
        starts = collections.Counter()
        running: dict[Job, subprocess.Popen] = {}
        slots: dict[Job, int] = {}
        try:
            while (waiting or running) and not self._asked():
                while waiting and len(running) < self._workers:
                    job = waiting.popleft()
                    starts[job] += 1
                    taken = {slots[other] for other in running}
                    free = set(range(self._workers)) - taken
                    slots[job] = min(free)
                    running[job] = self._start(job, slots[job])
                for job, process in list(running.items()):
                    if process.poll() is None:
                        continue
                    del running[job]
                    _close(process)
                    record = _result(job, process.returncode, starts[job])
                    if record is None:
                        waiting.appendleft(job)
                    else:
                        ended(job, record)
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            _stop(running.values())
        return not waiting and not running

    def _start(self, job: Job, slot: int) -> subprocess.Popen:
        """Start the process of a job, with its output in a file of its folder."""
        with (job.folder / records.LOG).open('a') as log:
            return subprocess.Popen(
                [*self._program, str(job.folder), job.until],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(slot, self._workers, self._threads),
                # Ctrl-C reaches the parent alone, which stops the trials.
                start_new_session=True,
            )


def environment(slot: int, workers: int, threads: int) -> dict[str, str]:
    """The environment of a trial: a fixed number of threads, and one of the GPUs.

    Args:
        slot: the number of the worker, from 0.
        workers: number of workers.
        threads: threads of the trial.
    """
    variables = dict(os.environ)
    # XLA splits sums by its number of threads, which are as many as the cores without this.
    variables['NPROC'] = str(threads)
    # Libraries on the host, such as OpenBLAS.
    variables['OMP_NUM_THREADS'] = str(threads)
    gpus = [gpu for gpu in visible_gpus(variables) if gpu]
    if gpus:
        variables['CUDA_VISIBLE_DEVICES'] = gpus[slot % len(gpus)]
        sharing = -(-workers // len(gpus))
        fraction = f'{0.9 / sharing:.3f}'
        variables.setdefault('XLA_PYTHON_CLIENT_MEM_FRACTION', fraction)
    return variables


def visible_gpus(variables: dict[str, str]) -> list[str]:
    """List the names of the GPUs that CUDA shows, by the environment or by the system."""
    if 'CUDA_VISIBLE_DEVICES' in variables:
        return variables['CUDA_VISIBLE_DEVICES'].split(',')
    names = [path.name for path in Path('/dev').glob('nvidia[0-9]*')]
    return [str(place) for place in range(len(names))]


def _result(job: Job, code: int, starts: int) -> Record | None:
    """The result of a process that ended; None: it is to be started again."""
    record = records.read(job.folder)
    if record and record.has_ended(job.until):
        return record
    is_killed = code < 0 or code == STOPPED
    if is_killed and starts < MOST_STARTS:
        return None
    error = last_error(job.folder / records.LOG) or f'exit code {code}'
    if is_killed:
        error = f'stopped by signals {MOST_STARTS} times. {error}'
    before = record or Record()
    failed = dataclasses.replace(before, state=records.FAILED, error=error)
    records.write(job.folder, failed)
    return failed


def last_error(log: Path) -> str:
    """The last line that a process printed, without its prefix; '' if there is none."""
    try:
        lines = log.read_text(errors='replace').strip().splitlines()
    except FileNotFoundError:
        return ''
    return re.sub('^error: ', '', lines[-1]) if lines else ''


def _stop(processes: Iterable[subprocess.Popen]) -> None:
    """Let processes save and stop, and wait for them. An interrupt kills them."""
    processes = list(processes)
    try:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait()
    except KeyboardInterrupt:
        for process in processes:
            process.kill()
        raise
    finally:
        for process in processes:
            _close(process)


def _close(process: subprocess.Popen) -> None:
    if process.stdin:
        process.stdin.close()
