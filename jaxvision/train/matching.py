"""Match weights of classes or words, such as the columns of a head, by their names."""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

# {name: leaf}, of which only the shapes are read.
Shapes = Mapping[str, Any]

_MOST_LISTED = 5


class Partial(NamedTuple):
    """A leaf that is copied in part; the rest of it is initialised.

    Attributes:
        values: the new leaf, with 0 at the places that are not copied.
        is_copied: mask of the copied places, broadcastable to `values`.
    """

    values: np.ndarray
    is_copied: Bool[np.ndarray, '...']

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the new leaf."""
        return self.values.shape


def pairs(
    old: Sequence[str], new: Sequence[str]
) -> tuple[Int[np.ndarray, 'm'], Int[np.ndarray, 'm']]:
    """Match two lists of names, in the order of the second list.

    Equal lists match place by place. In other lists, a name that occurs twice in either
    list is ambiguous and matches nothing. Names are equal if their NFC forms in Unicode
    are equal.

    Returns:
        (places in `old`, places in `new`) of the names that match, pair by pair, sorted
        by the place in `new`. Both arrays are empty if nothing matches.
    """
    old = _normalised(old)
    new = _normalised(new)
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
    old_places, new_places = np.array(matches, int).reshape(-1, 2).T
    return old_places, new_places


def _normalised(names: Sequence[str]) -> list[str]:
    return [unicodedata.normalize('NFC', name) for name in names]


def matched(
    values: np.ndarray,
    axis: int,
    old: Sequence[str],
    new: Sequence[str],
    shape: Sequence[int],
) -> np.ndarray | Partial:
    """Rearrange a leaf for a new list of names.

    Args:
        values: the old leaf. The last entries of its axis belong to the names `old`. Earlier
            entries, such as those of a concatenated latent, are copied.
        axis: the axis of the names.
        old: the names of the old leaf.
        new: the names of the new leaf.
        shape: the shape of the new leaf.

    Returns:
        The new leaf. A `Partial` if some new names have no counterpart in `old`. The
        old leaf itself if its size does not fit `old` and `shape`, which the check of
        shapes then reports.
    """
    before = shape[axis] - len(new)
    expected = list(shape)
    expected[axis] = before + len(old)
    if list(values.shape) != expected:
        return values
    old_places, new_places = pairs(old, new)
    others_before = np.arange(before)
    old_places = np.concatenate([others_before, before + old_places])
    new_places = np.concatenate([others_before, before + new_places])
    rearranged = np.zeros(tuple(shape), values.dtype)
    source = np.moveaxis(values, axis, 0)
    # A view, so that the assignment fills `rearranged`.
    target = np.moveaxis(rearranged, axis, 0)
    target[new_places] = source[old_places]
    if len(new_places) == shape[axis]:
        return rearranged
    is_copied = np.zeros(shape[axis], bool)
    is_copied[new_places] = True
    other_axes = [i for i in range(len(shape)) if i != axis]
    return Partial(rearranged, np.expand_dims(is_copied, other_axes))


def axes(shapes: Shapes, larger: Shapes) -> dict[str, int]:
    """Find the axis of the classes or words in each leaf that has one.

    Args:
        shapes: {name: leaf} of a run.
        larger: {name: leaf} of the same run with one more class or word.

    Returns:
        {name: axis} of the leaves that are larger by 1 along exactly one axis.
    """
    grown_axes = {}
    for name in shapes.keys() & larger.keys():
        sizes = zip(shapes[name].shape, larger[name].shape, strict=False)
        grown = [
            axis
            for axis, (size, larger_size) in enumerate(sizes)
            if larger_size == size + 1
        ]
        if len(grown) == 1:
            grown_axes[name] = grown[0]
    return grown_axes


def describe(
    source: str, old: Sequence[str], new: Sequence[str], kind: str = 'classes'
) -> str:
    """Describe in one line which names are copied, initialised and left out.

    Args:
        source: the run or file with the names `old`.
        old: the names of the source; empty if they are unknown.
        new: the names of the new run.
        kind: 'classes' or 'words'.

    Returns:
        The line, with at most 5 names of each kind; '' if the lists are equal. Without
        `old`, it says that the head is copied by position.
    """
    if list(old) == list(new):
        return ''
    if not old:
        return (
            f'init_from {source}: it does not name its {kind}, so its head is copied by '
            f'position, as if these were {_listed(new)}. Set train.init_new to initialise the '
            'head instead'
        )
    old_places, new_places = pairs(old, new)
    copied = [str(new[place]) for place in new_places]
    initialised = [name for place, name in enumerate(new) if place not in new_places]
    # Outputs without a name stand for no class.
    unmatched = [name for place, name in enumerate(old) if place not in old_places]
    left_out = [name for name in unmatched if name]
    return (
        f'init_from {source}: {len(copied)} of {len(new)} {kind} copied by name'
        f'{_in_brackets(copied)}, {len(initialised)} initialised'
        f'{_in_brackets(initialised)}; {len(left_out)} of the source left out'
        f'{_in_brackets(left_out)}'
    )


def _in_brackets(names: Sequence[str]) -> str:
    if not names:
        return ''
    return f' ({_listed(names)})'


def _listed(names: Sequence[str]) -> str:
    """List the first names."""
    listed = list(names[:_MOST_LISTED])
    if len(names) > _MOST_LISTED:
        listed.append('...')
    return ', '.join(listed)
