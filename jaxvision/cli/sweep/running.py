"""Run a sweep on this machine or on a Ray cluster, and report it."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from jaxvision.cli.sweep import (
    asynchronous,
    hparams,
    journal,
    page,
    pool,
    ray_engine,
    records,
    report,
    retest,
    schedule,
)
from jaxvision.cli.sweep.definition import Sweep
from jaxvision.cli.sweep.pool import Engine, Job, Pool
from jaxvision.cli.sweep.ray_engine import RayEngine
from jaxvision.cli.sweep.records import Record
from jaxvision.cli.sweep.space import Point
from jaxvision.core.errors import UserError
from jaxvision.viz.tables import Row, Table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """The part of a sweep that a command runs.

    Attributes:
        workers: number of trials at a time; None: as many as the machines have room for.
        address: of the Ray cluster that runs the trials; '': this machine runs them.
        trial: the number of the only trial to run; None: all.
        retest: number of new seeds with which the best settings are tested; 0: none.
        top: number of trials that are tested.
        optuna: a file for the journal of Optuna; '': none.
    """

    workers: int | None = None
    address: str = ''
    trial: int | None = None
    retest: int = 0
    top: int = 1
    optuna: str = ''


def run(sweep: Sweep, request: Request) -> bool:
    """Run all trials of a sweep or one of them, and write the report.

    Args:
        sweep: the sweep, whose folder holds its `sweep.json`.
        request: what to run.

    Returns:
        Whether it is finished. False: a signal stopped it, and everything is saved.

    Raises:
        UserError: Every trial failed.
    """
    from jaxvision.train import processes

    progress = Progress(sweep)
    if request.address:
        # Before the signals are handled here, because Ray also sets a handler.
        ray_engine.connect(request.address)
    with processes.stop_signal() as asked:
        engine = _engine(sweep, request, lambda: asked(0))
        if request.trial is not None:
            return run_one(sweep, request.trial, engine, progress)
        progress.begin()
        try:
            if sweep.asynchronous and isinstance(engine, RayEngine):
                is_finished = asynchronous.run(sweep, engine, progress.ended)
            else:
                is_finished = schedule.run(sweep, engine, progress.ended)
        finally:
            report.write_table(sweep)
        if not is_finished:
            return False
        if request.retest and not _retest(sweep, request, engine):
            return False
    finish(sweep, request.optuna)
    return True


def _engine(sweep: Sweep, request: Request, asked: Callable[[], bool]) -> Engine:
    """Make the engine of a sweep."""
    threads = max(1, sweep.config.parallel.cpu_devices)
    if not request.address:
        return Pool(request.workers or default_workers(threads), threads, asked)
    return RayEngine(
        folder=sweep.folder, workers=request.workers, threads=threads, asked=asked
    )


def default_workers(threads: int) -> int:
    """The number of trials at a time: one per GPU, or else as the cores allow.

    Args:
        threads: threads of a trial.
    """
    gpus = [gpu for gpu in pool.visible_gpus(dict(os.environ)) if gpu]
    if gpus:
        return len(gpus)
    cores = os.cpu_count() or 1
    if hasattr(os, 'sched_getaffinity'):
        cores = len(os.sched_getaffinity(0))
    return max(1, cores // threads)


def report_folder(sweep: Sweep, optuna: str = '') -> int:
    """Print and write the report of a sweep, which may still run.

    Args:
        sweep: the sweep.
        optuna: a file for the journal of Optuna; '': none.

    Returns:
        The exit code, 0.
    """
    Progress(sweep).begin()
    finish(sweep, optuna)
    return 0


def finish(sweep: Sweep, optuna: str = '') -> None:
    """Write the files of the report, and print what they hold.

    Args:
        sweep: the sweep.
        optuna: a file for the journal of Optuna; '': none.
    """
    report.write_table(sweep)
    page.write(sweep)
    hparams.write(sweep)
    if optuna:
        journal.write(sweep, Path(optuna))
    names = [report.TABLE, page.NAME]
    number = report.best(sweep)
    if number is not None:
        report.write_best(sweep, number)
        names.append(report.BEST)
        print(f'\nbest on the validation split: {report.title(sweep, number)}')
        _print_test(sweep)
    print(f'in {sweep.folder}: {", ".join(names)}')
    if optuna:
        print(f'the study of Optuna: {optuna}')


def _print_test(sweep: Sweep) -> None:
    """Print the results of the best settings on the test split, if they were tested."""
    tested, seeds = retest.read_tested(sweep)
    if not tested:
        print(
            'Its score there is that of the luckiest trial, and is too good. --retest 3 '
            'measures it on the test split.'
        )
        return
    print('\non the test split, trained again with new seeds:')
    results = retest.summaries(sweep, tested, seeds)
    table = Table('settings', [each.name for each in results])
    for row in retest.rows(sweep, results):
        cells: Row = {column: text for column, text in row.items()}
        table.print([cells])


class Progress:
    """A table on the screen with a line for each trial that ended.

    With halving, a trial has a line for each rung.
    """

    def __init__(self, sweep: Sweep):
        """Print nothing yet.

        Args:
            sweep: the sweep.
        """
        self._sweep = sweep
        self._table = Table('trial', map(str, range(sweep.trials)))
        self._total = sum(sweep.rungs.kept(sweep.trials))
        self._done = 0

    def begin(self) -> None:
        """Print the trials that have ended before."""
        points = report.points(self._sweep)
        rows = []
        for number, record in schedule.read(self._sweep).items():
            if number in points:
                self._done += max(len(record.evaluations), 1)
                rows.append(self._row(number, points[number], record))
        self._table.print(rows)

    def ended(self, job: Job, record: Record) -> None:
        """Print the line of a trial that ended."""
        settings = records.read_settings(job.folder)
        number = settings['number']
        self._done += 1
        self._table.print([self._row(number, settings['parameters'], record)])

    def _row(self, number: int, point: Point, record: Record) -> Row:
        row = dict(report.row(self._sweep, number, point, record))
        row['done'] = f'{self._done}/{self._total}'
        if self._sweep.asynchronous and self._sweep.rungs.factor:
            # How many trials reach a rung is known at the end.
            row['done'] = self._done
        if record.error:
            row[None] = record.error
        return row


def _retest(sweep: Sweep, request: Request, engine: Engine) -> bool:
    """Test the best settings with new seeds, and return whether that is finished."""
    tested = retest.candidates(sweep, request.top)
    seeds = retest.seeds(sweep, request.retest)
    count = len(tested) * len(seeds)
    listed = ', '.join(map(str, seeds))
    print(f'\n{count} trainings for the test split, with seeds {listed}', flush=True)

    def ended(job: Job, record: Record) -> None:
        print(f'{job.folder.name}: {record.error or record.state}', flush=True)

    return retest.run(sweep, tested, seeds, engine, ended)


def run_one(sweep: Sweep, number: int, engine: Engine, progress: Progress) -> bool:
    """Run one trial to its end, beside other processes that run other trials."""
    point = sweep.points()[number]
    folder = sweep.prepare(number, point)
    records.forget_failure(folder)
    job = Job(folder, records.END)
    record = records.read(folder)
    if record and record.has_ended(records.END):
        progress.ended(job, record)
        return True
    if not engine([job], progress.ended):
        return False
    record = records.read(folder)
    if record and record.state == records.FAILED:
        raise UserError(f'trial {number} failed: {record.error}')
    return True
