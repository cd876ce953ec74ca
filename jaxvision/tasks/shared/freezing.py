"""Parts of a task's networks that are not trained: 'NETWORK/PATH' of `train.frozen`.

Their leaves lie in `state.frozen['params']`: they have no gradient, no optimizer state and no
average. Their modules compute as in evaluation: batch statistics are not updated, and nothing
is dropped.
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
from jaxvision.core.types import Batch, Tree
from jaxvision.models import tuning


def freeze(task: Task, paths: Iterable[str]) -> Task:
    """Freeze parts of a task's networks, such as 'model/encoder'."""
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
        UserError: There is no such part, another network has one too, or nothing else of its
            network could be trained.
    """
    network, *names = path
    part = '/'.join(path)
    params = state.params.get(network, {})
    _check_part(state, network, names)
    trained = trees.without_path(params, names)
    if not jax.tree.leaves(trained):
        raise UserError(f'train.frozen: nothing of {network} but {part} could learn')

    def remove(networks: dict[str, Tree]) -> dict[str, Tree]:
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
        known = [
            f'{name}/{child}'
            for name, children in state.params.items()
            for child in children
        ]
        raise UserError(
            f'train.frozen: there is no {part!r} to freeze, but {", ".join(known)}'
        )
    for other in state.params.keys() - {network}:
        if trees.has_path(state.params[other], names):
            raise UserError(
                f'train.frozen: {part} cannot be frozen alone: {other} has a part of '
                'that name too'
            )
