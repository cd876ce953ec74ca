"""The training loop: build or restore a run, train it, and evaluate its checkpoints."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import jax

from jaxvision.core.auto_fields import with_defaults
from jaxvision.core.config import check
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.files import write_json
from jaxvision.core.intervals import steps
from jaxvision.core.state import TrainState
from jaxvision.core.task import Predictor
from jaxvision.core.types import MetricValues, Split, Tree
from jaxvision.train import automatic, auxiliary, evaluation, fitting, processes
from jaxvision.train.checkpoints import Checkpoints
from jaxvision.train.folder import take_folder
from jaxvision.train.run import Run, reopen
from jaxvision.train.selection import Selection
from jaxvision.train.training import OnEvaluation, Training
from jaxvision.train.writers import Metrics, Row, duration, read_rows
from jaxvision.viz import figures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of a call of `run`.

    Attributes:
        finished: whether the run is finished, or trained as long as `until`. False: a
            signal stopped it, and it is saved.
        trained: whether the run is new, or this call took steps.
        step: number of steps taken in all, at most those of `until`; 0 if the training
            of an auxiliary network was stopped.
        metrics: the last value of each evaluation metric up to this step: 'validation/...', and
            'eval/...' on the test split. 'best/...' are those of the best checkpoint on
            the test split.
        best: the metric that selects the best checkpoint, such as '-validation/nll'; ''
            if there is none. The minus says that less is better.
        predictor: the behaviour of `jaxvision predict` for this run.
        inputs: names of the inputs of `Task.predict`.
    """

    finished: bool
    trained: bool = True
    step: int = 0
    metrics: MetricValues = dataclasses.field(default_factory=dict)
    best: str = ''
    predictor: Predictor = 'none'
    inputs: tuple[str, ...] = ()


def run(
    config: Config,
    workdir: str | Path,
    on_eval: OnEvaluation | None = None,
    *,
    until: str = '',
    measure_test: bool = True,
) -> Result:
    """Train until `train.steps`, `until`, a signal or the end of `train.patience`.

    Training continues from the last checkpoint in `workdir`, if there is one. Missing
    auxiliary networks are trained first. All processes of a run must call it.

    Args:
        config: the config of the run, which is not changed. Numbers take the place of
            'auto' in the config of the run folder.
        workdir: the run folder, made if it is missing.
        on_eval: `on_eval(step, metrics)`, called after each evaluation during training,
            with metrics such as {'validation/accuracy': 0.9}. If it raises an
            exception, the run ends.
        until: an interval after which the run is evaluated and saved, and this call
            ends; '': `train.steps`, whose length schedules always keep.
        measure_test: whether a run with a validation split is measured on the test
            split at its end.

    Returns:
        The outcome.

    Raises:
        UserError: A field is wrong, the folder holds a run with other settings, the
            data changed, or a step is not finite.
    """
    start = time.monotonic()
    check(config, can_be_found=True)
    workdir = Path(workdir)
    config = automatic.with_numbers_of(config, workdir)
    if not train_auxiliary(config, workdir):
        return Result(finished=False)
    with (
        processes.stop_signal() as asked,
        automatic.held_run(config, workdir, asked) as this,
    ):
        if not this:
            return Result(finished=False)
        last_step = _last_step(this, until)
        measure_test = measure_test and last_step == this.total_steps
        with this.checkpoints() as checkpoints:
            take_folder(this)
            processes.agree('checkpoints', {'steps': checkpoints.steps()})
            is_new = not checkpoints.steps()
            if is_new:
                state = fitting.solve(this, this.init())
            else:
                state = checkpoints.restore(this.abstract(), checkpoints.find())
            first = int(state.step)
            rows = read_rows(this.workdir / 'metrics.jsonl')
            finished = not is_new and _is_finished(
                this, checkpoints, rows, first, last_step, measure_test
            )
            if finished:
                this.sources.check_all()
            else:
                state, rows, finished = _continue(
                    this, state, checkpoints, asked, on_eval, last_step, measure_test
                )
    step = int(state.step)
    if first < step and processes.is_first():
        if measure_test:
            figures.save(this.workdir / 'figures' / 'curves.png', figures.curves(rows))
        processes.say(f'{step - first} steps in {duration(time.monotonic() - start)}')
    return Result(
        finished=finished,
        trained=is_new or first < step,
        step=min(step, last_step),
        metrics=_last_metrics(rows, last_step),
        best=this.best,
        predictor=this.task.predictor,
        inputs=tuple(this.spec.inputs),
    )


def train_auxiliary(config: Config, workdir: Path) -> bool:
    """Train the auxiliary networks of a run, and return whether all are finished.

    Args:
        config: the config of the run.
        workdir: the run folder.
    """
    # No network depends on the numbers that a run finds for itself.
    config = with_defaults(config)
    for network in auxiliary.trainings(config, workdir):
        processes.say(
            f'required network {network.name!r}, kept in {network.folder} when trained'
        )
        if not run(network.config, network.folder).finished:
            return False
        processes.say('')
    return True


def evaluate(
    workdir: str | Path,
    step: str | int = 'last',
    config: Config | None = None,
    *,
    split: Split = 'test',
    out: str | Path | None = None,
) -> tuple[int, MetricValues]:
    """Evaluate a checkpoint of a run, without changing the run.

    The metrics and the figures of the task are written to a separate folder. If the
    default folder cannot be written, the metrics are only printed. All processes of a
    run must call it together.

    Args:
        workdir: the run folder.
        step: 'last', 'best' or the number of a checkpoint.
        config: the config of the run, with changes in `FREE_FIELDS` only; None: unchanged.
            A field may have the value 'auto', as in training.
        split: 'test' or 'validation'.
        out: the folder of the results; None: eval/STEP-SPLIT in the run folder.

    Returns:
        (the step, {'eval/NAME' on the test split, or 'validation/NAME': value}).

    Raises:
        UserError: There is no such run, checkpoint or split, the data changed, or `out`
            cannot be written. Or `out` is inside the run folder, but not inside its
            folder `eval`.
    """
    if out:
        _check_out(Path(out), Path(workdir))
    if config:
        config = automatic.with_numbers_of(config, Path(workdir))
    this = reopen(Path(workdir), config)
    evaluated = [name for name in this.spec.data if name in evaluation.PREFIXES]
    if split not in evaluated:
        raise UserError(
            f'--split={split}: expected a split that {workdir} can be evaluated on. Give '
            f'--split {" or ".join(evaluated)}'
        )
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
            raise UserError(
                f'--out={out}: the folder cannot be written: {error.strerror}. Choose '
                'another one'
            ) from error
        processes.say(
            f'{folder} cannot be written ({error.strerror}), so the metrics are shown here '
            'only. Give --out DIR to save them and the pictures'
        )
        return number, metrics
    evaluation.draw(this, records, split, folder)
    processes.say(f'in {folder}: metrics.json and the pictures')
    return number, metrics


def _check_out(out: Path, workdir: Path) -> None:
    """Check that results are not written among the files of a run."""
    folder = out.resolve()
    run_folder = workdir.resolve()
    results = run_folder / 'eval'
    is_inside = folder.is_relative_to(run_folder)
    if is_inside and results not in folder.parents:
        raise UserError(
            f'--out={out}: expected a folder outside the run, whose files it could replace. '
            f'Give another one, or one in {workdir / "eval"}.'
        )


def _last_step(this: Run, until: str) -> int:
    """Count the steps after which a call of `run` ends."""
    if not until:
        return this.total_steps
    batch_size = this.config.data.batch_size
    return min(this.total_steps, steps(until, batch_size, this.spec.examples))


def _is_finished(
    this: Run,
    checkpoints: Checkpoints,
    rows: Sequence[Row],
    step: int,
    last_step: int,
    measure_test: bool,
) -> bool:
    """Whether a run that was saved at a step is trained and, if asked for, measured."""
    selection = Selection.of(checkpoints, rows)
    has_ended = step >= last_step or selection.has_waited(this.patience)
    is_measured = this.monitored == 'test' or any('best/step' in row for row in rows)
    return has_ended and (is_measured or not measure_test)


def _continue(
    this: Run,
    state: TrainState,
    checkpoints: Checkpoints,
    asked: Callable[[int], bool],
    on_eval: OnEvaluation | None,
    last_step: int,
    measure_test: bool,
) -> tuple[TrainState, list[Row], bool]:
    """Train to the end and measure the test split, unless a signal stops the training.

    Args:
        this: the run.
        state: the state to continue from.
        checkpoints: the checkpoints of the run.
        asked: `asked(step)`, whether a signal asks to stop after this step.
        on_eval: called after each evaluation.
        last_step: the step after which training ends.
        measure_test: whether the test split is measured then.

    Returns:
        (the last state, the rows of metrics.jsonl, whether the run is finished).
    """
    step = int(state.step)
    records = {}
    is_stopped = False
    with Metrics(this.workdir, step) as metrics:
        selection = Selection.of(checkpoints, metrics.rows)
        training = Training(this, checkpoints, metrics, selection, on_eval, last_step)
        if not this.total_steps:
            records = training.evaluate(state)
            checkpoints.wait()
        elif step < last_step and not selection.has_waited(this.patience):
            _say_start(this, state)
            state, records, is_stopped = training.train(state, asked)
        if is_stopped:
            return state, metrics.rows, False
        if this.monitored == 'validation':
            records = training.measure_test(state) if measure_test else {}
        if records:
            evaluation.draw(this, records, 'test', this.workdir / 'figures')
    return state, metrics.rows, True


def _say_start(this: Run, state: TrainState) -> None:
    step = int(state.step)
    if step:
        processes.say(f'resuming at step {step}')
        return
    processes.say(
        f'{_size(state)} parameters, {this.spec.examples:,} examples, '
        f'{this.total_steps} steps; {_devices(this)}compiling ...'
    )


def _devices(this: Run) -> str:
    """Describe the devices and processes; '' for a single device."""
    if this.mesh.size == 1:
        return ''
    devices = f'{this.mesh.size} devices (sharding.txt shows the placement); '
    count = jax.process_count()
    if count == 1:
        return devices
    return f'{count} processes, {devices}'


def _size(state: TrainState) -> str:
    """Count the parameters of a state: '1,000', or '10 trained and 990 frozen'."""
    trained = _count(state.params)
    frozen = state.frozen.get('params')
    if not frozen:
        return trained
    return f'{trained} trained and {_count(frozen)} frozen'


def _count(tree: Tree) -> str:
    return f'{sum(leaf.size for leaf in jax.tree.leaves(tree)):,}'


def _last_metrics(rows: Iterable[Row], last_step: int) -> MetricValues:
    """Find the last value of each metric of an evaluation, up to a step."""
    prefixes = ('validation/', 'eval/', 'best/')
    last = {}
    for row in rows:
        if row['step'] > last_step:
            break
        for name, value in row.items():
            if name.startswith(prefixes):
                last[name] = value
    return last
