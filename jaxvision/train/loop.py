"""The one training loop: build, restore, step, log, evaluate, save."""

import contextlib
import dataclasses
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, cast

import jax

from jaxvision.core.config import check
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.state import TrainState
from jaxvision.core.task import Predictor, Task
from jaxvision.core.types import Json
from jaxvision.data import pipeline
from jaxvision.train import auxiliary, evaluation, fitting, processes, sharding
from jaxvision.train.checkpoints import Checkpoints
from jaxvision.train.run import Run, begin, check_best, held, reopen, take_folder
from jaxvision.train.writers import Metrics, Progress, Row, duration, read_rows
from jaxvision.viz import figures

LAG = 2  # steps between a scalar's computation and its reading: the host never waits for the device


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """How a call of `run` ended.

    Attributes:
        finished: False: a signal stopped the run, and everything is saved.
        trained: False: the run had been finished before.
        step: the last step.
        metrics: of the last evaluation.
        best: the metric whose best checkpoint is kept, '' if there is none.
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
            if first < this.total_steps:
                _say_start(this, state)
                state, rows = _train(this, state, checkpoints, asked, on_eval)
            elif is_new:
                rows = _keep_fitted(this, state, checkpoints, on_eval)
            else:
                rows = read_rows(this.workdir / 'metrics.jsonl')
    step = int(state.step)
    if first < step and processes.is_first():
        figures.save(this.workdir / 'figures' / 'curves.png', figures.curves(rows))
        processes.say(f'{step - first} steps in {duration(time.monotonic() - start)}')
    return Result(
        finished=step >= this.total_steps,
        trained=is_new or first < step,
        step=step,
        metrics=_last_evaluation(this.task, rows),
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
    workdir: str | Path, step: str | int = 'last', config: Config | None = None
) -> tuple[int, dict[str, float]]:
    """Evaluate a checkpoint of a run, and draw its figures; (step, metrics).

    `config`, if given, may differ from the run's in where the data are and how they are read.
    """
    this = reopen(Path(workdir), config)
    state = this.restore(step)
    found, records = evaluation.measure(this, state)
    evaluation.draw(this, records)
    return int(state.step), found


def _train(
    this: Run,
    state: TrainState,
    checkpoints: Checkpoints,
    asked: Callable[[int], bool],
    on_eval: OnEvaluation | None,
) -> tuple[TrainState, list[Row]]:
    first = int(state.step)
    records = {}
    with (
        Metrics(this.workdir, first) as metrics,
        train_batches(this, first) as batches,
        _profile(this) as profile,
    ):
        progress = Progress(first, this.total_steps, this.config.data.batch_size)
        scalars = _LaggedScalars(this, metrics, progress)
        best = max(
            [
                score
                for row in metrics.rows
                if (score := checkpoints.score(row)) is not None
            ],
            default=-float('inf'),
        )
        for step, batch in enumerate(batches, first + 1):
            profile(step)
            state, values = this.update(state, batch)
            scalars.push(step, values)
            if step == first + 1:
                scalars.drain()
                progress.restart(step)  # compilation is no training speed
            # Asked once: a signal that comes while the state is saved waits a step.
            stopping = asked(step)
            if not (
                this.is_due('eval', step) or this.is_due('checkpoint', step) or stopping
            ):
                continue
            scalars.drain()
            found = {}
            if this.is_due('eval', step):
                found, records = evaluation.measure(this, state)
                check_best(this, found)
                metrics.write(step, found)
                if this.task.watch:
                    evaluation.draw(this, records, step)
            score = checkpoints.score(found)
            improved = processes.of_first(score is not None and score > best)
            if improved:
                best = cast(float, score)
            if this.is_due('checkpoint', step) or improved or stopping:
                metrics.flush()
                checkpoints.save(state, _origin(this), found)
            if found and on_eval:
                on_eval(step, found)
            if stopping:
                break
            progress.restart(step)
        checkpoints.wait()
    if step == this.total_steps:
        evaluation.draw(this, records)
    return state, metrics.rows


def _keep_fitted(
    this: Run, state: TrainState, checkpoints: Checkpoints, on_eval: OnEvaluation | None
) -> list[Row]:
    """Evaluate and save a state that has no steps to go."""
    with Metrics(this.workdir, 0) as metrics:
        found, records = evaluation.measure(this, state)
        metrics.write(0, found)
        metrics.flush()
        checkpoints.save(state, _origin(this), found)
        checkpoints.wait()
    if on_eval:
        on_eval(0, found)
    evaluation.draw(this, records)
    return metrics.rows


def _origin(this: Run) -> Json:
    """What a checkpoint tells of its run."""
    return {'config': this.config.to_dict(), 'data': dict(this.spec.data)}


class _LaggedScalars:
    """Reads each step's scalars some steps later, writes those that are due, and stops the run at a
    step that was not finite."""

    def __init__(self, this: Run, metrics: Metrics, progress: Progress):
        self._run, self._metrics, self._progress = this, metrics, progress
        self._pending = deque()

    def push(self, step: int, scalars: dict[str, jax.Array]) -> None:
        self._pending.append((step, scalars))
        if len(self._pending) > LAG:
            self._read(*self._pending.popleft())

    def drain(self) -> None:
        while self._pending:
            self._read(*self._pending.popleft())

    def _read(self, step: int, scalars: dict[str, jax.Array]) -> None:
        jax.block_until_ready(scalars)
        if self._pending and not self._run.is_due('log', step):
            return
        values = {name: float(value) for name, value in jax.device_get(scalars).items()}
        bad_step = int(values.pop('bad_step'))
        if bad_step >= 0:
            rows = pipeline.rows(
                self._run.config.seed,
                self._run.spec.examples,
                self._run.config.data.batch_size,
                bad_step,
            )
            raise UserError(
                f'step {bad_step + 1} is not finite: its loss or gradient is infinite or NaN. '
                f'The checkpoints before it are kept. Its examples: {rows.tolist()}. '
                'A lower optimizer.lr, optimizer.clip=1 or a longer warmup usually mends it'
            )
        if not self._run.is_due('log', step):
            return
        speed = self._progress.images_per_second(step)
        self._metrics.write(
            step,
            {
                **{f'train/{name}': value for name, value in values.items()},
                'perf/images_per_second': speed,
            },
        )
        self._progress.show(
            step,
            {name: value for name, value in values.items() if name.endswith('loss')},
            speed,
        )


def _last_evaluation(task: Task, rows: list[Row]) -> dict[str, float]:
    names = tuple(f'{name}/' for name in task.evaluations)
    evaluated = [
        {name: value for name, value in row.items() if name.startswith(names)}
        for row in rows
    ]
    return next((row for row in reversed(evaluated) if row), {})


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
