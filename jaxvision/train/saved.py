"""A saved run without its data: task and weights, which are enough for predictions."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.core.config import stored
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.files import read_json
from jaxvision.core.registry import make_task, read_spec, resolve
from jaxvision.core.spec import NetworkSpec, Spec
from jaxvision.core.state import TrainState
from jaxvision.core.task import RequiredNetwork, Task
from jaxvision.core.types import Batch, NetworkTrees, Records, Split, Tree
from jaxvision.train import init_from, processes, sharding
from jaxvision.train.checkpoints import Checkpoints
from jaxvision.train.matching import Partial

# Initial values of parameters and statistics by name, whole or in part.
Leaves = dict[str, jax.Array | Partial]
# `(key, batch, networks, leaves) -> state`
FirstState = Callable[[jax.Array, Batch, NetworkTrees, Leaves], TrainState]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedRun:
    """The task of a config and a spec, with the checkpoints in a folder.

    Attributes:
        config: the config of the run.
        workdir: the run folder. Opening a run does not change it.
        spec: the spec of the run.
        task: the task.
        mesh: the devices.
    """

    config: Config
    workdir: Path
    spec: Spec
    task: Task
    mesh: jax.sharding.Mesh

    @property
    def metric(self) -> str:
        """The metric that selects a state: `train.best`, or else that of the task.

        The name has no split. '-NAME': less is better. '': there is none.
        """
        return self.config.train.best or self.task.best

    @property
    def best(self) -> str:
        """The metric that selects a checkpoint: 'validation/bleu' or '-validation/nll'.

        A minus says that less is better, and nothing else has a sign. Empty without a
        metric or a validation split, since no checkpoint is selected then.
        """
        if not self.metric or 'validation' not in self.spec.data:
            return ''
        if self.metric.startswith('-'):
            return f'-validation/{self.metric.removeprefix("-")}'
        return f'validation/{self.metric}'

    @property
    def monitored(self) -> Split:
        """The split that training evaluates: 'validation' if it exists, else 'test'."""
        return 'validation' if 'validation' in self.spec.data else 'test'

    @functools.cached_property
    def shapes(self) -> TrainState:
        """A state of this run with shapes and dtypes as leaves instead of arrays."""
        batch = blank_batch(self.spec)
        return jax.eval_shape(self.first_state, jax.random.key(0), batch, {}, {})

    @functools.cached_property
    def first_state(self) -> FirstState:
        """Function that builds the state before the first step, see `_first_state`.

        It is stored, because jax reuses a trace only for the same function object.
        """
        return functools.partial(_first_state, self.config, self.task, self.spec)

    def abstract(self) -> TrainState:
        """Make a state with shapes, dtypes and shardings as leaves, not arrays."""

        def put(leaf, place):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)

        return jax.tree.map(put, self.shapes, sharding.place(self.mesh, self.shapes))

    def checkpoints(self, read_only: bool = False) -> Checkpoints:
        """Open the checkpoints of the run, for use in a `with` block.

        Args:
            read_only: whether to create and delete nothing in the folder.
        """
        return Checkpoints(
            self.workdir / 'checkpoints', self.config.train.keep, self.best, read_only
        )

    def restore(self, step: str | int = 'last') -> TrainState:
        """Read the state of a checkpoint onto the devices of `mesh`.

        All processes of a run must call it together.

        Args:
            step: 'last', 'best' or the step of a checkpoint.

        Raises:
            UserError: There is no such checkpoint, or it is damaged. Or for 'best', no
                checkpoint has a score.
        """
        with self.checkpoints(read_only=True) as checkpoints:
            number = checkpoints.find(step)
            place = {'workdir': str(self.workdir), 'step': number}
            processes.agree('checkpoint', place)
            return checkpoints.restore(self.abstract(), number)


def open_saved(workdir: Path) -> SavedRun:
    """Open a run on all devices of JAX, which may be fewer than in training.

    No checkpoint is read yet, and the data is not needed.

    Raises:
        UserError: The folder holds no run, or a damaged one.
    """
    config = read_config(workdir)
    spec = read_run_spec(workdir, config)
    with naming_folder(workdir):
        task = build_task(config, spec)
    return SavedRun(
        config=config,
        workdir=workdir,
        spec=spec,
        task=task,
        mesh=inference_mesh(config),
    )


def load(workdir: Path, step: str | int = 'last') -> tuple[Task, Tree, Spec]:
    """Reopen a run to predict. All processes must call it together.

    Args:
        workdir: the run folder.
        step: 'last', 'best' or the number of a checkpoint.

    Returns:
        (task, variables, spec). The variables are `TrainState.variables`, for
        `task.predict`, with averaged weights where the run keeps them.

    Raises:
        UserError: There is no such run or checkpoint, or it is damaged.
    """
    run = open_saved(workdir)
    return run.task, run.restore(step).variables, run.spec


def read_config(workdir: Path) -> Config:
    """Read the config with which a run was trained, locked.

    Raises:
        UserError: The folder holds no run, or its config.json is damaged.
    """
    values = read_json(workdir / 'config.json')
    with naming_folder(workdir):
        return stored(values).lock()


def read_run_spec(workdir: Path, config: Config) -> Spec:
    """Read the spec of a run.

    Raises:
        UserError: The folder has no spec.json, or it is damaged.
    """
    values = read_json(workdir / 'spec.json')
    with naming_folder(workdir):
        return read_spec(values, config)


@contextlib.contextmanager
def naming_folder(workdir: Path) -> Iterator[None]:
    """Put the run folder before the message of a UserError that the block raises."""
    try:
        yield
    except UserError as error:
        raise UserError(f'{workdir}: {error}') from error


def inference_mesh(config: Config) -> jax.sharding.Mesh:
    """Make a mesh of all devices of JAX, in mode 'jit'.

    The parameters are split over the `parallel.fsdp` devices of the run. They are not
    split if this number does not divide the number of devices.
    """
    fsdp = config.parallel.fsdp
    if jax.device_count() % fsdp:
        fsdp = 1
    return sharding.make_mesh('jit', fsdp)


def build_task(config: Config, spec: Spec) -> Task:
    """Build the task of a config and a spec, without data and folder.

    Raises:
        UserError: The run uses float64, but JAX does not, or config and spec do not
            fit.
    """
    dtypes = (config.model.dtype, config.model.param_dtype)
    if 'float64' in dtypes and not jax.config.read('jax_enable_x64'):
        raise UserError(
            'model.dtype or model.param_dtype is float64: call '
            "jax.config.update('jax_enable_x64', True) before any other use of JAX"
        )
    return make_task(config, spec)


def blank_batch(spec: Spec, size: int = 1) -> Records:
    """Make a batch of zeros with the inputs and targets of a spec, on the host.

    Returns:
        {name: zeros [size, ...]}, and 'index' with 0, 1, ..., size - 1 as int32.
    """
    arrays = {**spec.inputs, **spec.targets}
    batch = {
        name: np.zeros((size, *array.shape), array.dtype)
        for name, array in arrays.items()
    }
    return {**batch, 'index': np.arange(size, dtype=np.int32)}


def required_networks(config: Config) -> dict[str, RequiredNetwork]:
    """List the auxiliary networks of a task: {name: network}; {} if it needs none."""
    requires = getattr(resolve('tasks', config.task.name), 'requires', None)
    return requires(config) if requires else {}


def _first_state(
    config: Config,
    task: Task,
    spec: Spec,
    key: jax.Array,
    batch: Batch,
    networks: NetworkTrees,
    leaves: Leaves,
) -> TrainState:
    """Build the state before the first step.

    Args:
        config: the config of the run.
        task: the task.
        spec: the spec of the run.
        key: the base key of the run.
        batch: a batch with the shapes of the spec.
        networks: {name: variables} of auxiliary networks. Missing ones are initialised at
            random.
        leaves: {name: initial values} of parameters and statistics. A name is
            'network/path', such as 'model/stem/kernel'. All other leaves are initialised
            at random.

    Returns:
        The first state of the task, with the auxiliary networks in `frozen`.
    """
    state = init_from.fill(task.init(key, batch), leaves)
    missing = {
        name: _random_network(config, name, network)
        for name, network in spec.networks.items()
        if name not in networks
    }
    return state.replace(frozen={**state.frozen, **missing, **networks})


def _random_network(config: Config, name: str, network: NetworkSpec) -> Tree:
    """Initialise an auxiliary network at random."""
    if network.spec is None:
        weights = required_networks(config)[name].weights
        assert weights, f'{name} has neither a run nor weights'
        return weights.init()
    task = build_task(stored(network.config), network.spec)
    blank = jax.tree.map(jnp.asarray, blank_batch(network.spec))
    return task.init(jax.random.key(0), blank).variables
