"""A person's own images: one folder a class, or a labels.csv of one or several labels."""

import csv
import dataclasses
from collections.abc import Iterable, Sequence, Set
from pathlib import Path

import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.data.protocol import (
    Example,
    Labels,
    RowSource,
    SourceInfo,
    Unreadable,
    check_split,
    fingerprint,
)

SPLITS = ('train', 'val', 'validation', 'test')
_SAMPLE = 32  # files whose mode tells whether the data set is grey


@dataclasses.dataclass(frozen=True)
class Item:
    path: Path
    labels: tuple[str, ...]
    split: str


@dataclasses.dataclass(frozen=True)
class _Listing:
    items: list[Item]
    multi_label: bool = False
    columns: tuple[str, ...] = ()  # the classes, where a csv has one column each


class Folder:
    """The images under `root`: ROOT/[SPLIT/]CLASS/FILE, or the rows of ROOT/labels.csv.

    SPLIT is train, val, validation or test; without one all images are 'train'. All classes of a
    split may be new ones, as few-shot learning has them. labels.csv has a
    column `file`, relative to ROOT, and either `label` (several joined by ; or |) or one column
    of 0 and 1 a class; and `split` if it likes.

    Raises:
        UserError: no such folder, no images, an empty class, a file or a label that is not there.
    """

    def __init__(self, root: Path):
        self._root = root
        if not root.is_dir():
            raise UserError(f'data.source=folder:{root}: there is no such folder')
        table = root / 'labels.csv'
        listing = _from_csv(table) if table.exists() else _from_tree(root)
        self._multi_label = listing.multi_label
        self._items = {
            split: [item for item in listing.items if item.split == split]
            for split in SPLITS
        }
        if not self._items['train']:
            raise UserError(
                f'{root} has no training images; it needs train/CLASS/FILE or '
                'CLASS/FILE or a labels.csv'
            )
        self.splits = tuple(split for split in SPLITS if self._items[split])
        seen = {
            split: {name for item in items for name in item.labels}
            for split, items in self._items.items()
        }
        self._new = [
            split
            for split in SPLITS
            if not listing.multi_label
            and len(seen[split]) > 1
            and not seen[split] & seen['train']
        ]
        known = seen['train'].union(*(seen[split] for split in self._new))
        self._classes = listing.columns or tuple(sorted(known))
        check_classes(listing.items, self._classes)
        self._channels = _channels([item.path for item in self._items['train']])

    def open(self, split: str) -> 'FolderSource':
        check_split(str(self._root), split, self.splits)
        items = self._items[split]
        info = SourceInfo(
            name=f'folder:{self._root}',
            split=split,
            class_names=self._classes,
            image_shape=(None, None, self._channels),
            multi_label=self._multi_label,
            fingerprint=fingerprint(split, listed(self._root, items)),
            new_classes=split in self._new,
        )
        return FolderSource(info, items)

    def overlap(self, split: str, other: str) -> bool:
        return split == other


class FolderSource(RowSource):
    """The images of one split of a `Folder`, encoded."""

    def __init__(self, info: SourceInfo, items: Sequence[Item]):
        self.info = info
        self._paths = [item.path for item in items]
        number = {name: label for label, name in enumerate(info.class_names)}
        if info.multi_label:
            self._labels = np.zeros((len(items), len(number)), np.float32)
            for row, item in enumerate(items):
                self._labels[row, [number[name] for name in item.labels]] = 1
        else:
            self._labels = np.array(
                [number[item.labels[0]] for item in items], np.int32
            )

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int) -> Example:
        try:
            data = self._paths[row].read_bytes()
        except OSError as error:
            raise Unreadable(error.strerror) from error
        return {'image': data, 'label': self._labels[row]}

    def labels(self) -> Labels:
        return self._labels

    def where(self, row: int) -> str:
        return str(self._paths[row])


def split_folders(root: Path) -> dict[str, Path]:
    """The folder of each split; without any, that of training is the root.

    Raises:
        UserError: there are splits, but none to train on.
    """
    present = [split for split in SPLITS if (root / split).is_dir()]
    if present and 'train' not in present:
        raise UserError(f'{root} has {present[0]}/ but no train/')
    return {split: root / split for split in present} or {'train': root}


def in_classes(folder: Path, split: str, suffixes: Set[str], what: str) -> list[Item]:
    """The files of such suffixes, at any depth of the class folders of a split's.

    Raises:
        UserError: a class folder without any; `what` they would be.
    """
    items = []
    for class_folder in sorted(filter(Path.is_dir, visible(folder.iterdir()))):
        paths = sorted(
            path
            for path in visible(class_folder.rglob('*'))
            if path.suffix.lower() in suffixes
        )
        if not paths:
            raise UserError(
                f'the class folder {class_folder} has no {what}; fill it or remove it'
            )
        items += [Item(path, (class_folder.name,), split) for path in paths]
    return items


def listed(root: Path, items: Sequence[Item]) -> list[tuple]:
    """Names, sizes and labels: what tells a data set from another without reading it."""
    return sorted(
        (item.path.relative_to(root).as_posix(), item.path.stat().st_size, item.labels)
        for item in items
    )


def class_names(items: Iterable[Item]) -> set[str]:
    """The names of all classes that some item belongs to."""
    return {name for item in items for name in item.labels}


def _from_tree(root: Path) -> _Listing:
    from PIL import Image

    suffixes = {
        suffix
        for suffix, kind in Image.registered_extensions().items()
        if kind in Image.OPEN
    }
    return _Listing(
        [
            item
            for split, folder in split_folders(root).items()
            for item in in_classes(folder, split, suffixes, 'images')
        ]
    )


def visible(paths: Iterable[Path]) -> Iterable[Path]:
    return (path for path in paths if not path.name.startswith('.'))


def _from_csv(table: Path) -> _Listing:
    with table.open(newline='', encoding='utf-8-sig') as file:
        reader = csv.DictReader(file)
        rows = list(reader)
        columns = reader.fieldnames or []
    if 'file' not in columns or len(columns) < 2:
        raise UserError(
            f'{table} needs a column `file` and a column `label`, or one column a '
            f'class; it has {", ".join(columns) or "nothing"}'
        )
    if 'label' not in columns:
        classes = tuple(column for column in columns if column not in ('file', 'split'))
        items = [
            _item(table, line, row, classes) for line, row in enumerate(rows, start=2)
        ]
        return _Listing(items, multi_label=True, columns=classes)
    items = [_item(table, line, row, ()) for line, row in enumerate(rows, start=2)]
    multi_label = any(len(item.labels) > 1 for item in items)
    for line, item in enumerate(items, start=2):
        if not item.labels and not multi_label:
            raise UserError(f'{table}, line {line}: {item.path.name} has no label')
    return _Listing(items, multi_label)


def _item(table: Path, line: int, row: dict[str, str], classes: Sequence[str]) -> Item:
    path = table.parent / (row['file'] or '')
    if not path.is_file():
        raise UserError(f'{table}, line {line}: there is no file {path}')
    split = (row.get('split') or 'train').strip().lower()
    if split not in SPLITS:
        raise UserError(
            f'{table}, line {line}: the split {split!r} is none of {", ".join(SPLITS)}'
        )
    if not classes:
        names = (row['label'] or '').replace('|', ';').split(';')
        return Item(path, tuple(name.strip() for name in names if name.strip()), split)
    marks = {name: (row[name] or '').strip() for name in classes}
    for name, mark in marks.items():
        if mark not in ('0', '1'):
            raise UserError(f'{table}, line {line}: {name!r} is {mark!r}, not 0 or 1')
    return Item(path, tuple(name for name, mark in marks.items() if mark == '1'), split)


def check_classes(items: Sequence[Item], classes: Sequence[str]) -> None:
    """Raises a UserError for a single class, and for one that only is evaluated."""
    if len(classes) < 2:
        raise UserError(
            f'there is only one class, {classes[0]!r}: nothing to tell apart'
            if classes
            else 'no image has a label'
        )
    for item in items:
        for name in item.labels:
            if name not in classes:
                raise UserError(
                    f'{item.path} is labelled {name!r}, a class that training does '
                    'not have'
                )


def _channels(paths: Sequence[Path]) -> int:
    from PIL import Image

    sample = [paths[i] for i in np.linspace(0, len(paths) - 1, _SAMPLE).astype(int)]
    modes = set()
    for path in set(sample):
        try:
            with Image.open(path) as image:
                modes.add(image.mode)
        except (OSError, ValueError, SyntaxError):
            continue  # the pipeline names it when it comes to it
    return 1 if modes and modes <= {'1', 'L'} else 3
