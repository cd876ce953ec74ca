"""A config brought to life in its folder: the data, the task, the checkpoints that it has."""

import contextlib
import dataclasses
import fcntl
import functools
import json
from collections.abc import Collection, Iterator
from pathlib import Path

import jax
import numpy as np

from jaxvision.core.config import (
    FREE_FIELDS,
    check,
    difference,
    fields,
)
from jaxvision.core.errors import UserError, unknown
from jaxvision.core.fields import Config
from jaxvision.core.files import write_json, write_text
from jaxvision.core.intervals import in_examples, steps
from jaxvision.core.registry import read_spec, resolve
from jaxvision.core.spec import Spec
from jaxvision.core.state import TrainState
from jaxvision.core.task import Evaluate, Update
from jaxvision.core.trees import content_hash
from jaxvision.core.types import Batch, Json, Tree
from jaxvision.data import summary
from jaxvision.pretrained import flax_variables
from jaxvision.train import (
    auxiliary,
    checkpoints,
    init_from,
    matching,
    preprocessing,
    processes,
    sharding,
)
from jaxvision.train.matching import Partial
from jaxvision.train.saved import (
    SavedRun,
    blank_batch,
    build_task,
    inference_mesh,
    open_saved,
    read_config,
    read_run_spec,
    required_networks,
)
from jaxvision.train.selection import check_direction
from jaxvision.train.sources import Sources, Unreadable
from jaxvision.train.update import guarded


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(SavedRun):
    """A run with its data, to train or to evaluate.

    Attributes:
        sources: the data of each split.
        unreadable: counts the files that could not be read.
        networks: the variables of required networks; before step 0 alone.
        leaves: parameters and statistics to begin with, in part where a source lacks some
            classes; before step 0 alone.
    """

    sources: Sources
    unreadable: Unreadable = dataclasses.field(default_factory=Unreadable)
    networks: dict[str, Tree] = dataclasses.field(default_factory=dict)
    leaves: dict[str, np.ndarray | Partial] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def total_steps(self) -> int:
        return steps(
            self.config.train.steps, self.config.data.batch_size, self.spec.examples
        )

    @functools.cached_property
    def intervals(self) -> dict[str, int]:
        """{'log', 'eval', 'checkpoint': every so many examples; 0: only after the last step}."""
        train, size = self.config.train, self.config.data.batch_size
        return {
            what: in_examples(train[f'{what}_every'], size, self.spec.examples)
            for what in ('log', 'eval', 'checkpoint')
        }

    @functools.cached_property
    def patience(self) -> int:
        """Steps without improvement after which training stops; 0: it does not."""
        train = self.config.train
        return steps(train.patience, self.config.data.batch_size, self.spec.examples)

    def is_due(self, what: str, step: int) -> bool:
        """Whether it comes after this step; all do after the last."""
        every, size = self.intervals[what], self.config.data.batch_size
        passed = every and step * size // every > (step - 1) * size // every
        return bool(passed) or step == self.total_steps

    @functools.cached_property
    def update(self) -> Update:
        """The compiled update, guarded."""
        return sharding.compile_update(
            guarded(self.task.update), self.mesh, self.shapes
        )

    @functools.cached_property
    def evaluate(self) -> dict[str, Evaluate]:
        """Each evaluation's map over a batch, compiled."""
        return {
            name: sharding.compile_evaluate(evaluation.evaluate, self.mesh, self.shapes)
            for name, evaluation in self.task.evaluations.items()
        }

    def abstract_batch(self) -> Batch:
        """The shapes, dtypes and placement of a training batch."""
        place = sharding.split(self.mesh)
        batch = blank_batch(self.spec, self.config.data.batch_size)
        return {
            name: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=place)
            for name, array in batch.items()
        }

    def init(self) -> TrainState:
        """The state before the first step, where it will stay."""
        make = jax.jit(
            self.first_state, out_shardings=sharding.place(self.mesh, self.shapes)
        )
        return make(
            jax.random.key(self.config.seed),
            blank_batch(self.spec),
            self.networks,
            self.leaves,
        )


def begin(config: Config, workdir: Path) -> Run:
    """Open the run of a config: a new one, or the one that its folder holds.

    Nothing is written yet.

    Raises:
        UserError: A field is wrong, or the folder holds a run with other settings.
    """
    check(config.lock())
    begun = (workdir / 'config.json').exists()
    _agree_on_config(config, workdir, begun)
    mesh = sharding.make_mesh(config.parallel.mode, config.parallel.fsdp)
    if begun:
        run = reopen(workdir, config, mesh)
        if not checkpoints.exist(workdir):
            run = _restarted(run)
    else:
        sources = Sources(config)
        spec = describe(config, sources)
        processes.agree('data', {'data': dict(spec.data), 'examples': spec.examples})
        if processes.is_first():
            print('\n'.join(summary.lines(sources.opened())), flush=True)
        for line in preprocessing.describe(config, spec.preprocessing):
            processes.say(line)
        run = _first_run(config, workdir, spec, sources, mesh)
    trace(run)
    return run


def _agree_on_config(config: Config, workdir: Path, begun: bool) -> None:
    """Check that all processes have one config, but for fields that machines may differ in."""
    shared = {
        name: value
        for name, value in fields(config.to_dict()).items()
        if name not in ('data.dir', 'data.threads')
    }
    settings = {'workdir': str(workdir), 'begun': begun, **shared}
    processes.agree('config', settings)


def _restarted(run: Run) -> Run:
    """Give a run that stopped before its first checkpoint what its first state is made of."""
    restarted = _first_run(run.config, run.workdir, run.spec, run.sources, run.mesh)
    if _as_json(restarted.spec.to_json()) != _as_json(run.spec.to_json()):
        raise UserError(
            f'{run.workdir} has no checkpoint, and was begun with other networks than '
            'those that are there now: remove it to begin anew'
        )
    return restarted


def _first_run(
    config: Config,
    workdir: Path,
    spec: Spec,
    sources: Sources,
    mesh: jax.sharding.Mesh,
) -> Run:
    """Build a run that has no checkpoint, with all that its first state is made of.

    Args:
        config: of the run.
        workdir: its folder.
        spec: without its required networks.
        sources: its data.
        mesh: its devices.
    """
    described, networks = auxiliary.load(config, workdir)

    def open_origin(source: Path) -> init_from.Origin:
        if source.is_file():
            return init_from.Origin(flax_variables.of_run(config, source))
        run = open_saved(source)
        return init_from.Origin(run.restore('last').variables, run.spec.names)

    found = init_from.read(config.train.init_from, open_origin)
    leaves = {name: leaf.values for name, leaf in found.items()}
    initial = content_hash(leaves) if leaves else ''
    spec = spec.replace(networks=described, initial=initial)
    # The statistics in the spec may differ in their last digit between machines.
    spec = read_spec(processes.of_first(spec.to_json()), config)
    run = build(config, workdir, spec, sources, mesh)
    if found:
        axes = _axes_of_names(run, found)
        leaves = init_from.fitting(
            run.shapes, found, config.train.init_new, spec.names, axes
        )
    return dataclasses.replace(run, networks=networks, leaves=leaves)


def _axes_of_names(run: Run, found: dict[str, init_from.Leaf]) -> dict[str, int]:
    """The axis of the classes or words in each leaf, where a source has others.

    What is taken over and what is not is said on the screen.
    """
    names = run.spec.names
    found = init_from.without_new(found, run.config.train.init_new)
    if not names or all(leaf.names == names for leaf in found.values()):
        return {}
    spec = run.spec.with_another_name()
    larger = dataclasses.replace(run, spec=spec, task=build_task(run.config, spec))
    axes = matching.axes(
        init_from.named_shapes(run.shapes), init_from.named_shapes(larger.shapes)
    )
    kind = 'classes' if run.spec.class_names else 'words'
    lines = {
        matching.describe(str(leaf.source), leaf.names, names, kind): None
        for name, leaf in found.items()
        if name in axes
    }
    for line in filter(None, lines):
        processes.say(line)
    return axes


def trace(run: Run) -> None:
    """Raises what the update would raise, before the run takes its folder or is compiled."""
    config = run.config
    if not run.total_steps and not run.task.fit and not config.train.init_from:
        raise UserError(
            f'train.steps={config.train.steps}: expected at least one step, since no head '
            'is fitted (task.probe) and no weights are taken over (train.init_from)'
        )
    _check_selection(run)
    part = sharding.part_size(run.mesh, config.data.batch_size)
    if part % config.optimizer.accumulate:
        raise UserError(
            f'optimizer.accumulate={config.optimizer.accumulate} does not divide the '
            f'{part} examples that a device has under parallel.mode=pmap'
        )
    try:
        # With the placement of the arrays, so that the first step reuses this trace.
        jax.eval_shape(run.update, run.abstract(), run.abstract_batch())
    except ValueError as error:
        if config.parallel.mode != 'pmap' or isinstance(error, UserError):
            raise
        raise UserError(
            f'with {part} examples a device, under parallel.mode=pmap: {error}'
        ) from error


def _check_selection(run: Run) -> None:
    """Check the fields that select a checkpoint.

    Raises:
        UserError: There is no validation split, or no such metric.
    """
    train = run.config.train
    check_best(run, run.task.metrics)
    for field in ('best', 'patience'):
        is_set = train[field] not in ('', '0')
        if is_set and 'validation' not in run.spec.data:
            raise UserError(
                f'train.{field}={train[field]}: expected a validation split, since the test '
                'split selects nothing. Set data.validation=10%, so that this part is held '
                'out of training'
            )
    if run.patience and not run.metric:
        raise UserError(
            f'train.patience={train.patience}: expected a metric to watch. Set train.best'
        )


def check_best(run: Run, metrics: Collection[str]) -> None:
    """Check that `train.best` is one of the metrics, if these are known."""
    best = run.config.train.best.removeprefix('-')
    if best and metrics and best not in metrics:
        raise unknown('train.best: no evaluation has', best, metrics)
    if best:
        check_direction(run.config.train.best)


def take_folder(run: Run) -> None:
    """Write what the run is into its folder, which every process must then see."""
    if processes.is_first():
        write_json(run.workdir / 'spec.json', run.spec.to_json())
        write_json(run.workdir / 'config.json', run.config.to_dict())
        write_text(run.workdir / 'sharding.txt', sharding.table(run.mesh, run.shapes))
    processes.expect(run.workdir / 'config.json')


@contextlib.contextmanager
def held(workdir: Path) -> Iterator[None]:
    """Keeps any other run from training in the folder; a kill lets go of it too."""
    if not processes.is_first():
        yield
        return
    try:
        (workdir / 'figures').mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f'cannot make the folder {workdir}: {error.strerror}'
        ) from error
    with (workdir / 'lock').open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f'another process is training in {workdir}') from None
        except OSError:
            pass  # a file system without locks
        yield


def reopen(
    workdir: Path,
    config: Config | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> Run:
    """The run that a folder holds, as it was trained; `config` may differ in its free fields.

    Without a mesh it is opened on the devices that are here, also fewer than it was trained on.
    """
    trained = read_config(workdir)
    if config:
        check(config)
        _check_same(workdir, trained.to_dict(), _as_json(config.to_dict()))
    config = config or trained
    spec = read_run_spec(workdir, config)
    sources = Sources(config, dict(spec.data), preprocessing=spec.preprocessing)
    return build(config, workdir, spec, sources, mesh or inference_mesh(config))


def describe(config: Config, sources: Sources) -> Spec:
    """The task's spec, with the number of training examples and what tells the data apart."""
    name = config.task.name
    task_module = resolve('tasks', name)
    if not hasattr(task_module, 'describe'):
        raise UserError(f'{name} has no function describe(config, source)')
    spec = task_module.describe(config, sources['train'])
    if not isinstance(spec, Spec):
        raise UserError(
            f'{name}.describe returned {type(spec).__name__}, expected a Spec'
        )
    fingerprints = {split: sources[split].info.fingerprint for split in sources.splits}
    describe_evaluated = getattr(task_module, 'describe_evaluated', None)
    if describe_evaluated:
        evaluated = [sources[split] for split in sources.splits if split != 'train']
        spec = describe_evaluated(config, spec, evaluated)
    networks = {
        name: auxiliary.describe(network, describe, sources)
        for name, network in required_networks(config).items()
    }
    return spec.replace(
        examples=len(sources['train']), data=fingerprints, networks=networks
    )


def build(
    config: Config,
    workdir: Path,
    spec: Spec,
    sources: Sources,
    mesh: jax.sharding.Mesh,
) -> Run:
    """The run of a config and a spec, in a folder that it does not touch yet."""
    return Run(
        config=config,
        workdir=workdir,
        spec=spec,
        task=build_task(config, spec),
        sources=sources,
        mesh=mesh,
    )


def _check_same(workdir: Path, old: Json, new: Json) -> None:
    changes = difference(old, new)
    barred = [
        f'{name}: {before!r} -> {after!r}'
        for name, (before, after) in changes.items()
        if name not in FREE_FIELDS
    ]
    if barred:
        raise UserError(
            f'{workdir} is a run with other settings: {"; ".join(barred)}. '
            'Give another --workdir, or remove that one'
        )
    for name, (before, after) in changes.items():
        processes.say(f'now with {name}: {before!r} -> {after!r}')


def _as_json(value: Json) -> Json:
    """As it comes back from its file: tuples have become lists."""
    return json.loads(json.dumps(value))
