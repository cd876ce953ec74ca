"""A run that begins with parts of others: `train.init_from`, 'SOURCE[:PART][->PART],...'.

A SOURCE is a RUN, or published weights, whose parameters are all the model's: a FILE, or the name
of packaged ones ('efficientnet_lite0').
A part is a path in the parameters, 'model/encoder', its player first; statistics of the same path,
such as batch norm's, belong to it. Whatever has no counterpart is an error that lists it, unless
`train.init_new` names it.

Weights of a class or of a word, as the columns of a head, go by its name: see matching.py.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxvision.core.errors import UserError
from jaxvision.core.state import TrainState
from jaxvision.core.types import Tree
from jaxvision.pretrained import packaged_weights, position_embeddings
from jaxvision.train import matching
from jaxvision.train.matching import Partial, Shapes

T = TypeVar('T')


class Origin(NamedTuple):
    """What a source gives.

    Attributes:
        variables: as `TrainState.variables`.
        names: of its classes or words, in order; empty where they are unknown.
    """

    variables: Tree
    names: tuple[str, ...] = ()


class Leaf(NamedTuple):
    """A leaf that is taken over.

    Attributes:
        values: of the leaf.
        source: the run or file that it is of.
        names: of the source's classes or words; empty where they are unknown.
    """

    values: np.ndarray
    source: Path
    names: tuple[str, ...] = ()


def read(init_from: str, open_origin: Callable[[Path], Origin]) -> dict[str, Leaf]:
    """{name: leaf} of what the new run takes over; `open_origin(SOURCE)` reads a source."""
    found = {}
    open_origin = functools.cache(open_origin)  # Several parts may be of one source.
    for source, old, new in _parts(init_from):
        origin = open_origin(source)
        part = {
            new + name.removeprefix(old): Leaf(np.asarray(leaf), source, origin.names)
            for name, leaf in _named(origin.variables).items()
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


def named_shapes(state: TrainState) -> Shapes:
    """{name: leaf} of the parameters and statistics of a state, frozen ones included."""
    return _named(
        {'params': state.whole(state.params), 'model_state': state.model_state}
    )


def without_new(found: Mapping[str, T], init_new: str) -> dict[str, T]:
    """The leaves of no part that is to be new, named by the list `init_new`."""
    new = _split(init_new)
    return {
        name: leaf
        for name, leaf in found.items()
        if not any(_in(name, part) for part in new)
    }


def _split(init_new: str) -> list[str]:
    return [part.strip() for part in init_new.split(',') if part.strip()]


def fitting(
    shapes: TrainState,
    found: dict[str, Leaf],
    init_new: str,
    names: tuple[str, ...] = (),
    axes: Mapping[str, int] | None = None,
) -> dict[str, np.ndarray | Partial]:
    """What is taken over but of the parts that are to be new.

    Args:
        shapes: of the new run's state.
        found: what the sources give.
        init_new: the parts that are to be new.
        names: of the new run's classes or words.
        axes: {name of a leaf: its axis of these names}.

    Returns:
        {name: what the leaf begins with}, in part where a source lacks some names.

    Raises:
        UserError: a leaf of the run, or one that is taken over, has no counterpart of its shape.
    """
    wanted = named_shapes(shapes)
    for part in _split(init_new):
        if not any(_in(name, part) for name in {*wanted, *found}):
            raise UserError(f'train.init_new={init_new}: nothing is called {part!r}')
    found = without_new(found, init_new)
    wanted = without_new(wanted, init_new)
    axes = axes or {}
    fitted = {}
    for name, leaf in found.items():
        values = leaf.values
        if name in axes and name in wanted and leaf.names:
            shape = wanted[name].shape
            values = matching.matched(values, axes[name], leaf.names, names, shape)
        elif name.endswith('/position_embedding') and name in wanted:
            values = position_embeddings.resample(values, wanted[name].shape)
        fitted[name] = values
    _check_shapes(fitted, wanted)
    return fitted


def _check_shapes(found: Mapping[str, np.ndarray | Partial], wanted: Shapes) -> None:
    def shape(leaves: Shapes, name: str) -> list[int] | str:
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


def fill(
    state: TrainState, found: Mapping[str, Array | np.ndarray | Partial]
) -> TrainState:
    """The state with these leaves, in its averages too."""

    def take(path, leaf):
        values = found.get(_name(path), leaf)
        if isinstance(values, Partial):
            taken = jnp.asarray(values.values, leaf.dtype)
            return jnp.where(values.is_taken, taken, leaf)
        return jnp.asarray(values, leaf.dtype)

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
