"""The networks that a task requires: described in the run's spec, loaded into its `frozen`.

A task asks for them with `requires(config) -> {name: RequiredNetwork}`. A run keeps their specs
and weights, so that it needs their folders and files only once.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

from jaxvision import __version__
from jaxvision.core.config import FREE_FIELDS, fields
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.files import cache_folder
from jaxvision.core.spec import NetworkSpec, Spec
from jaxvision.core.task import RequiredNetwork
from jaxvision.core.trees import (
    content_hash,
)
from jaxvision.core.types import Tree
from jaxvision.train import checkpoints
from jaxvision.train.saved import (
    open_saved,
    read_config,
    read_run_spec,
    required_networks,
)
from jaxvision.train.sources import Sources


@dataclasses.dataclass(frozen=True)
class Training:
    """A required network that is to be trained in a folder first."""

    name: str
    config: Config
    folder: Path


def trainings(config: Config, workdir: Path) -> Iterator[Training]:
    """Yield the required networks that are trained by their config, finished or not.

    A run that has a checkpoint holds its required networks already, and needs none.
    """
    if checkpoints.exist(workdir):
        return
    for name, network in required_networks(config).items():
        if network.config:
            yield Training(name, network.config, _folder(name, network, workdir))


def describe(
    network: RequiredNetwork,
    describe_run: Callable[[Config, Sources], Spec],
    sources: Sources,
) -> NetworkSpec:
    """Describe a required network for the run's spec.

    Args:
        network: as the task requires it.
        describe_run: `describe_run(config, sources) -> spec` of a run yet to be trained.
        sources: those of the run that requires the network.

    Raises:
        UserError: The network is a folder that holds no run.
    """
    if network.weights:
        return NetworkSpec()
    if network.config:
        spec = describe_run(network.config, sources.of(network.config))
        return NetworkSpec(config=network.config.to_dict(), spec=spec)
    folder = Path(network.run)
    if not (folder / 'config.json').exists():
        raise UserError(f'the network that this task requires: {folder} is no run')
    config = read_config(folder)
    spec = read_run_spec(folder, config)
    return NetworkSpec(config=config.to_dict(), spec=spec)


def load(
    config: Config, workdir: Path
) -> tuple[dict[str, NetworkSpec], dict[str, Tree]]:
    """Read the required networks of a task.

    Returns:
        ({name: its description}, {name: its variables}).
    """
    described = {}
    variables = {}
    for name, network in required_networks(config).items():
        if network.weights:
            variables[name] = network.weights.read()
            description = NetworkSpec()
        else:
            run = open_saved(_folder(name, network, workdir))
            variables[name] = jax.device_get(run.restore('last').variables)
            description = NetworkSpec(config=run.config.to_dict(), spec=run.spec)
        described[name] = dataclasses.replace(
            description, hash=content_hash(variables[name])
        )
    return described, variables


def _folder(name: str, network: RequiredNetwork, workdir: Path) -> Path:
    """The folder of the run that is the network, or will be."""
    if network.run:
        return Path(network.run)
    if jax.process_count() > 1:  # The processes' caches may not be one.
        return workdir / 'required' / name
    assert network.config, f'{name} has no origin'
    data = Sources(network.config)['train'].info.fingerprint
    learned = {
        field: value
        for field, value in sorted(fields(network.config).items())
        if field not in FREE_FIELDS
    }
    digest = hashlib.sha256(f'{__version__} {learned} {data}'.encode()).hexdigest()
    return cache_folder('runs') / f'{name}-{digest[:16]}'
