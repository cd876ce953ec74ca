"""The steps of a run: train, log, evaluate and save."""

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Iterator
from typing import Any, cast

import jax

from jaxvision.core.state import TrainState
from jaxvision.core.types import Batch, Json, MetricValues, Records
from jaxvision.data import pipeline
from jaxvision.train import calibration, evaluation, processes, sharding
from jaxvision.train.checkpoints import Checkpoints
from jaxvision.train.checks import check_best
from jaxvision.train.run import Run
from jaxvision.train.scalars import LaggedScalars
from jaxvision.train.selection import Selection
from jaxvision.train.writers import Metrics, Progress

# `(step, metrics)`, called after each evaluation.
OnEvaluation = Callable[[int, MetricValues], Any]


@dataclasses.dataclass(frozen=True)
class Training:
    """The steps of a run, and the files that they write.

    Attributes:
        run: the run.
        checkpoints: the checkpoints of the run.
        metrics: the rows of metrics.jsonl.
        selection: the best score so far.
        on_eval: `on_eval(step, metrics)`, called by every process after each evaluation
            and its save; None: nothing.
        last_step: the step after which training ends: evaluated, saved, and perhaps
            before the end of the run.
    """

    run: Run
    checkpoints: Checkpoints
    metrics: Metrics
    selection: Selection
    on_eval: OnEvaluation | None
    last_step: int

    def train(
        self, state: TrainState, asked: Callable[[int], bool]
    ) -> tuple[TrainState, Records, bool]:
        """Take steps until `last_step`, a signal, or the end of patience.

        The last state is saved.

        Args:
            state: the state to continue from, before the last step. It must not be used
                afterwards.
            asked: `asked(step)`, whether a signal asks to stop after this step.

        Returns:
            (the last state, the records of the latest evaluation, whether a signal
            stopped the run before its end). The records are {} without an evaluation.

        Raises:
            UserError: A step is not finite.
        """
        run = self.run
        first = int(state.step)
        records = {}
        is_stopping = False
        has_ended = False
        with train_batches(run, first) as batches, _profile(run) as profile:
            progress = Progress(first, run.total_steps, run.config.data.batch_size)
            scalars = LaggedScalars(run, self.metrics, progress)
            for step, batch in enumerate(batches, first + 1):
                profile(step)
                state, values = run.update(state, batch)
                scalars.push(step, values)
                if step == first + 1:
                    scalars.drain()
                    # The time of compilation is no training time.
                    progress.restart(step)
                # Asked once per step: a signal during a save waits for the next step.
                is_stopping = asked(step)
                is_last = step == self.last_step
                is_evaluated = run.is_due('eval', step) or is_last
                is_saved = run.is_due('checkpoint', step) or is_stopping or is_last
                if not is_evaluated and not is_saved:
                    continue
                scalars.drain()
                if is_evaluated:
                    records = self.evaluate(state, is_saved)
                else:
                    self.save(state, {})
                has_ended = self.selection.has_waited(run.patience)
                if is_stopping or has_ended or is_last:
                    break
                progress.restart(step)
            self.checkpoints.wait()
        has_ended = has_ended or step == self.last_step
        return state, records, is_stopping and not has_ended

    def evaluate(self, state: TrainState, is_saved: bool = True) -> Records:
        """Evaluate a state during training, and save it if it is due or the best so far.

        The metrics are logged and passed to `on_eval`. The split is `run.monitored`. If
        `task.watch`, figures of the task are drawn into the folder `figures`. On the
        validation split, calibration.json is written for a best state, or for every
        state if no metric selects.

        Args:
            state: the state.
            is_saved: whether a checkpoint is due. The state is also saved when patience
                ends.

        Returns:
            The records of the main evaluation.

        Raises:
            UserError: `train.best` is none of the metrics, or an example is unreadable
                while `data.on_corrupt` is 'stop'.
        """
        run = self.run
        step = int(state.step)
        split = run.monitored
        metrics, records = evaluation.measure(run, state, split)
        check_best(run, [name.partition('/')[2] for name in metrics])
        self.metrics.write(step, metrics)
        if run.task.watch:
            evaluation.draw(run, records, split, run.workdir / 'figures', step)
        improved = self.selection.improves(step, self.checkpoints.score(metrics))
        # Without a metric that selects, the last checkpoint counts as the best one. The file is
        # written before the checkpoint, so that a killed run never lacks it.
        if split == 'validation' and (improved or not run.best):
            self.calibrate(step, records)
        if is_saved or improved or self.selection.has_waited(run.patience):
            self.save(state, metrics)
        if self.on_eval:
            self.on_eval(step, metrics)
        return records

    def calibrate(self, step: int, records: Records) -> None:
        """Write calibration.json over an older one, if the evaluation can `calibrate`.

        Args:
            step: the step of the evaluated state.
            records: records of the main evaluation on the validation split.
        """
        calibrate = self.run.task.main.calibrate
        if calibrate:
            calibration.write(self.run, step, calibrate(records))

    def save(self, state: TrainState, metrics: MetricValues) -> None:
        """Start to save a state, after its metrics are on the disk.

        All processes must call it together.

        Args:
            state: the state.
            metrics: metrics of the state, for its score; {}: it gets no score.
        """
        self.metrics.flush()
        self.checkpoints.save(state, _origin(self.run), metrics)

    def measure_test(self, state: TrainState) -> Records:
        """Measure the last and the best checkpoint on the test split, and log one row.

        Every call measures and logs anew, on all processes together. The metrics of the
        best checkpoint are named 'best/NAME', with 'best/step'. If no checkpoint is the
        best, the last one counts as the best.

        Args:
            state: the last state.

        Returns:
            The records of the main evaluation of the last state.
        """
        last = int(state.step)
        best = self.checkpoints.find('best') if self.checkpoints.has_best() else last
        metrics, records = evaluation.measure(self.run, state, 'test')
        best_metrics = metrics
        if best != last:
            best_state = self.checkpoints.restore(self.run.abstract(), best)
            best_metrics, _ = evaluation.measure(self.run, best_state, 'test')
        row = dict(metrics)
        for name, value in best_metrics.items():
            row[f'best/{name.removeprefix("eval/")}'] = value
        self.metrics.write(last, {**row, 'best/step': best})
        self.metrics.flush()
        return records


def _origin(run: Run) -> Json:
    """Describe the origin of a checkpoint for its manifest."""
    return {'config': run.config.to_dict(), 'data': dict(run.spec.data)}


@contextlib.contextmanager
def train_batches(
    run: Run, first: int, stop: int | None = None
) -> Iterator[Iterator[Batch]]:
    """Read the training batches of a run ahead, in the order of the steps.

    Args:
        run: the run.
        first: number of steps taken so far.
        stop: the last step to read for; None: that of the run.

    Yields:
        An iterator over the batches of the remaining steps, on the devices. It ends
        with the last step, and is closed at the end of the block.
    """
    config = run.config.data
    batches = pipeline.train_batches(
        run.sources['train'],
        run.task.prepare,
        seed=run.config.seed,
        batch_size=config.batch_size,
        start=first,
        stop=run.total_steps if stop is None else stop,
        process=(jax.process_index(), jax.process_count()),
        threads=config.threads,
        on_corrupt=config.on_corrupt,
        counter=run.unreadable,
    )
    with contextlib.closing(cast(Generator, batches)):
        yield sharding.prefetch(run.mesh, batches)


@contextlib.contextmanager
def _profile(run: Run) -> Iterator[Callable[[int], None]]:
    """Trace the steps FIRST:LAST of `train.profile` into the run folder.

    Yields:
        `profile(step)`, to be called before each step.
    """
    first, _, last = run.config.train.profile.partition(':')
    is_running = False

    def profile(step: int) -> None:
        nonlocal is_running
        if first and step == int(first) and processes.is_first():
            jax.profiler.start_trace(run.workdir / 'profile')
            is_running = True
        elif is_running and step == int(last) + 1:
            jax.profiler.stop_trace()
            is_running = False

    try:
        yield profile
    finally:
        if is_running:
            jax.profiler.stop_trace()
