"""The process of one trial: `python -m jaxvision.cli.sweep.process FOLDER UNTIL`.

FOLDER is the folder of a trial with its `trial.json`. UNTIL is an interval or 'end'. The process
trains, writes `result.json` and exits with 0. It exits with 75 if a signal stopped it. Its
standard input is a pipe from the process that started it. The trial saves and stops if that
process dies.
"""

import contextlib
import fcntl
import math
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from jaxvision.cli import invocation
from jaxvision.cli.sweep import records
from jaxvision.cli.sweep.records import Record
from jaxvision.cli.sweep.trial import Outcome, trial
from jaxvision.core.config import stored
from jaxvision.core.errors import Diverged, UserError
from jaxvision.core.fields import Config

STOPPED = 75  # as of `jaxvision train`
_SECONDS_BETWEEN_LOOKS = 0.1
_KEPT = {records.SETTINGS, records.LOG, records.LOCK}


def main(arguments: list[str]) -> int:
    """Train the trial in a folder, and return the exit code.

    Args:
        arguments: the folder, and an interval or 'end'.
    """
    folder = Path(arguments[0])
    until = arguments[1]
    stop_with_parent()
    with held(folder):
        return invocation.run(lambda: _run(folder, until))


def stop_with_parent() -> None:
    """Send SIGTERM to this process when the pipe of its standard input ends."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock the folder of a trial, after another process of the same trial has ended."""
    with (folder / records.LOCK).open('w') as file:
        with contextlib.suppress(OSError):  # The file system has no locks.
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def wait_until_free(folders: Iterable[Path], seconds: float) -> bool:
    """Wait until no process holds the folders of trials.

    Args:
        folders: the folders, which have begun.
        seconds: the longest time to wait, at least 0.

    Returns:
        Whether all are free. False: the time is over, or the file system has no locks.
    """
    end = time.monotonic() + seconds
    try:
        for folder in folders:
            while not _is_free(folder):
                if time.monotonic() >= end:
                    return False
                time.sleep(_SECONDS_BETWEEN_LOOKS)
    except OSError:
        return False
    return True


def _is_free(folder: Path) -> bool:
    """Whether no process holds the folder of a trial."""
    with (folder / records.LOCK).open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _run(folder: Path, until: str) -> int:
    """Train, unless another process has done it, and write the result."""
    before = records.read(folder) or Record()
    if before.has_ended(until):
        return 0
    start = time.monotonic()
    settings = records.read_settings(folder)
    config = stored(settings['config'])
    _start(config)
    evaluations = dict(before.evaluations)
    error_text = ''
    try:
        outcome = _train(config, folder, until, settings['measure_test'])
    except Diverged as error:
        error_text = str(error)
    else:
        if not outcome.finished:
            return STOPPED
        evaluations[until] = outcome.metrics
        error_text = _not_finite(outcome)
    record = Record(
        state=records.DIVERGED if error_text else records.TRAINED,
        evaluations=evaluations,
        seconds=before.seconds + time.monotonic() - start,
        error=error_text,
    )
    records.write(folder, record)
    return 0


def _not_finite(outcome: Outcome) -> str:
    """The error of a trial whose metric is not finite; '' if the metric is finite."""
    name = outcome.metric.removeprefix('-')
    if math.isfinite(outcome.metrics.get(name, 0.0)):
        return ''
    return f'{name} is not finite at step {outcome.step}'


def _start(config: Config) -> None:
    from jaxvision.cli.runtime import split_cpu, start_jax

    split_cpu(config)
    start_jax(config)


def _train(config: Config, folder: Path, until: str, measure_test: bool) -> Outcome:
    """Train or continue a trial. One with a damaged file begins again."""
    interval = '' if until == records.END else until
    has_begun = (folder / 'config.json').exists()
    if not _train_auxiliary(config, folder):
        return Outcome(finished=False, step=0, metric='', metrics={})
    try:
        return trial(config, folder, until=interval, measure_test=measure_test)
    except Diverged:
        raise
    except UserError as error:  # A file of the trial is damaged.
        if not has_begun:
            raise
        print(f'{error}\nThe trial begins again.', flush=True)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in _KEPT:
            path.unlink()
    return trial(config, folder, until=interval, measure_test=measure_test)


def _train_auxiliary(config: Config, folder: Path) -> bool:
    """Train the auxiliary networks of a task, and return whether they are finished.

    The trials of a sweep share the networks, so one trial trains them.
    """
    from jaxvision.train.saved import required_networks

    if not required_networks(config):
        return True
    from jaxvision.train import loop

    with held(folder.parent):
        return loop.train_auxiliary(config, folder)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
