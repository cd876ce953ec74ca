"""The networks that a task stands on, by name: a run of the person's own, or one that is trained
once, into the user's cache.

A module in tasks/ asks for them with `requires(config) -> {name: ConfigDict, RUN or Weights}`. Their
specs go into this run's spec, their weights into its `frozen`, so that it needs neither afterwards.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxvision import __version__
from jaxvision.core.config import FREE_FIELDS, fields, resolve
from jaxvision.core.files import cache_folder
from jaxvision.train import checkpoints, processes
from jaxvision.train.sources import Sources

Tree = Any


@dataclasses.dataclass(frozen=True)
class Weights:
    """Variables that no run of this package has made."""

    read: Callable[[], Tree]  # from their file, on the host
    init: Callable[[], Tree]  # random ones of the same shapes


def wanted(config: ConfigDict) -> dict[str, ConfigDict | str | Weights]:
    """{name: how it is trained, the run that is it, or its weights}."""
    requires = getattr(resolve('tasks', config.task.name), 'requires', None)
    return requires(config) if requires else {}


def folder(name: str, network: ConfigDict | str, workdir: Path) -> Path:
    """Where the run is that is the network, or will be."""
    if isinstance(network, str):
        return Path(network)
    if jax.process_count() > 1:  # whose caches need not be one
        return workdir / 'required' / name
    data = Sources(network)['train'].info.fingerprint
    learned = {
        field: value
        for field, value in sorted(fields(network).items())
        if field not in FREE_FIELDS
    }
    made_of = hashlib.sha256(f'{__version__} {learned} {data}'.encode())
    return cache_folder('runs') / f'{name}-{made_of.hexdigest()[:16]}'


def provide(
    config: ConfigDict, workdir: Path, train: Callable[[ConfigDict, Path], Any]
) -> bool:
    """Train what is not there yet; whether all of it is there now: a signal may have come."""
    if checkpoints.exist(workdir):
        return True  # the run has them in those
    for name, network in wanted(config).items():
        if isinstance(network, ConfigDict):
            place = folder(name, network, workdir)
            processes.say(f'the network {name!r}, on which this task stands: {place}')
            if not train(network, place).finished:
                return False
            processes.say('')
    return True
