"""Parts of a task's players that stay as they begin: 'PLAYER/PATH', of `train.frozen` or a task's own.

Their leaves lie in `state.frozen['params']`: they have no gradient, no optimizer's memory and no
average. Their modules compute as in evaluation: batch statistics stay, and nothing is dropped.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax

from jaxvision.core.errors import UserError
from jaxvision.core.state import TrainState
from jaxvision.core.task import Task
from jaxvision.core.trees import joined
from jaxvision.models import tuning

Tree = Any
Path = list[str]


def freeze(task: Task, paths: Iterable[str]) -> Task:
    """The task, but of these parts: 'model/encoder', ..."""
    paths = [path.strip().split('/') for path in paths if path.strip()]
    if not paths:
        return task

    def init(key, batch):
        state = task.init(key, batch)
        for path in paths:
            state = _split(state, path)
        return state

    def update(state, batch):
        with tuning.tuned({'/'.join(names) for _, *names in paths}):
            return task.update(state, batch)

    return dataclasses.replace(task, init=init, update=update)


def _split(state: TrainState, path: Path) -> TrainState:
    """The state of which this part is frozen.

    Raises:
        UserError: there is no such part, another player has one too, or its player has no other.
    """
    player, *names = path
    where, tree = '/'.join(path), state.params.get(player, {})
    if not names or not _has(tree, names):
        parts = [
            f'{name}/{part}' for name, parts in state.params.items() for part in parts
        ]
        raise UserError(
            f'train.frozen: there is no {where!r} to freeze, but {", ".join(parts)}'
        )
    for other in state.params.keys() - {player}:
        if _has(state.params[other], names):
            raise UserError(
                f'train.frozen: {where} cannot be frozen alone: {other} has a part of '
                'that name too'
            )
    if not jax.tree.leaves(rest := _without(tree, names)):
        raise UserError(f'train.frozen: nothing of {player} but {where} could learn')
    stays = tree
    for name in names:
        stays = stays[name]
    for name in reversed(path):
        stays = {name: stays}

    def cut(players):
        return (
            {**players, player: _everywhere(players[player], names)}
            if player in players
            else players
        )

    ema = {**state.ema, 'params': cut(state.ema['params'])} if state.ema else state.ema
    return state.replace(
        params={**state.params, player: rest},
        opt_state=cut(state.opt_state),
        ema=ema,
        frozen={
            **state.frozen,
            'params': joined(state.frozen.get('params', {}), stays),
        },
    )


def _has(tree: Tree, names: Path) -> bool:
    return (
        not names
        or isinstance(tree, dict)
        and names[0] in tree
        and _has(tree[names[0]], names[1:])
    )


def _without(tree: Tree, names: Path) -> Tree:
    first, *others = names
    inside = {first: _without(tree[first], others)} if others else {}
    return {
        name: inside.get(name, node)
        for name, node in tree.items()
        if name != first or inside
    }


def _everywhere(tree: Tree, names: Path) -> Tree:
    """Of an optimizer's state, which holds trees like the parameters': without that part of each."""

    def cut(node):
        if not isinstance(node, dict):
            return node
        if _has(node, names):
            return _without(node, names)
        return {name: _everywhere(inner, names) for name, inner in node.items()}

    return jax.tree.map(cut, tree, is_leaf=lambda node: isinstance(node, dict))
