"""A run that begins with parts of others: `train.init_from`, 'SOURCE[:PART][->PART],...'.

A SOURCE is a RUN, or published weights, whose parameters are all the model's: a FILE, or the name
of packaged ones ('efficientnet_lite0').
A part is a path in the parameters, 'model/encoder', its player first; statistics of the same path,
such as batch norm's, belong to it. Whatever has no counterpart is an error that lists it, unless
`train.init_new` names it.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxvision.core.errors import UserError
from jaxvision.core.state import TrainState
from jaxvision.core.types import Tree
from jaxvision.pretrained import packaged_weights, position_embeddings


def read(init_from: str, variables: Callable[[Path], Tree]) -> dict[str, np.ndarray]:
    """{name: leaf} of what the new run takes over; `variables(SOURCE)` are those of a source."""
    found = {}
    variables = functools.cache(variables)  # Several parts may be of one source.
    for source, old, new in _parts(init_from):
        part = {
            new + name.removeprefix(old): np.asarray(leaf)
            for name, leaf in _named(variables(source)).items()
            if _in(name, old)
        }
        if not part:
            raise UserError(f'train.init_from: {source} has no {old!r}')
        for name in part.keys() & found.keys():
            raise UserError(f'train.init_from gives {name} twice')
        found |= part
    return found


def sources(init_from: str) -> list[Path]:
    return [source for source, *_ in _parts(init_from)]


def _parts(init_from: str) -> Iterator[tuple[Path, str, str]]:
    """(source, part of it, part of the new run)"""
    for text in filter(None, map(str.strip, init_from.split(','))):
        where, arrow, new = (part.strip() for part in text.partition('->'))
        source, _, old = where.partition(':')
        yield packaged_weights.locate(source), old, new if arrow else old


def fitting(
    shapes: TrainState, found: dict[str, np.ndarray], init_new: str
) -> dict[str, np.ndarray]:
    """What is taken over but of the parts that are to be new.

    Raises:
        UserError: a leaf of the run, or one that is taken over, has no counterpart of its shape.
    """
    new = [part.strip() for part in init_new.split(',') if part.strip()]
    wanted = _named(
        {'params': shapes.whole(shapes.params), 'model_state': shapes.model_state}
    )
    for part in new:
        if not any(_in(name, part) for name in {*wanted, *found}):
            raise UserError(f'train.init_new={init_new}: nothing is called {part!r}')
    found, wanted = (
        {
            name: leaf
            for name, leaf in leaves.items()
            if not any(_in(name, part) for part in new)
        }
        for leaves in (found, wanted)
    )
    found = {
        name: position_embeddings.resample(leaf, wanted[name].shape)
        if name.endswith('/position_embedding') and name in wanted
        else leaf
        for name, leaf in found.items()
    }

    def shape(leaves, name):
        return list(leaves[name].shape) if name in leaves else 'not there'

    wrong = [
        name
        for name in sorted({*found, *wanted})
        if shape(found, name) != shape(wanted, name)
    ]
    if wrong:
        told = [
            f'{name} is {shape(found, name)}, here {shape(wanted, name)}'
            for name in wrong[:8]
        ]
        more = f'; and {len(wrong) - 8} more' if len(wrong) > 8 else ''
        parts = _parts_of(set(wrong), {*found, *wanted})
        such = (
            ''
            if any('/' not in part for part in parts)
            else f', as train.init_new={",".join(parts)}'
        )
        raise UserError(
            f'train.init_from does not fit: {"; ".join(told)}{more}. What is to be '
            f'drawn, or left, all the same is named in train.init_new{such}'
        )
    return found


def _parts_of(names: set[str], known: set[str]) -> list[str]:
    """The largest parts in which nothing is known but these."""
    mixed = {
        '/'.join(path[:end])
        for path in (name.split('/') for name in known - names)
        for end in range(1, len(path) + 1)
    }
    paths = (name.split('/') for name in sorted(names))
    return list(
        dict.fromkeys(
            next(
                part
                for part in ('/'.join(path[:end]) for end in range(1, len(path) + 1))
                if part not in mixed
            )
            for path in paths
        )
    )


def fill(state: TrainState, found: Mapping[str, Array | np.ndarray]) -> TrainState:
    """The state with these leaves, in its averages too."""

    def take(path, leaf):
        return jnp.asarray(found.get(_name(path), leaf), leaf.dtype)

    stays = {'params': state.frozen['params']} if 'params' in state.frozen else {}
    filled = jax.tree.map_with_path(
        take,
        {
            'params': state.params,
            'frozen': stays,
            'model_state': state.model_state,
            'ema': state.ema,
        },
    )
    return state.replace(**{**filled, 'frozen': {**state.frozen, **filled['frozen']}})


def _named(variables: Tree) -> dict[str, Any]:
    return {
        _name(path): leaf
        for path, leaf in jax.tree.leaves_with_path(variables)
        if path[0].key in ('params', 'model_state')
    }


def _name(path: tuple) -> str:
    """player/path; of statistics their collection last: 'model/norm/mean (batch_stats)'."""
    kind, *rest = (key.key for key in path if key.key not in ('ema', 'frozen'))
    if kind == 'model_state':
        player, collection, *rest = rest
        rest = [player, *rest[:-1], f'{rest[-1]} ({collection})']
    return '/'.join(rest)


def _in(name: str, part: str) -> bool:
    return not part or name == part or name.startswith(f'{part}/')
