"""Auxiliary networks: a task uses them and does not train them.

A task requires them by `requires(config) -> {name: RequiredNetwork}`. A run saves their specs and
weights, so it needs their folders and files only once.
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
from jaxvision.core.trees import content_hash
from jaxvision.core.types import NetworkTrees
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
    """The training of an auxiliary network in a folder.

    Attributes:
        name: the name of the network in its task.
        config: the config that trains the network.
        folder: the run folder of the network.
    """

    name: str
    config: Config
    folder: Path


def trainings(config: Config, workdir: Path) -> Iterator[Training]:
    """Yield the trainings of the auxiliary networks of a run, finished or not.

    Networks that come from the folder of another run, or from a file, need no training.
    A run with a checkpoint already holds its networks, and yields nothing. A run of
    one process opens the training data of each network, to name the folder after it.

    Args:
        config: the config of the run that requires the networks.
        workdir: the folder of this run.
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
    """Describe an auxiliary network for the spec of a run.

    Args:
        network: the network, as the task requires it.
        describe_run: `describe_run(config, sources) -> spec` of a run that trains a network.
        sources: the data of the run that requires the network.

    Returns:
        The description, without a hash. It is empty for weights that no run trained.

    Raises:
        UserError: The network is the folder of a run, but the folder holds no run or a
            damaged one.
    """
    if network.weights:
        return NetworkSpec()
    if network.config:
        spec = describe_run(network.config, sources.of(network.config))
        return NetworkSpec(config=network.config.to_dict(), spec=spec)
    folder = Path(network.run)
    if not (folder / 'config.json').exists():
        raise UserError(
            f'{folder}: expected the run folder of a network that this task requires. Check '
            'the path'
        )
    config = read_config(folder)
    spec = read_run_spec(folder, config)
    return NetworkSpec(config=config.to_dict(), spec=spec)


def load(config: Config, workdir: Path) -> tuple[dict[str, NetworkSpec], NetworkTrees]:
    """Read the auxiliary networks of a run.

    A training that is not finished is not an error: its last checkpoint counts.

    Args:
        config: the config of the run that requires the networks.
        workdir: the folder of this run.

    Returns:
        ({name: description with the hash}, {name: variables on the host}). A network of
        a run has the `TrainState.variables` of its last checkpoint.

    Raises:
        UserError: The run or the file of a network is missing or damaged.
    """
    descriptions = {}
    variables = {}
    for name, network in required_networks(config).items():
        if network.weights:
            variables[name] = network.weights.read()
            description = NetworkSpec()
        else:
            run = open_saved(_folder(name, network, workdir))
            variables[name] = jax.device_get(run.restore('last').variables)
            description = NetworkSpec(config=run.config.to_dict(), spec=run.spec)
        descriptions[name] = dataclasses.replace(
            description, hash=content_hash(variables[name])
        )
    return descriptions, variables


def _folder(name: str, network: RequiredNetwork, workdir: Path) -> Path:
    """Find the folder of the run that trained or will train a network."""
    if network.run:
        return Path(network.run)
    # The caches of several processes may differ.
    if jax.process_count() > 1:
        return workdir / 'required' / name
    assert network.config, f'{name} has no origin'
    fingerprint = Sources(network.config)['train'].info.fingerprint
    settings = {
        field: value
        for field, value in sorted(fields(network.config).items())
        if field not in FREE_FIELDS
    }
    text = f'{__version__} {settings} {fingerprint}'
    digest = hashlib.sha256(text.encode()).hexdigest()
    return cache_folder('runs') / f'{name}-{digest[:16]}'
