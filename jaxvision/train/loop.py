"""The one training loop: build, restore, step, log, evaluate, save."""

import contextlib
import dataclasses
import json
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxvision import figures
from jaxvision.config import difference, in_examples, is_free, resolve, steps
from jaxvision.data import pipeline
from jaxvision.data.sources import Source, open_source
from jaxvision.errors import UserError
from jaxvision.task import Task
from jaxvision.train import sharding
from jaxvision.train.checkpoints import Checkpoints
from jaxvision.train.state import TrainState
from jaxvision.train.update import guarded
from jaxvision.train.writers import Metrics, Progress, duration, read_json, write_json

LAG = 2  # steps between a scalar's computation and its reading: the host never waits for the device


class Sources(dict):
    """Each split's source as the task sees it, opened when it is first asked for, and checked to be
    the data that the run began with."""

    def __init__(self, config: ConfigDict, fingerprints: dict[str, str]):
        self._config, self._fingerprints = config, fingerprints

    def __missing__(self, split: str) -> Source:
        config, source = self._config, open_source(self._config.data, split)
        if source.info.fingerprint != self._fingerprints.get(split, source.info.fingerprint):
            raise UserError(f'the {split} data of {config.data.source} changed since this run '
                            'began. Bring them back, or begin in another --workdir')
        view = getattr(resolve('tasks', config.task.name), 'source', None)
        self[split] = view(config, source, split) if view else source
        return self[split]


@dataclasses.dataclass(frozen=True)
class Run:
    """A config brought to life in its folder."""
    config: ConfigDict
    workdir: Path
    spec: dict
    task: Task
    sources: Sources
    mesh: jax.sharding.Mesh

    @property
    def total_steps(self) -> int:
        return steps(self.config.train.steps, self.config.data.batch_size, self.spec['examples'])

    def is_due(self, what: str, step: int) -> bool:
        """Whether 'log', 'eval' or 'checkpoint' comes after this step; all do after the last."""
        size = self.config.data.batch_size
        every = in_examples(self.config.train[f'{what}_every'], size, self.spec['examples'])
        passed = every and step * size // every > (step - 1) * size // every
        return bool(passed) or step == self.total_steps

    def init(self) -> TrainState:
        """The state before the first step, whole on every device."""
        make = jax.jit(self.task.init, out_shardings=sharding.whole(self.mesh))
        return make(jax.random.key(self.config.seed), blank_batch(self.spec))

    def abstract(self) -> TrainState:
        """The shapes, dtypes and placement of a state of this run."""
        shapes = jax.eval_shape(self.task.init, jax.random.key(0), blank_batch(self.spec))
        place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding.whole(self.mesh))
        return jax.tree.map(place, shapes)

    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.workdir / 'checkpoints', self.config.train.keep,
                           self.config.train.best)


@dataclasses.dataclass(frozen=True)
class Result:
    finished: bool  # False: a signal stopped the run, and everything is saved
    trained: bool   # False: the run had been finished before
    step: int
    metrics: dict[str, float]  # of the last evaluation


def run(config: ConfigDict, workdir: str | Path,
        on_eval: Callable[[int, dict[str, float]], Any] | None = None) -> Result:
    """Train until `train.steps`, going on from the last checkpoint in `workdir` if there is one.

    `on_eval(step, metrics)` is told of each evaluation; what it raises ends the run.
    """
    start = time.monotonic()
    this = begin(config, Path(workdir))
    with this.checkpoints() as checkpoints, stop_signal() as stop:
        state = checkpoints.restore(this.abstract(), checkpoints.find()) \
            if checkpoints.steps() else this.init()
        first = int(state.step)
        with Metrics(this.workdir, first) as metrics:
            if first < this.total_steps:
                print(f'resuming at step {first}' if first else
                      f'{_size(state.params)} parameters, {this.spec["examples"]:,} examples, '
                      f'{this.total_steps} steps; compiling ...', flush=True)
                state = _train(this, state, checkpoints, metrics, stop, on_eval)
            checkpoints.wait()
            figures.save(this.workdir / 'figures' / 'curves.png', figures.curves(metrics.rows))
            last = _last_evaluation(this.task, metrics.rows)
    step = int(state.step)
    if first < step:
        print(f'{step - first} steps in {duration(time.monotonic() - start)}')
    return Result(step >= this.total_steps, first < step, step, last)


def evaluate(workdir: str | Path, step: str | int = 'last') -> tuple[int, dict[str, float]]:
    """Evaluate a checkpoint of a run, and draw its figures; (step, metrics)."""
    this = reopen(Path(workdir))
    state = restore(this, step)
    return int(state.step), _evaluate(this, _evaluations(this), state)


def load(workdir: Path, step: str | int = 'last') -> tuple[Task, dict, dict]:
    """A run's task, variables and spec."""
    this = reopen(workdir)
    return this.task, restore(this, step).variables, this.spec


def restore(this: Run, step: str | int) -> TrainState:
    with this.checkpoints() as checkpoints:
        return checkpoints.restore(this.abstract(), checkpoints.find(step))


def begin(config: ConfigDict, workdir: Path) -> Run:
    """Open the run's folder: a new one, or an old one whose settings are the same."""
    config.lock()
    settings = config.to_dict()
    known = (workdir / 'config.json').exists()
    if known:
        _check_same(workdir, read_json(workdir / 'config.json'), _as_json(settings))
        this = _build(config, workdir, read_json(workdir / 'spec.json'))
    else:
        this = _build(config, workdir, _as_json(describe(config)))
    this.abstract()  # what cannot be built must not take the folder
    if not known:
        (workdir / 'figures').mkdir(parents=True, exist_ok=True)
        write_json(workdir / 'spec.json', this.spec)
    write_json(workdir / 'config.json', settings)
    return this


def describe(config: ConfigDict) -> dict:
    """The task's spec, with the number of training examples and what tells the data apart."""
    sources = Sources(config, {})
    spec = resolve('tasks', config.task.name).describe(config, sources['train'])
    fingerprints = {split: sources[split].info.fingerprint for split in ('train', 'test')}
    return {**spec, 'examples': len(sources['train']), 'data': fingerprints}


def _check_same(workdir: Path, old: dict, new: dict) -> None:
    lines = difference(old, new)
    barred = [line for line in lines if not is_free(line)]
    if barred:
        raise UserError(f'{workdir} is a run with other settings: {"; ".join(barred)}. '
                        'Give another --workdir, or remove that one')
    for line in lines:
        print(f'now with {line}')


def reopen(workdir: Path) -> Run:
    """The run that a folder holds, as it was trained."""
    config = ConfigDict(read_json(workdir / 'config.json'), convert_dict=True)
    return _build(config, workdir, read_json(workdir / 'spec.json'))


def blank_batch(spec: dict, size: int = 1) -> dict[str, np.ndarray]:
    """A batch of zeros with the spec's inputs and targets."""
    arrays = {**spec['inputs'], **spec['targets']}
    batch = {name: np.zeros((size, *array['shape']), array['dtype'])
             for name, array in arrays.items()}
    return {**batch, 'index': np.arange(size, dtype=np.int32)}


def _build(config: ConfigDict, workdir: Path, spec: dict) -> Run:
    mesh = sharding.make_mesh()
    sharding.check_batch_size(mesh, config.data.batch_size)
    task = resolve('tasks', config.task.name).make(config, spec)
    return Run(config, workdir, spec, task, Sources(config, spec['data']), mesh)


def _train(this: Run, state: TrainState, checkpoints: Checkpoints, metrics: Metrics,
           stop: threading.Event, on_eval: Callable | None) -> TrainState:
    total, first = this.total_steps, int(state.step)
    update = sharding.compile_update(guarded(this.task.update), this.mesh)
    evaluations, progress = _evaluations(this), Progress(first, total, this.config.data.batch_size)
    best = max((s for row in metrics.rows if (s := checkpoints.score(row)) is not None),
               default=-float('inf'))
    scalars = _LaggedScalars(this, metrics, progress)
    with _batches(this, first) as batches, _profile(this) as profile:
        for step, batch in enumerate(batches, first + 1):
            profile(step)
            state, values = update(state, batch)
            scalars.push(step, values)
            if step == first + 1:
                scalars.drain()
                progress.restart(step)  # compilation is no training speed
            stopping = stop.is_set()  # asked once: a signal that comes while it saves waits a step
            if not (this.is_due('eval', step) or this.is_due('checkpoint', step) or stopping):
                continue
            scalars.drain()
            found = {}
            if this.is_due('eval', step):
                found = _evaluate(this, evaluations, state, draw=step == total)
                metrics.write(step, found)
            score = checkpoints.score(found)
            improved = score is not None and score > best
            best = max(best, score) if improved else best
            if this.is_due('checkpoint', step) or improved or stopping:
                metrics.flush()
                checkpoints.save(state, {'config': this.config.to_dict(), 'data': this.spec['data']}, found)
            if found and on_eval:
                on_eval(step, found)
            if stopping:
                break
            progress.restart(step)
    return state


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
            rows = pipeline.rows(self._run.config.seed, self._run.spec['examples'],
                                 self._run.config.data.batch_size, bad_step)
            raise UserError(
                f'step {bad_step + 1} is not finite: its loss or gradient is infinite or NaN. '
                f'The checkpoints before it are kept. Its examples: {rows.tolist()}. '
                'A lower optimizer.lr, optimizer.clip=1 or a longer warmup usually mends it')
        if not self._run.is_due('log', step):
            return
        speed = self._progress.images_per_second(step)
        self._metrics.write(step, {**{f'train/{name}': value for name, value in values.items()},
                                   'perf/images_per_second': speed})
        self._progress.show(
            step, {name: value for name, value in values.items() if name.endswith('loss')}, speed)


def _last_evaluation(task: Task, rows: list[dict]) -> dict[str, float]:
    names = tuple(f'{name}/' for name in task.evaluations)
    evaluated = [{name: value for name, value in row.items() if name.startswith(names)}
                 for row in rows]
    return next((row for row in reversed(evaluated) if row), {})


def _size(params: Any) -> str:
    return f'{sum(leaf.size for leaf in jax.tree.leaves(params)):,}'


def _as_json(value: dict) -> dict:
    """As it comes back from its file: tuples have become lists."""
    return json.loads(json.dumps(value))


def _evaluations(this: Run) -> dict[str, Callable]:
    return {name: sharding.compile_evaluate(evaluation.evaluate, this.mesh)
            for name, evaluation in this.task.evaluations.items()}


def _evaluate(this: Run, compiled: dict[str, Callable], state: TrainState, draw: bool = True
              ) -> dict[str, float]:
    """The metrics of every evaluation, named NAME/METRIC; draws the first one's figures."""
    start, found = time.monotonic(), {}
    for i, (name, evaluation) in enumerate(this.task.evaluations.items()):
        records = _records(this, compiled[name], evaluation.split, state)
        summary = evaluation.summarize(records)
        found |= {f'{name}/{metric}': float(value) for metric, value in summary.items()}
        if draw and this.task.figures and i == 0:
            source, prepare = this.sources[evaluation.split], this.task.prepare
            example = lambda row: prepare(source[row], None) if prepare else source[row]
            for title, picture in this.task.figures(records, example).items():
                figures.save(this.workdir / 'figures' / f'{title}.png', picture)
    text = '  '.join(f'{name} {value:.4g}' for name, value in found.items())
    print(f'step {int(state.step)}: {text}  ({duration(time.monotonic() - start)})', flush=True)
    return found


def _records(this: Run, evaluate: Callable, split: str, state: TrainState) -> dict[str, np.ndarray]:
    """The records of every example of a split, in the split's order."""
    config, pending, parts = this.config.data, deque(), []
    corrupt = _Corrupt()
    batches = pipeline.eval_batches(
        this.sources[split], this.task.prepare, batch_size=config.batch_size,
        threads=config.threads, on_corrupt=config.on_corrupt, counter=corrupt)
    for batch in sharding.prefetch(this.mesh, batches):
        records = {**evaluate(state, batch), 'mask': batch['mask'], 'index': batch['index']}
        pending.append(records)
        if len(pending) > LAG:
            parts.append(jax.device_get(pending.popleft()))
    parts += jax.device_get(list(pending))
    records = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    rows = np.flatnonzero(records.pop('mask'))
    rows = rows[np.argsort(records['index'][rows], kind='stable')]
    return {name: values[rows] for name, values in records.items()}


@contextlib.contextmanager
def _batches(this: Run, first: int) -> Iterator:
    config = this.config.data
    batches = pipeline.train_batches(
        this.sources['train'], this.task.prepare, seed=this.config.seed,
        batch_size=config.batch_size, start=first, stop=this.total_steps, threads=config.threads,
        on_corrupt=config.on_corrupt, counter=_Corrupt())
    with contextlib.closing(batches):
        yield sharding.prefetch(this.mesh, batches)


class _Corrupt:
    """Says once of each unreadable file that another example took its place."""

    def __init__(self):
        self._seen = set()

    def add(self, where: str, error: Exception) -> None:
        if where not in self._seen:
            self._seen.add(where)
            print(f'unreadable, left out ({len(self._seen)} so far): {where}: {error}', flush=True)


@contextlib.contextmanager
def _profile(this: Run) -> Iterator[Callable[[int], None]]:
    """Traces the steps 'FIRST:LAST' of train.profile into the run's folder."""
    first, _, last = this.config.train.profile.partition(':')
    if first and not (first.isdigit() and last.isdigit()):
        raise UserError(f'train.profile={this.config.train.profile}: write FIRST:LAST, like 100:105')
    running = False

    def profile(step: int) -> None:
        nonlocal running
        if first and step == int(first):
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


@contextlib.contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """Set by SIGTERM or the first Ctrl-C, so that the loop saves and stops; a second one interrupts."""
    stop = threading.Event()

    def handle(number, frame):
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        print(f'{signal.Signals(number).name}: saving and stopping ...', flush=True)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    old = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
