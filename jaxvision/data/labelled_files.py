"""Files with their classes and splits, as a tree of folders or a table lists them."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.data.content import is_digest
from jaxvision.data.split_names import SPLITS, split_of
from jaxvision.data.wrappers import held_out

_MOST_NAMES = 3  # that a note lists


@dataclasses.dataclass(frozen=True)
class Item:
    """A file, the names of its classes, and its split.

    Attributes:
        path: the file.
        labels: its classes; none, if the files have no classes.
        split: one of `SPLITS`.
        real: the path without links. Two names of one file have the same.
    """

    path: Path
    labels: tuple[str, ...]
    split: str
    real: str = ''


@dataclasses.dataclass(frozen=True)
class Listing:
    """All files of a dataset.

    Attributes:
        items: the files.
        notes: what a user should know of how the dataset was read: a sentence each.
        doubts: what looks wrong in the dataset: a sentence each.
        multi_label: whether a file has any number of classes.
        columns: the classes, if a table has one column for each.
    """

    items: Sequence[Item]
    notes: Sequence[str] = ()
    doubts: Sequence[str] = ()
    multi_label: bool = False
    columns: tuple[str, ...] = ()


def by_split(items: Iterable[Item]) -> dict[str, list[Item]]:
    """The items of each of 'train', 'validation' and 'test', in order; [] for none."""
    found = {split: [] for split in SPLITS}
    for item in items:
        found[item.split].append(item)
    return found


def find_split(name: str, split: str, splits: Sequence[str]) -> str:
    """Find the split of a dataset that a user names, also by a usual other name.

    Args:
        name: the dataset, for the message.
        split: a name in `splits`, or another name of one: 'val' or 'Valid' for
            'validation'.
        splits: the splits of the dataset.

    Returns:
        The name in `splits`.

    Raises:
        UserError: There is no such split.
    """
    meant = split
    if split not in splits:
        meant = split_of(split)
    if meant not in splits:
        raise UserError(f'{name} has no split {split!r}; it has {", ".join(splits)}')
    return meant


def class_names(items: Iterable[Item]) -> set[str]:
    """The names of all classes that some item belongs to."""
    names = set()
    for item in items:
        names.update(item.labels)
    return names


def check_classes(items: Sequence[Item], classes: Sequence[str]) -> None:
    """Check that there are two or more classes, and that all items belong to them.

    Raises:
        UserError: There are fewer than two `classes`, or an item has a label that is
            not among them.
    """
    if not classes:
        raise UserError('no image has a label')
    if len(classes) < 2:
        raise UserError(
            f'there is only one class, {classes[0]!r}: nothing to tell apart'
        )
    known = set(classes)
    for item in items:
        for name in item.labels:
            if name not in known:
                raise UserError(
                    f'{item.path} is labelled {name!r}, a class that training does '
                    'not have. Add training examples of it, or correct the label'
                )


def without_copies(items: Sequence[Item]) -> list[Item]:
    """Return the first item of each file: links give a file several names.

    Items are one file if their `real` is equal, so it has to be set.

    Raises:
        UserError: Two items of one file differ in their split or their labels.
    """
    first = {}
    for item in items:
        other = first.setdefault(item.real, item)
        if other.split != item.split:
            raise UserError(
                f'{other.path} and {item.path} are one file, in {other.split} and in '
                f'{item.split}: it would be measured on what it was trained on. Remove '
                'one of the links.'
            )
        if other.labels != item.labels:
            raise UserError(
                f'{other.path} and {item.path} are one file, of two classes. Remove one '
                'of the links, or list the labels of each file in a labels.csv.'
            )
    return list(first.values())


def listed(
    root: Path, items: Sequence[Item], contents: Sequence[str]
) -> list[tuple[str, str, tuple[str, ...]]]:
    """List what identifies a dataset.

    Args:
        root: the folder of the dataset.
        items: the files.
        contents: the result of `content.identify` for each file, in their order.

    Returns:
        (path relative to `root`, content, labels) of each file, sorted.
    """
    return sorted(
        (name_in(root, item.path), content_id, item.labels)
        for item, content_id in zip(items, contents, strict=True)
    )


def contradictions(
    root: Path, items: Sequence[Item], contents: Sequence[str]
) -> list[str]:
    """A note of files with the same bytes as an earlier one, but other labels.

    Args:
        root: the folder of the dataset.
        items: the files.
        contents: the result of `content.identify` for each file, in their order. Files
            without a digest are not compared.

    Returns:
        One sentence with their number and the first pair; empty if there are none.
    """
    first = {}
    pairs = []
    for item, content_id in zip(items, contents, strict=True):
        if not is_digest(content_id):
            continue
        other = first.setdefault(content_id, item)
        if set(other.labels) != set(item.labels):
            pairs.append((other, item))
    if not pairs:
        return []
    other, item = pairs[0]
    return [
        f'{count(len(pairs), "file")} of other labels than an equal one, such as '
        f'{name_in(root, other.path)} and {name_in(root, item.path)}'
    ]


def not_held_out(items: Sequence[Item]) -> tuple[str, ...]:
    """A note of the classes that are too small for a fifth of them to be held out.

    Every item has to have one label. A class of one or two items is too small. The
    result is () if there is none, else one text with up to three of the classes.
    """
    names = [item.labels[0] for item in items]
    classes, labels, sizes = np.unique(names, return_inverse=True, return_counts=True)
    _, held = held_out(labels)
    missing = np.setdiff1d(np.arange(len(classes)), labels[held])
    if not missing.size:
        return ()
    small = [f'{classes[label]} ({sizes[label]})' for label in missing]
    if len(small) == len(classes):
        return (
            'every class is too small for a part of it to be held out: add images, or a '
            'folder test/ beside train/; or predict from a few images a class with '
            'jaxvision predict --support',
        )
    return (
        f'too small for a part to be held out, and therefore not measured where there '
        f'is no test split: {some(small)}',
    )


def name_in(root: Path, path: Path) -> str:
    """The path of a file relative to `root`, or the whole path if it lies elsewhere."""
    if path.is_relative_to(root):
        path = path.relative_to(root)
    return path.as_posix()


def printable(notes: Iterable[str]) -> tuple[str, ...]:
    """Notes with a backslash escape for each byte of a file name that is not UTF-8."""
    return tuple(note.encode(errors='backslashreplace').decode() for note in notes)


def count(number: int, noun: str, plural: str = '') -> str:
    """'1 image' or '1,200 images'. The plural of a noun ends in s unless it is given."""
    if number == 1:
        return f'{number:,} {noun}'
    return f'{number:,} {plural or noun + "s"}'


def some(names: Sequence[str]) -> str:
    """The first three names, and how many more there are: 'a, b, c and 5 more'."""
    shown = ', '.join(names[:_MOST_NAMES])
    left = len(names) - _MOST_NAMES
    if left > 0:
        return f'{shown} and {left:,} more'
    return shown
