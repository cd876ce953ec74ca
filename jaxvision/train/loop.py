"""The one training loop: build, restore, step, log, evaluate, save."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import jax

from jaxvision.core.config import check
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.files import write_json
from jaxvision.core.state import TrainState
from jaxvision.core.task import Predictor
from jaxvision.core.types import Json, Records, Split
from jaxvision.data import pipeline
from jaxvision.train import auxiliary, evaluation, fitting, processes, sharding
from jaxvision.train.checkpoints import Checkpoints
from jaxvision.train.run import Run, begin, check_best, held, reopen, take_folder
from jaxvision.train.scalars import LaggedScalars
from jaxvision.train.selection import Selection
from jaxvision.train.writers import Metrics, Progress, Row, duration, read_rows
from jaxvision.viz import figures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """How a call of `run` ended.

    Attributes:
        finished: False: a signal stopped the run, and everything is saved.
        trained: False: the run had been finished before.
        step: the last step.
        metrics: of the last evaluations, 'best/...' of the selected checkpoint.
        best: the metric that selects the best checkpoint, '' if there is none.
        predictor: what `predict` does with the run.
        inputs: the names of the arrays that `Task.predict` takes.
    """

    finished: bool
    trained: bool = True
    step: int = 0
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    best: str = ''
    predictor: Predictor = 'none'
    inputs: tuple[str, ...] = ()


# `(step, metrics)`, called after each evaluation.
OnEvaluation = Callable[[int, dict[str, float]], Any]


def run(
    config: Config, workdir: str | Path, on_eval: OnEvaluation | None = None
) -> Result:
    """Train until `train.steps`, from the last checkpoint in `workdir` if there is one.

    Args:
        config: of the run.
        workdir: its folder.
        on_eval: called after each evaluation. An exception of it ends the run.

    Raises:
        UserError: A field is wrong, the data changed, or a step is not finite.
    """
    start = time.monotonic()
    check(config)
    for network in auxiliary.trainings(config, Path(workdir)):
        processes.say(
            f'required network {network.name!r}, kept in {network.folder} when trained'
        )
        if not run(network.config, network.folder).finished:
            return Result(finished=False)
        processes.say('')
    with processes.stop_signal() as asked:
        this = begin(config, Path(workdir))
        with held(this.workdir), this.checkpoints() as checkpoints:
            take_folder(this)
            processes.agree('checkpoints', {'steps': checkpoints.steps()})
            is_new = not checkpoints.steps()
            if is_new:
                state = fitting.solve(this, this.init())
            else:
                state = checkpoints.restore(this.abstract(), checkpoints.find())
            first = int(state.step)
            rows = read_rows(this.workdir / 'metrics.jsonl')
            finished = not is_new and _is_finished(this, checkpoints, rows, first)
            if not finished:
                state, rows, finished = _continue(
                    this, state, checkpoints, asked, on_eval
                )
    step = int(state.step)
    if first < step and processes.is_first():
        figures.save(this.workdir / 'figures' / 'curves.png', figures.curves(rows))
        processes.say(f'{step - first} steps in {duration(time.monotonic() - start)}')
    return Result(
        finished=finished,
        trained=is_new or first < step,
        step=step,
        metrics=_last_metrics(rows),
        best=this.best,
        predictor=this.task.predictor,
        inputs=tuple(this.spec.inputs),
    )


def _say_start(this: Run, state: TrainState) -> None:
    step = int(state.step)
    if step:
        processes.say(f'resuming at step {step}')
        return
    processes.say(
        f'{_size(state)} parameters, {this.spec.examples:,} examples, '
        f'{this.total_steps} steps; {_where(this)}compiling ...'
    )


def evaluate(
    workdir: str | Path,
    step: str | int = 'last',
    config: Config | None = None,
    *,
    split: Split = 'test',
    out: str | Path | None = None,
) -> tuple[int, dict[str, float]]:
    """Evaluate a checkpoint of a run, which itself stays as it is.

    The metrics and the task's figures are written into a folder of their own.

    Args:
        workdir: the run's folder.
        step: 'last', 'best' or the number of a checkpoint.
        config: the run's, but for where the data are and how they are read.
        split: 'test' or 'validation'.
        out: the folder of the results; None: eval/STEP-SPLIT in the run's folder.

    Returns:
        (the step, the metrics).

    Raises:
        UserError: There is no such run, checkpoint or split, or `out` cannot be written.
    """
    this = reopen(Path(workdir), config)
    if split not in this.spec.data:
        raise UserError(f'{workdir} has no validation split: expected --split test')
    state = this.restore(step)
    number = int(state.step)
    metrics, records = evaluation.measure(this, state, split)
    folder = Path(out) if out else this.workdir / 'eval' / f'{number}-{split}'
    if not processes.is_first():
        return number, metrics
    try:
        folder.mkdir(parents=True, exist_ok=True)
        report = {'step': number, 'split': split, 'metrics': metrics}
        write_json(folder / 'metrics.json', report)
    except OSError as error:
        if out:
            raise UserError(f'--out={out}: {error.strerror}') from error
        processes.say(
            f'{folder} cannot be written ({error.strerror}), so the metrics are here alone. '
            'Give --out DIR to keep them and the pictures'
        )
        return number, metrics
    evaluation.draw(this, records, split, folder)
    processes.say(f'in {folder}: metrics.json and the pictures')
    return number, metrics


def _is_finished(
    this: Run, checkpoints: Checkpoints, rows: Sequence[Row], step: int
) -> bool:
    """Whether a run that was saved at this step has ended, and its test split is measured."""
    selection = Selection.of(checkpoints, rows)
    has_ended = step >= this.total_steps or selection.has_waited(this.patience)
    is_measured = this.monitored == 'test' or any('best/step' in row for row in rows)
    return has_ended and is_measured


def _continue(
    this: Run,
    state: TrainState,
    checkpoints: Checkpoints,
    asked: Callable[[int], bool],
    on_eval: OnEvaluation | None,
) -> tuple[TrainState, list[Row], bool]:
    """Train to the end, then measure the test split, unless a signal stops the training.

    Args:
        this: the run.
        state: the state that it goes on from.
        checkpoints: its checkpoints.
        asked: `asked(step)`, whether a signal asks to stop after this step.
        on_eval: called after each evaluation.

    Returns:
        (the last state, the rows of metrics.jsonl, whether the run is finished).
    """
    step = int(state.step)
    records = {}
    is_stopped = False
    with Metrics(this.workdir, step) as metrics:
        selection = Selection.of(checkpoints, metrics.rows)
        training = _Training(this, checkpoints, metrics, selection, on_eval)
        if not this.total_steps:
            records = training.evaluate(state)
            checkpoints.wait()
        elif step < this.total_steps and not selection.has_waited(this.patience):
            _say_start(this, state)
            state, records, is_stopped = training.train(state, asked)
        if is_stopped:
            return state, metrics.rows, False
        if this.monitored == 'validation':
            records = training.measure_test(state)
        if records:
            evaluation.draw(this, records, 'test', this.workdir / 'figures')
    return state, metrics.rows, True


@dataclasses.dataclass(frozen=True)
class _Training:
    """The steps of a run, and what is written about them.

    Attributes:
        run: the run.
        checkpoints: where states are saved.
        metrics: where rows are written.
        selection: the best score so far.
        on_eval: called after each evaluation.
    """

    run: Run
    checkpoints: Checkpoints
    metrics: Metrics
    selection: Selection
    on_eval: OnEvaluation | None

    def train(
        self, state: TrainState, asked: Callable[[int], bool]
    ) -> tuple[TrainState, Records, bool]:
        """Take steps until the last one, a signal, or the end of patience.

        Returns:
            (the last state, the records of its evaluation, whether a signal stopped it).
        """
        this = self.run
        first = int(state.step)
        records = {}
        is_stopping = False
        has_ended = False
        with train_batches(this, first) as batches, _profile(this) as profile:
            progress = Progress(first, this.total_steps, this.config.data.batch_size)
            scalars = LaggedScalars(this, self.metrics, progress)
            for step, batch in enumerate(batches, first + 1):
                profile(step)
                state, values = this.update(state, batch)
                scalars.push(step, values)
                if step == first + 1:
                    scalars.drain()
                    progress.restart(step)  # compilation is no training speed
                # Asked once: a signal that comes while the state is saved waits a step.
                is_stopping = asked(step)
                is_evaluated = this.is_due('eval', step)
                is_saved = this.is_due('checkpoint', step) or is_stopping
                if not is_evaluated and not is_saved:
                    continue
                scalars.drain()
                if is_evaluated:
                    records = self.evaluate(state, is_saved)
                else:
                    self.save(state, {})
                has_ended = self.selection.has_waited(this.patience)
                if is_stopping or has_ended:
                    break
                progress.restart(step)
            self.checkpoints.wait()
        has_ended = has_ended or step == this.total_steps
        return state, records, is_stopping and not has_ended

    def evaluate(self, state: TrainState, is_saved: bool = True) -> Records:
        """Evaluate a state during training, and save it if it is due or the best so far.

        Args:
            state: the state.
            is_saved: whether it is due to be saved.

        Returns:
            The records of the main evaluation.
        """
        this = self.run
        step = int(state.step)
        split = this.monitored
        metrics, records = evaluation.measure(this, state, split)
        check_best(this, [name.partition('/')[2] for name in metrics])
        self.metrics.write(step, metrics)
        if this.task.watch:
            evaluation.draw(this, records, split, this.workdir / 'figures', step)
        improved = self.selection.improves(step, self.checkpoints.score(metrics))
        if is_saved or improved or self.selection.has_waited(this.patience):
            self.save(state, metrics)
        if self.on_eval:
            self.on_eval(step, metrics)
        return records

    def save(self, state: TrainState, metrics: dict[str, float]) -> None:
        """Save a state, after its metrics are on the disk."""
        self.metrics.flush()
        self.checkpoints.save(state, _origin(self.run), metrics)

    def measure_test(self, state: TrainState) -> Records:
        """Measure the test split once, for the last and for the selected checkpoint.

        Returns:
            The records of the main evaluation of the last one.
        """
        last = int(state.step)
        best = self.checkpoints.find('best') if self.checkpoints.has_best() else last
        row, records = evaluation.measure(self.run, state, 'test')
        of_best = row
        if best != last:
            selected = self.checkpoints.restore(self.run.abstract(), best)
            of_best, _ = evaluation.measure(self.run, selected, 'test')
        for name, value in of_best.items():
            row = {**row, f'best/{name.removeprefix("eval/")}': value}
        self.metrics.write(last, {**row, 'best/step': best})
        self.metrics.flush()
        return records


def _origin(this: Run) -> Json:
    """What a checkpoint tells of its run."""
    return {'config': this.config.to_dict(), 'data': dict(this.spec.data)}


def _last_metrics(rows: Iterable[Row]) -> dict[str, float]:
    """The last value of each metric of an evaluation."""
    prefixes = ('validation/', 'eval/', 'best/')
    return {
        name: value
        for row in rows
        for name, value in row.items()
        if name.startswith(prefixes)
    }


def _where(this: Run) -> str:
    if this.mesh.size == 1:
        return ''
    devices = f'{this.mesh.size} devices (sharding.txt tells what is where); '
    count = jax.process_count()
    return devices if count == 1 else f'{count} processes, {devices}'


def _size(state: TrainState) -> str:
    def size(tree):
        return f'{sum(leaf.size for leaf in jax.tree.leaves(tree)):,}'

    stays = state.frozen.get('params')
    return size(state.params) + (f' trained and {size(stays)} frozen' if stays else '')


@contextlib.contextmanager
def train_batches(this: Run, first: int) -> Iterator:
    """The run's batches after step `first`, on its devices."""
    config = this.config.data
    batches = pipeline.train_batches(
        this.sources['train'],
        this.task.prepare,
        seed=this.config.seed,
        batch_size=config.batch_size,
        start=first,
        stop=this.total_steps,
        process=(jax.process_index(), jax.process_count()),
        threads=config.threads,
        on_corrupt=config.on_corrupt,
        counter=this.unreadable,
    )
    with contextlib.closing(cast(Generator, batches)):
        yield sharding.prefetch(this.mesh, batches)


@contextlib.contextmanager
def _profile(this: Run) -> Iterator[Callable[[int], None]]:
    """Traces the steps 'FIRST:LAST' of train.profile into the run's folder."""
    first, _, last = this.config.train.profile.partition(':')
    running = False

    def profile(step: int) -> None:
        nonlocal running
        if first and step == int(first) and processes.is_first():
            jax.profiler.start_trace(this.workdir / 'profile')
            running = True
        elif running and step == int(last) + 1:
            jax.profiler.stop_trace()
            running = False

    try:
        yield profile
    finally:
        if running:
            jax.profiler.stop_trace()
