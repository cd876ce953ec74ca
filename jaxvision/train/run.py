"""A run with its data: begin a new one, or reopen the one in a folder."""

import dataclasses
import functools
from pathlib import Path

import jax
import numpy as np

from jaxvision.core.config import check, fields
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.intervals import in_examples, steps
from jaxvision.core.registry import read_spec, resolve
from jaxvision.core.spec import Spec
from jaxvision.core.state import TrainState
from jaxvision.core.task import Evaluate, Update
from jaxvision.core.trees import content_hash
from jaxvision.core.types import Batch, NetworkTrees, Records
from jaxvision.data import pipeline, summary
from jaxvision.pretrained import flax_variables
from jaxvision.train import (
    auxiliary,
    checkpoints,
    folder,
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
    naming_folder,
    open_saved,
    read_config,
    read_run_spec,
    required_networks,
)
from jaxvision.train.sources import Sources, Unreadable
from jaxvision.train.update import guarded


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(SavedRun):
    """A run with its data, to train or to evaluate.

    Attributes:
        sources: {split: source}, each opened at its first use.
        unreadable: prints unreadable files.
        networks: {name: variables} of auxiliary networks; {} with a checkpoint.
        leaves: {name: initial values} from `train.init_from`; {} with a checkpoint.
    """

    sources: Sources
    unreadable: Unreadable = dataclasses.field(default_factory=Unreadable)
    networks: NetworkTrees = dataclasses.field(default_factory=dict)
    leaves: dict[str, np.ndarray | Partial] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def total_steps(self) -> int:
        """Number of steps of the whole run, `train.steps` rounded up to steps."""
        return steps(
            self.config.train.steps, self.config.data.batch_size, self.spec.examples
        )

    @functools.cached_property
    def intervals(self) -> dict[str, int]:
        """Examples between two logs, evaluations and checkpoints.

        The keys are 'log', 'eval' and 'checkpoint'. 0: only after the last step.
        """
        batch_size = self.config.data.batch_size
        intervals = {}
        for event in ('log', 'eval', 'checkpoint'):
            interval = self.config.train[f'{event}_every']
            intervals[event] = in_examples(interval, batch_size, self.spec.examples)
        return intervals

    @functools.cached_property
    def patience(self) -> int:
        """Steps without improvement after which training stops; 0: never."""
        patience = self.config.train.patience
        return steps(patience, self.config.data.batch_size, self.spec.examples)

    def is_due(self, event: str, step: int) -> bool:
        """Whether a log, an evaluation or a checkpoint is due after a step.

        It is due when the examples so far reach or pass a multiple of the interval.

        Args:
            event: 'log', 'eval' or 'checkpoint'. All are due after the last step.
            step: number of steps taken, at least 1.
        """
        if step == self.total_steps:
            return True
        every = self.intervals[event]
        if not every:
            return False
        batch_size = self.config.data.batch_size
        return step * batch_size // every > (step - 1) * batch_size // every

    @functools.cached_property
    def update(self) -> Update:
        """The compiled update: `(state, batch) -> (state, scalars)`.

        From the first non-finite scalar on, the state stays as it is, and the scalar
        'bad_step' is that step, else -1. Do not use the state passed to it afterwards.
        """
        return sharding.compile_update(
            guarded(self.task.update), self.mesh, self.shapes
        )

    @functools.cached_property
    def evaluate(self) -> dict[str, Evaluate]:
        """The compiled maps by name: `(state, batch) -> records, 'index' and 'present'`."""
        return {
            name: sharding.compile_evaluation(evaluation, self.mesh, self.shapes)
            for name, evaluation in self.task.evaluations.items()
        }

    @functools.cached_property
    def batch_of_one(self) -> Records:
        """A training batch of one example, on the host.

        All processes must read it together, since they open the data together.
        """
        (batch,) = pipeline.train_batches(
            self.sources['train'],
            self.task.prepare,
            seed=self.config.seed,
            batch_size=1,
            start=0,
            stop=1,
            threads=0,
            on_corrupt=self.config.data.on_corrupt,
        )
        return batch

    def abstract_batch(self) -> Batch:
        """The global training batch as {name: shape, dtype, sharding}, no arrays.

        An example is read for it, because training may cut a part of each image.

        Raises:
            UserError: The example cannot be read.
        """
        place = sharding.split(self.mesh)
        size = self.config.data.batch_size
        return {
            name: jax.ShapeDtypeStruct(
                (size, *array.shape[1:]),
                jax.dtypes.canonicalize_dtype(array.dtype),
                sharding=place,
            )
            for name, array in self.batch_of_one.items()
        }

    def init(self) -> TrainState:
        """Build the state before the first step, sharded over the devices of `mesh`.

        Its values follow from `seed`, `networks` and `leaves`.
        """
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
    """Open the run of a config: a new run, or the run in its folder.

    Its auxiliary networks must be trained. Nothing is written, and the update is not
    traced. A summary of new data is printed. All processes must call it together.

    Args:
        config: the config of the run. The run has a locked copy of it.
        workdir: the run folder, which may be missing.

    Returns:
        The run. Its networks and initial values are loaded only if it has no
        checkpoint.

    Raises:
        UserError: A field is wrong, the data or an auxiliary network is missing, or the
            folder holds a run with other settings.
    """
    config = config.copy_and_resolve_references().lock()
    check(config)
    begun = (workdir / 'config.json').exists()
    _agree_on_config(config, workdir, begun)
    mesh = sharding.make_mesh(config.parallel.mode, config.parallel.fsdp)
    if begun:
        run = reopen(workdir, config, mesh)
        return run if checkpoints.exist(workdir) else _restarted(run)
    sources = Sources(config)
    spec = describe(config, sources)
    processes.agree('data', {'data': dict(spec.data), 'examples': spec.examples})
    if processes.is_first():
        print('\n'.join(summary.lines(sources.opened())), flush=True)
    for line in preprocessing.describe(config, spec.preprocessing):
        processes.say(line)
    return _first_run(config, workdir, spec, sources, mesh)


def _agree_on_config(config: Config, workdir: Path, begun: bool) -> None:
    """Check that all processes have one config, except for fields of the machine."""
    shared = {
        name: value
        for name, value in fields(config.to_dict()).items()
        if name not in ('data.dir', 'data.images', 'data.threads')
    }
    settings = {'workdir': str(workdir), 'begun': begun, **shared}
    processes.agree('config', settings)


def _restarted(run: Run) -> Run:
    """Load the networks and initial values of a run that has no checkpoint yet."""
    restarted = _first_run(run.config, run.workdir, run.spec, run.sources, run.mesh)
    old = folder.as_json(run.spec.to_json())
    if folder.as_json(restarted.spec.to_json()) != old:
        raise UserError(
            f'{run.workdir} has no checkpoint, and its auxiliary networks or train.init_from '
            'changed since it began. Remove the folder to begin again'
        )
    return restarted


def _first_run(
    config: Config,
    workdir: Path,
    spec: Spec,
    sources: Sources,
    mesh: jax.sharding.Mesh,
) -> Run:
    """Build a run without a checkpoint, with its networks and initial values.

    Args:
        config: the config of the run.
        workdir: the run folder.
        spec: the spec, without its auxiliary networks.
        sources: the data.
        mesh: the devices.
    """
    descriptions, networks = auxiliary.load(config, workdir)
    sources_leaves = init_from.read(
        config.train.init_from, functools.partial(_open_origin, config)
    )
    leaves = {name: leaf.values for name, leaf in sources_leaves.items()}
    initial = content_hash(leaves) if leaves else ''
    spec = spec.replace(networks=descriptions, initial=initial)
    # The statistics in the spec may differ in their last digit between machines.
    spec = read_spec(processes.of_first(spec.to_json()), config)
    run = build(config, workdir, spec, sources, mesh)
    if sources_leaves:
        axes = _axes_of_names(run, sources_leaves)
        leaves = init_from.adapted(
            run.shapes, sources_leaves, config.train.init_new, spec.names, axes
        )
    return dataclasses.replace(run, networks=networks, leaves=leaves)


def _open_origin(config: Config, source: Path) -> init_from.Origin:
    """Read a run or a weights file for `train.init_from`."""
    if source.is_file():
        terms = flax_variables.license_of(config, source)
        if terms:
            processes.say(f'{source}: {terms}')
        return init_from.Origin(*flax_variables.of_run(config, source))
    run = open_saved(source)
    return init_from.Origin(run.restore('last').variables, run.spec.names)


def _axes_of_names(run: Run, leaves: dict[str, init_from.Leaf]) -> dict[str, int]:
    """Find the axis of classes or words in each leaf, if a source has other names.

    The copied and the initialised names are printed.
    """
    names = run.spec.names
    leaves = init_from.without_new(leaves, run.config.train.init_new)
    if not names or all(leaf.names == names for leaf in leaves.values()):
        return {}
    spec = run.spec.with_another_name()
    larger = dataclasses.replace(run, spec=spec, task=build_task(run.config, spec))
    axes = matching.axes(
        init_from.named_shapes(run.shapes), init_from.named_shapes(larger.shapes)
    )
    kind = 'classes' if run.spec.class_names else 'words'
    # A dict keeps each line once, in order.
    lines = {
        matching.describe(str(leaf.source), leaf.names, names, kind): None
        for name, leaf in leaves.items()
        if name in axes
    }
    for line in filter(None, lines):
        processes.say(line)
    return axes


def reopen(
    workdir: Path,
    config: Config | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> Run:
    """Open the run in a folder, without reading a checkpoint.

    Args:
        workdir: the run folder.
        config: the config of the run, with changes in `FREE_FIELDS` only, which are
            printed; None: unchanged.
        mesh: the devices; None: all devices of JAX, perhaps fewer than in training.

    Raises:
        UserError: The folder holds no run, a damaged one, or one with other settings.
    """
    trained = read_config(workdir)
    if config:
        check(config)
        folder.check_same_settings(workdir, trained.to_dict(), config.to_dict())
    config = config or trained
    spec = read_run_spec(workdir, config)
    sources = Sources(config, dict(spec.data), preprocessing=spec.preprocessing)
    with naming_folder(workdir):
        return build(config, workdir, spec, sources, mesh or inference_mesh(config))


def describe(config: Config, sources: Sources) -> Spec:
    """Build the spec of a run: that of its task, with examples, fingerprints and networks.

    The networks have no hash yet, and `initial` is not set. All splits are opened.

    Args:
        config: the config of the run.
        sources: the data, opened without preprocessing.

    Raises:
        UserError: The task module has no `describe`, or `describe` returns no Spec.
    """
    name = config.task.name
    task_module = resolve('tasks', name)
    if not hasattr(task_module, 'describe'):
        raise UserError(
            f'{name} has no function describe(config, source). See docs/extending.md'
        )
    spec = task_module.describe(config, sources['train'])
    if not isinstance(spec, Spec):
        raise UserError(
            f'{name}.describe returned {type(spec).__name__}, expected a Spec. See '
            'docs/extending.md'
        )
    fingerprints = {split: sources[split].info.fingerprint for split in sources.splits}
    describe_evaluated = getattr(task_module, 'describe_evaluated', None)
    if describe_evaluated:
        evaluated = [sources[split] for split in sources.splits if split != 'train']
        spec = describe_evaluated(config, spec, evaluated)
    networks = {
        network_name: auxiliary.describe(network, describe, sources)
        for network_name, network in required_networks(config).items()
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
    """Build the run of a config and a spec, without touching its folder.

    Args:
        config: the config of the run.
        workdir: the run folder.
        spec: the spec of the run; a UserError if the config does not fit it.
        sources: the data.
        mesh: the devices.

    Returns:
        The run, without auxiliary networks and initial values of `train.init_from`.
    """
    return Run(
        config=config,
        workdir=workdir,
        spec=spec,
        task=build_task(config, spec),
        sources=sources,
        mesh=mesh,
    )
