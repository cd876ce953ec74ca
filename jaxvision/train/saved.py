"""A run's task and weights, without its data: all that predictions need."""

import dataclasses
import functools
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
from jaxvision.core.types import Batch, Records, Split, Tree
from jaxvision.train import init_from, processes, sharding
from jaxvision.train.checkpoints import Checkpoints
from jaxvision.train.matching import Partial


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedRun:
    """What a config and a spec make, in a folder that this does not change."""

    config: Config
    workdir: Path
    spec: Spec
    task: Task
    mesh: jax.sharding.Mesh

    @property
    def metric(self) -> str:
        """The metric that says how good a state is, '-NAME' where less is better."""
        return self.config.train.best or self.task.best

    @property
    def best(self) -> str:
        """As `metric`, of the validation split; '' without one: nothing is selected then."""
        if not self.metric or 'validation' not in self.spec.data:
            return ''
        name = self.metric.removeprefix('-')
        sign = '-' if self.metric.startswith('-') else ''
        return f'{sign}validation/{name}'

    @property
    def monitored(self) -> Split:
        """The split that is evaluated during training."""
        return 'validation' if 'validation' in self.spec.data else 'test'

    @functools.cached_property
    def shapes(self) -> TrainState:
        """The shapes and dtypes of a state of this run."""
        return jax.eval_shape(
            self.first_state, jax.random.key(0), blank_batch(self.spec)
        )

    def first_state(
        self,
        key: jax.Array,
        batch: Batch,
        networks: dict[str, Tree] | None = None,
        leaves: dict[str, jax.Array | Partial] | None = None,
    ) -> TrainState:
        """Build the state before the first step.

        Args:
            key: the run's base key.
            batch: a batch of the spec's shapes.
            networks: variables of the networks that the task requires; those that are
                missing are initialised at random.
            leaves: parameters and statistics that the state begins with, whole or in
                part.

        Returns:
            The task's first state, its required networks in `frozen`.
        """
        state = init_from.fill(self.task.init(key, batch), leaves or {})
        networks = networks or {}
        missing = {
            name: _random_network(self.config, name, network)
            for name, network in self.spec.networks.items()
            if name not in networks
        }
        return state.replace(frozen={**state.frozen, **missing, **networks})

    def abstract(self) -> TrainState:
        """The shapes, dtypes and placement of a state of this run."""

        def put(x, place):
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)

        return jax.tree.map(put, self.shapes, sharding.place(self.mesh, self.shapes))

    def checkpoints(self, read_only: bool = False) -> Checkpoints:
        return Checkpoints(
            self.workdir / 'checkpoints', self.config.train.keep, self.best, read_only
        )

    def restore(self, step: str | int = 'last') -> TrainState:
        """Read the state of the 'last' or 'best' checkpoint, or of a numbered one."""
        with self.checkpoints(read_only=True) as checkpoints:
            found = checkpoints.find(step)
            processes.agree('checkpoint', {'workdir': str(self.workdir), 'step': found})
            return checkpoints.restore(self.abstract(), found)


def open_saved(workdir: Path) -> SavedRun:
    """Open a run's folder on the devices of this machine, which may be fewer than it had.

    Raises:
        UserError: The folder holds no run, or a damaged one.
    """
    config = read_config(workdir)
    spec = read_run_spec(workdir, config)
    return SavedRun(
        config=config,
        workdir=workdir,
        spec=spec,
        task=build_task(config, spec),
        mesh=inference_mesh(config),
    )


def load(workdir: Path, step: str | int = 'last') -> tuple[Task, Tree, Spec]:
    """Reopen a run: its task, variables and spec."""
    run = open_saved(workdir)
    return run.task, run.restore(step).variables, run.spec


def read_config(workdir: Path) -> Config:
    """The config that a run was trained with."""
    return stored(read_json(workdir / 'config.json')).lock()


def read_run_spec(workdir: Path, config: Config) -> Spec:
    """The spec of a run, whose errors name its folder."""
    try:
        return read_spec(read_json(workdir / 'spec.json'), config)
    except UserError as error:
        raise UserError(f'{workdir}: {error}') from error


def inference_mesh(config: Config) -> jax.sharding.Mesh:
    """A mesh of this machine's devices, with the run's `fsdp` where it divides them."""
    divides = jax.device_count() % config.parallel.fsdp == 0
    return sharding.make_mesh('jit', config.parallel.fsdp if divides else 1)


def build_task(config: Config, spec: Spec) -> Task:
    """Build the task alone, which needs no data and no folder.

    Raises:
        UserError: The run is in float64, and JAX is not set to it.
    """
    dtypes = (config.model.dtype, config.model.param_dtype)
    if 'float64' in dtypes and not jax.config.read('jax_enable_x64'):
        raise UserError(
            "this run is in float64: call jax.config.update('jax_enable_x64', True) "
            'before anything else'
        )
    return make_task(config, spec)


def blank_batch(spec: Spec, size: int = 1) -> Records:
    """A batch of zeros with the spec's inputs and targets."""
    arrays = {**spec.inputs, **spec.targets}
    batch = {
        name: np.zeros((size, *array.shape), array.dtype)
        for name, array in arrays.items()
    }
    return {**batch, 'index': np.arange(size, dtype=np.int32)}


def required_networks(config: Config) -> dict[str, RequiredNetwork]:
    """The networks that a task uses and does not train, by name."""
    requires = getattr(resolve('tasks', config.task.name), 'requires', None)
    return requires(config) if requires else {}


def _random_network(config: Config, name: str, network: NetworkSpec) -> Tree:
    if network.spec is None:
        weights = required_networks(config)[name].weights
        assert weights, f'{name} has neither a run nor weights'
        return weights.init()
    task = build_task(stored(network.config), network.spec)
    blank = jax.tree.map(jnp.asarray, blank_batch(network.spec))
    return task.init(jax.random.key(0), blank).variables
