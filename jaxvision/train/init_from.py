"""Initialise a run from other runs or files: `train.init_from`, 'SOURCE[:PART][->PART],...'.

A SOURCE is a run folder, a weights file, or the name of packaged weights such as
'efficientnet_lite0'. The parameters of a weights file are those of the network 'model'.

A PART is a path in the parameters that begins with the network, such as 'model/encoder'.
Statistics of the same path, such as those of batch norm, belong to the part.

A leaf without a counterpart is an error, unless `train.init_new` names it. Weights of a class or
a word, such as the columns of a head, are matched by name, see matching.py.
"""

import contextlib
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

_MOST_LISTED = 8
_ABSENT = 'absent'


class Origin(NamedTuple):
    """The content of a source.

    Attributes:
        variables: {'params': {network: tree}, 'model_state': {network: tree}}. Other
            entries are ignored.
        names: names of the classes or words, in order; empty if they are unknown.
    """

    variables: Tree
    names: tuple[str, ...] = ()


class Leaf(NamedTuple):
    """A leaf of a source.

    Attributes:
        values: the values of the leaf.
        source: the run or file.
        names: names of the classes or words of the source; empty if they are unknown.
    """

    values: np.ndarray
    source: Path
    names: tuple[str, ...] = ()


class _Part(NamedTuple):
    """An entry of `train.init_from`.

    Attributes:
        source: the run or file.
        old: the path of the part in the source; '': everything.
        new: the path of the part in the new run.
    """

    source: Path
    old: str
    new: str


def read(init_from: str, open_origin: Callable[[Path], Origin]) -> dict[str, Leaf]:
    """Read the leaves that `train.init_from` selects.

    Args:
        init_from: the value of `train.init_from`.
        open_origin: `open_origin(source)` reads a source, and is called once per
            source.

    Returns:
        {name in the new run: leaf}, {} for an empty `init_from`. A name is
        'network/path', such as 'model/stem/kernel'; a statistic ends with its
        collection, such as ' (batch_stats)'.

    Raises:
        UserError: A source cannot be read, lacks a part, or sets a leaf a second time.
    """
    leaves = {}
    # Several parts may be of one source.
    open_origin = functools.cache(open_origin)
    for source, old, new in _parts(init_from):
        with naming_field(init_from):
            origin = open_origin(source)
        part = {}
        for name, values in _named(origin.variables).items():
            if _is_in(name, old):
                below = name.removeprefix(old).removeprefix('/')
                new_name = '/'.join(filter(None, [new, below]))
                part[new_name] = Leaf(np.asarray(values), source, origin.names)
        if not part:
            raise UserError(
                f'train.init_from={init_from}: {source} has no part {old!r}. Give the path '
                'of a part, such as model/stem'
            )
        for name in part.keys() & leaves.keys():
            raise UserError(
                f'train.init_from={init_from}: {name} is set twice. Remove one of the entries'
            )
        leaves |= part
    return leaves


@contextlib.contextmanager
def naming_field(init_from: str) -> Iterator[None]:
    """Put `train.init_from=...` before the message of a UserError in the block."""
    try:
        yield
    except UserError as error:
        raise UserError(f'train.init_from={init_from}: {error}') from error


def sources(init_from: str) -> list[Path]:
    """List the paths of the runs and files in `train.init_from`, in order.

    A source that has several parts is listed once per part. Nothing is listed for ''.

    Raises:
        UserError: The package of packaged weights is not installed.
    """
    return [part.source for part in _parts(init_from)]


def _parts(init_from: str) -> Iterator[_Part]:
    for text in filter(None, map(str.strip, init_from.split(','))):
        origin, arrow, new = text.partition('->')
        source, _, old = origin.strip().partition(':')
        with naming_field(init_from):
            path = packaged_weights.locate(source)
        yield _Part(path, old, new.strip() if arrow else old)


def named_shapes(state: TrainState) -> Shapes:
    """Name the parameters and statistics of a state: {'network/path': leaf}.

    Frozen parameters are included. A statistic ends with its collection, such as
    'model/norm/mean (batch_stats)'.
    """
    variables = {'params': state.whole(state.params), 'model_state': state.model_state}
    return _named(variables)


def without_new(leaves: Mapping[str, T], init_new: str) -> dict[str, T]:
    """Copy `leaves` without those of the parts in `init_new`.

    Args:
        leaves: {name: leaf}, with names such as 'model/head/kernel'.
        init_new: the value of `train.init_new`: paths such as 'model/head', with commas
            between them; '' removes nothing.
    """
    kept = dict(leaves)
    for part in _split(init_new):
        kept = {name: leaf for name, leaf in kept.items() if not _is_in(name, part)}
    return kept


def _split(init_new: str) -> list[str]:
    return [part.strip() for part in init_new.split(',') if part.strip()]


def adapted(
    shapes: TrainState,
    leaves: dict[str, Leaf],
    init_new: str,
    names: tuple[str, ...] = (),
    axes: Mapping[str, int] | None = None,
) -> dict[str, np.ndarray | Partial]:
    """Adapt the leaves of sources to a new run, and check that none is missing.

    Position embeddings of another grid are resampled.

    Args:
        shapes: the shapes of the new run's state.
        leaves: {name in the new run: leaf of a source}.
        init_new: the value of `train.init_new`, the parts that are initialised at random.
            Their leaves are neither copied nor checked.
        names: names of the classes or words of the new run.
        axes: {name of a leaf: its axis of classes or words}. Along this axis, values
            are matched by name, if the source has names. None: all leaves are copied by
            position.

    Returns:
        {name: initial values} of all leaves outside of `init_new`. The values are
        `Partial` if the source lacks some names.

    Raises:
        UserError: A leaf of the run or of a source has no counterpart of the same
            shape, or `init_new` names a part that does not exist.
    """
    expected = named_shapes(shapes)
    for part in _split(init_new):
        if not any(_is_in(name, part) for name in {*expected, *leaves}):
            raise UserError(
                f'train.init_new={init_new}: no parameter is called {part!r}. Give the path '
                'of a part, such as model/head'
            )
    leaves = without_new(leaves, init_new)
    expected = without_new(expected, init_new)
    axes = axes or {}
    adapted_leaves = {}
    for name, leaf in leaves.items():
        values = leaf.values
        if name in axes and name in expected and leaf.names:
            shape = expected[name].shape
            values = matching.matched(values, axes[name], leaf.names, names, shape)
        elif name.endswith('/position_embedding') and name in expected:
            values = position_embeddings.resample(values, expected[name].shape)
        adapted_leaves[name] = values
    _check_shapes(adapted_leaves, expected)
    return adapted_leaves


def _check_shapes(leaves: Mapping[str, np.ndarray | Partial], expected: Shapes) -> None:
    known = {*leaves, *expected}
    mismatches = {}
    for name in sorted(known):
        shape = _shape_of(leaves, name)
        expected_shape = _shape_of(expected, name)
        if shape != expected_shape:
            mismatches[name] = f'{name} is {shape}, here {expected_shape}'
    if not mismatches:
        return
    descriptions = list(mismatches.values())
    listed = '; '.join(descriptions[:_MOST_LISTED])
    if len(descriptions) > _MOST_LISTED:
        listed += f'; and {len(descriptions) - _MOST_LISTED} more'
    parts = _largest_parts(set(mismatches), known)
    # A part without '/' is a whole network, which is hardly meant.
    example = ''
    if all('/' in part for part in parts):
        example = f', such as train.init_new={",".join(parts)}'
    raise UserError(
        f'train.init_from: the sources do not fit this run: {listed}. List the parts to '
        f'initialise at random, or to leave out, in train.init_new{example}'
    )


def _shape_of(leaves: Shapes, name: str) -> list[int] | str:
    return list(leaves[name].shape) if name in leaves else _ABSENT


def _largest_parts(names: set[str], known: set[str]) -> list[str]:
    """Find the largest parts in which all known names are among `names`."""
    mixed = set()
    for name in known - names:
        mixed.update(_prefixes(name))
    parts = []
    for name in sorted(names):
        part = next(prefix for prefix in _prefixes(name) if prefix not in mixed)
        if part not in parts:
            parts.append(part)
    return parts


def _prefixes(name: str) -> list[str]:
    """List the parts that hold a leaf, the largest first: 'a', 'a/b', 'a/b/c'."""
    path = name.split('/')
    return ['/'.join(path[:end]) for end in range(1, len(path) + 1)]


def fill(
    state: TrainState, leaves: Mapping[str, Array | np.ndarray | Partial]
) -> TrainState:
    """Copy a state with other values of some leaves, also in its averaged weights.

    Frozen parameters may be set, but no auxiliary network.

    Args:
        state: the state.
        leaves: {name: values}, named as 'network/path'. A `Partial` sets a part of a
            leaf. Values get the dtype of the leaf. Names that the state lacks are
            ignored.
    """

    def take(path, leaf):
        values = leaves.get(_name(path), leaf)
        if isinstance(values, Partial):
            copied = jnp.asarray(values.values, leaf.dtype)
            return jnp.where(values.is_copied, copied, leaf)
        return jnp.asarray(values, leaf.dtype)

    # Auxiliary networks are frozen too, and are not filled.
    frozen = {name: state.frozen[name] for name in ('params',) if name in state.frozen}
    trees = {
        'params': state.params,
        'frozen': frozen,
        'model_state': state.model_state,
        'ema': state.ema,
    }
    filled = jax.tree.map_with_path(take, trees)
    return state.replace(**{**filled, 'frozen': {**state.frozen, **filled['frozen']}})


def _named(variables: Tree) -> dict[str, Any]:
    """Name the parameters and statistics of variables: {name: leaf}."""
    return {
        _name(path): leaf
        for path, leaf in jax.tree.leaves_with_path(variables)
        if path[0].key in ('params', 'model_state')
    }


def _name(path: tuple) -> str:
    """Name a leaf 'network/path'. A statistic has its collection last.

    For example 'model/norm/scale' and 'model/norm/mean (batch_stats)'.
    """
    kind, *keys = (key.key for key in path if key.key not in ('ema', 'frozen'))
    if kind == 'model_state':
        network, collection, *modules, leaf = keys
        keys = [network, *modules, f'{leaf} ({collection})']
    return '/'.join(keys)


def _is_in(name: str, part: str) -> bool:
    """Whether a leaf belongs to a part; '' is the part with all leaves."""
    return not part or name == part or name.startswith(f'{part}/')
