"""Weights that belong to a class or a word, such as the columns of a head, matched by its name."""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

# Leaves by name, of which only the shapes are read.
Shapes = Mapping[str, Any]

_MOST_LISTED = 5


class Partial(NamedTuple):
    """A leaf of which a part is taken over, and the rest is initialised.

    Attributes:
        values: of the new leaf's shape; 0 where nothing is taken over.
        is_taken: where something is; its shape broadcasts to that of `values`.
    """

    values: np.ndarray
    is_taken: Bool[np.ndarray, '...']

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape


def pairs(
    old: Sequence[str], new: Sequence[str]
) -> tuple[Int[np.ndarray, 'm'], Int[np.ndarray, 'm']]:
    """Match two lists of names, in the order of the second.

    Equal lists match place by place. Otherwise a name that occurs twice in a list says not
    which is meant, and matches nothing. Unicode's forms of a name are one name.

    Returns:
        (places in `old`, places in `new`) of the names that match.
    """
    old = _composed(old)
    new = _composed(new)
    if old == new:
        return np.arange(len(old)), np.arange(len(new))
    old_counts = Counter(old)
    new_counts = Counter(new)
    places = {name: place for place, name in enumerate(old) if old_counts[name] == 1}
    matches = [
        (places[name], place)
        for place, name in enumerate(new)
        if name in places and new_counts[name] == 1
    ]
    of_old, of_new = np.array(matches, int).reshape(-1, 2).T
    return of_old, of_new


def _composed(names: Sequence[str]) -> list[str]:
    return [unicodedata.normalize('NFC', name) for name in names]


def matched(
    values: np.ndarray,
    axis: int,
    old: Sequence[str],
    new: Sequence[str],
    shape: Sequence[int],
) -> np.ndarray | Partial:
    """Bring a leaf to a new list of names.

    Args:
        values: the leaf, with the names `old` as the last entries of its axis. Entries before
            them, as of a latent that is concatenated, are taken over.
        axis: of the names.
        old: the names of the leaf.
        new: the names of the new leaf.
        shape: of the new leaf.

    Returns:
        The new leaf; the leaf as it is where it is of another kind than the new one, which
        the check of shapes then tells.
    """
    before = shape[axis] - len(new)
    expected = list(shape)
    expected[axis] = before + len(old)
    if list(values.shape) != expected:
        return values
    of_old, of_new = pairs(old, new)
    kept = np.arange(before)
    of_old = np.concatenate([kept, before + of_old])
    of_new = np.concatenate([kept, before + of_new])
    moved = np.zeros(tuple(shape), values.dtype)
    np.moveaxis(moved, axis, 0)[of_new] = np.moveaxis(values, axis, 0)[of_old]
    if len(of_new) == shape[axis]:
        return moved
    is_taken = np.zeros(shape[axis], bool)
    is_taken[of_new] = True
    others = [i for i in range(len(shape)) if i != axis]
    return Partial(moved, np.expand_dims(is_taken, others))


def axes(shapes: Shapes, larger: Shapes) -> dict[str, int]:
    """Find the axis of the classes or words of each leaf that has one.

    Args:
        shapes: {name: leaf} of a run.
        larger: the same of a run with one class or word more.
    """
    found = {}
    for name in shapes.keys() & larger.keys():
        sizes = zip(shapes[name].shape, larger[name].shape, strict=False)
        grown = [axis for axis, (size, more) in enumerate(sizes) if more == size + 1]
        if len(grown) == 1:
            found[name] = grown[0]
    return found


def describe(
    source: str, old: Sequence[str], new: Sequence[str], kind: str = 'classes'
) -> str:
    """Say in one line which names are taken over, initialised and left.

    Args:
        source: the run or file that has the names `old`.
        old: its names; empty where it says none.
        new: the names of the new run.
        kind: 'classes' or 'words'.

    Returns:
        The line; '' where the lists are equal.
    """
    if list(old) == list(new):
        return ''
    if not old:
        return (
            f'init_from {source}: it does not say its {kind}, so its head is taken over by '
            f'place, as that of {_listed(new)}; train.init_new would initialise it'
        )
    of_old, of_new = pairs(old, new)
    kept = [str(new[place]) for place in of_new]
    drawn = [name for place, name in enumerate(new) if place not in of_new]
    left = [name for place, name in enumerate(old) if place not in of_old]
    return (
        f'init_from {source}: of {len(new)} {kind}, {len(kept)} taken over by name'
        f'{_listed(kept, brackets=True)}, {len(drawn)} initialised'
        f'{_listed(drawn, brackets=True)}; {len(left)} of the source left out'
        f'{_listed(left, brackets=True)}'
    )


def _listed(names: Sequence[str], brackets: bool = False) -> str:
    """The first names of a list, in brackets unless it is empty."""
    text = ', '.join(names[:_MOST_LISTED])
    if len(names) > _MOST_LISTED:
        text += ', ...'
    if brackets:
        return f' ({text})' if names else ''
    return text
