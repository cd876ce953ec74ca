"""Frozen parameters: parts of a network that `train.frozen` excludes from training.

A part is named NETWORK/PATH. Frozen parameters are in `state.frozen['params']`. They have no
gradient, no optimizer state and no moving average. Frozen modules compute as in evaluation:
without dropout and without updates of batch statistics.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import jax

from jaxvision.core import trees
from jaxvision.core.errors import UserError
from jaxvision.core.state import TrainState
from jaxvision.core.task import (
    Task,
)
from jaxvision.core.types import Batch, NetworkTrees
from jaxvision.models import tuning


def freeze(task: Task, paths: Iterable[str]) -> Task:
    """Exclude parts of a task's networks, such as 'model/encoder', from training.

    A wrong path raises a UserError not here, but in the `init` of the result: the part does not
    exist, is a whole network, or another network has a part of the same name.

    Args:
        task: the task, which is not changed.
        paths: the parts, each as NETWORK/PATH; empty paths are ignored.

    Returns:
        The task with another `init` and `update`. Without paths, the same task.
    """
    split_paths = [path.strip().split('/') for path in paths if path.strip()]
    if not split_paths:
        return task

    def init(key: jax.Array, batch: Batch) -> TrainState:
        state = task.init(key, batch)
        for path in split_paths:
            state = _freeze_part(state, path)
        return state

    def update(state: TrainState, batch: Batch):
        with tuning.tuned({'/'.join(names) for _, *names in split_paths}):
            return task.update(state, batch)

    return dataclasses.replace(task, init=init, update=update)


def _freeze_part(state: TrainState, path: Sequence[str]) -> TrainState:
    """Move the part at a path from the trained to the frozen parameters.

    Raises:
        UserError: The part does not exist. Or another network has a part of this name. Or
            no other part of the network is left to train.
    """
    network, *names = path
    part = '/'.join(path)
    params = state.params.get(network, {})
    _check_part(state, network, names)
    trained = trees.without_path(params, names)
    if not jax.tree.leaves(trained):
        raise UserError(
            f'train.frozen={part}: expected some parameters of {network} that stay '
            'trainable, but this part has all of them. Freeze a smaller part.'
        )

    def remove(networks: NetworkTrees) -> NetworkTrees:
        if network not in networks:
            return networks
        tree = trees.without_path_everywhere(networks[network], names)
        return {**networks, network: tree}

    ema = state.ema
    if ema:
        ema = {**ema, 'params': remove(ema['params'])}
    frozen = trees.joined(
        state.frozen.get('params', {}), {network: trees.only_path(params, names)}
    )
    return state.replace(
        params={**state.params, network: trained},
        opt_state=remove(state.opt_state),
        ema=ema,
        frozen={**state.frozen, 'params': frozen},
    )


def _check_part(state: TrainState, network: str, names: Sequence[str]) -> None:
    part = '/'.join([network, *names])
    if not names or not trees.has_path(state.params.get(network, {}), names):
        known = []
        for name, children in state.params.items():
            known += [f'{name}/{child}' for child in children]
        raise UserError(
            f'train.frozen={part}: expected parts such as {", ".join(known)}. Choose one '
            'of these, or a part inside.'
        )
    for other in state.params.keys() - {network}:
        if trees.has_path(state.params[other], names):
            raise UserError(
                f'train.frozen={part}: expected a part that no other network has, but '
                f'{other} has a part of this name too. Choose another part.'
            )
