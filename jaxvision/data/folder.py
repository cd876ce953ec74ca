"""A user's own images: one folder a class, or a labels.csv with one or several labels each."""

import csv
import dataclasses
from collections.abc import Iterable, Sequence, Set
from pathlib import Path

import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.core.types import Example
from jaxvision.data import content, headers
from jaxvision.data.protocol import (
    Identify,
    Labels,
    RowSource,
    SourceInfo,
    Unreadable,
    check_split,
    fingerprint,
)

SPLITS = ('train', 'val', 'validation', 'test')


@dataclasses.dataclass(frozen=True)
class Item:
    """A file, the names of its classes, and its split."""

    path: Path
    labels: tuple[str, ...]
    split: str


@dataclasses.dataclass(frozen=True)
class _Listing:
    items: list[Item]
    multi_label: bool = False
    columns: tuple[str, ...] = ()  # the classes, if a csv has one column for each


class Folder:
    """The images under `root`: ROOT/[SPLIT/]CLASS/FILE, or the rows of ROOT/labels.csv.

    SPLIT is train, val, validation or test. Without split folders, all images are 'train'. All
    classes of a split may be new ones, as in few-shot learning.

    labels.csv has a column `file` with paths relative to ROOT. A column `label` names the class,
    or several joined by ; or |. Without that column, each class has a column of 0 and 1. A column
    `split` is optional.

    Args:
        root: the folder.
        identify: tells the content of files.

    Raises:
        UserError: There is no such folder, no image, a class without images, or a file or a label
            is missing.
    """

    def __init__(self, root: Path, identify: Identify = content.identify):
        self._root = root
        self._identify = identify
        if not root.is_dir():
            raise UserError(f'data.source=folder:{root}: there is no such folder')
        table = root / 'labels.csv'
        listing = _from_csv(table) if table.exists() else _from_tree(root)
        self._multi_label = listing.multi_label
        self._items = by_split(listing.items)
        training = self._items['train']
        if not training:
            raise UserError(
                f'{root} has no training images; it needs train/CLASS/FILE or '
                'CLASS/FILE or a labels.csv'
            )
        self.splits = tuple(split for split in SPLITS if self._items[split])
        self._new_splits = [] if listing.multi_label else self._find_new_splits()
        known = class_names(training)
        for split in self._new_splits:
            known |= class_names(self._items[split])
        self._classes = listing.columns or tuple(sorted(known))
        check_classes(listing.items, self._classes)
        self._channels = headers.channels([item.path for item in training])

    def open(self, split: str) -> 'FolderSource':
        check_split(str(self._root), split, self.splits)
        items = self._items[split]
        info = SourceInfo(
            name=f'folder:{self._root}',
            split=split,
            class_names=self._classes,
            image_shape=(None, None, self._channels),
            multi_label=self._multi_label,
            fingerprint=fingerprint(split, listed(self._root, items, self._identify)),
            new_classes=split in self._new_splits,
        )
        return FolderSource(info, items)

    def overlap(self, split: str, other: str) -> bool:
        return split == other

    def _find_new_splits(self) -> list[str]:
        """The splits of two or more classes, none of which training has."""
        training = class_names(self._items['train'])
        new = []
        for split in SPLITS:
            names = class_names(self._items[split])
            if len(names) > 1 and not names & training:
                new.append(split)
        return new


class FolderSource(RowSource):
    """The encoded images of one split."""

    def __init__(self, info: SourceInfo, items: Sequence[Item]):
        self.info = info
        self._paths = [item.path for item in items]
        number = {name: label for label, name in enumerate(info.class_names)}
        if info.multi_label:
            self._labels = np.zeros((len(items), len(number)), np.float32)
            for row, item in enumerate(items):
                self._labels[row, [number[name] for name in item.labels]] = 1
        else:
            labels = [number[item.labels[0]] for item in items]
            self._labels = np.array(labels, np.int32)

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
    """The folder of each split. Without split folders, `root` itself is that of training.

    Raises:
        UserError: There are split folders, but none for training.
    """
    present = [split for split in SPLITS if (root / split).is_dir()]
    if present and 'train' not in present:
        raise UserError(f'{root} has {present[0]}/ but no train/')
    return {split: root / split for split in present} or {'train': root}


def by_split(items: Iterable[Item]) -> dict[str, list[Item]]:
    """The items of each of `SPLITS`."""
    found = {split: [] for split in SPLITS}
    for item in items:
        found[item.split].append(item)
    return found


def in_classes(folder: Path, split: str, suffixes: Set[str], kind: str) -> list[Item]:
    """List the files in the class folders of a split, at any depth.

    Args:
        folder: of the split.
        split: its name.
        suffixes: of the files to list, in lower case.
        kind: what such files are, for the message.

    Raises:
        UserError: A class folder holds no such file.
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
                f'the class folder {class_folder} has no {kind}; fill it or remove it'
            )
        items += [Item(path, (class_folder.name,), split) for path in paths]
    return items


def listed(
    root: Path, items: Sequence[Item], identify: Identify
) -> list[tuple[str, str, tuple[str, ...]]]:
    """The name, the content and the labels of each file, which identify a dataset."""
    contents = identify([item.path for item in items])
    return sorted(
        (item.path.relative_to(root).as_posix(), content_id, item.labels)
        for item, content_id in zip(items, contents, strict=True)
    )


def class_names(items: Iterable[Item]) -> set[str]:
    """The names of all classes that some item belongs to."""
    return {name for item in items for name in item.labels}


def visible(paths: Iterable[Path]) -> Iterable[Path]:
    """The paths whose own name does not begin with a dot."""
    return (path for path in paths if not path.name.startswith('.'))


def check_classes(items: Sequence[Item], classes: Sequence[str]) -> None:
    """Check that training has two or more classes, and that all items belong to them.

    Raises:
        UserError: There are fewer classes, or an item belongs to another one.
    """
    if not classes:
        raise UserError('no image has a label')
    if len(classes) < 2:
        raise UserError(
            f'there is only one class, {classes[0]!r}: nothing to tell apart'
        )
    for item in items:
        for name in item.labels:
            if name not in classes:
                raise UserError(
                    f'{item.path} is labelled {name!r}, a class that training does '
                    'not have'
                )


def _from_tree(root: Path) -> _Listing:
    from PIL import Image

    suffixes = {
        suffix
        for suffix, kind in Image.registered_extensions().items()
        if kind in Image.OPEN
    }
    items = []
    for split, folder in split_folders(root).items():
        items += in_classes(folder, split, suffixes, 'images')
    return _Listing(items)


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
    classes = ()
    if 'label' not in columns:
        classes = tuple(column for column in columns if column not in ('file', 'split'))
    items = [
        _item(f'{table}, line {line}', table.parent, row, classes)
        for line, row in enumerate(rows, start=2)
    ]
    if classes:
        return _Listing(items, multi_label=True, columns=classes)
    multi_label = any(len(item.labels) > 1 for item in items)
    for line, item in enumerate(items, start=2):
        if not item.labels and not multi_label:
            raise UserError(f'{table}, line {line}: {item.path.name} has no label')
    return _Listing(items, multi_label)


def _item(
    where: str, root: Path, row: dict[str, str | None], classes: Sequence[str]
) -> Item:
    """Read one row of a csv.

    Args:
        where: the file and the line, for messages.
        root: the folder that paths are relative to.
        row: the cells by column, None for those that are missing.
        classes: the columns of 0 and 1, if the classes have a column each.

    Raises:
        UserError: The file, the split or the labels are wrong.
    """
    path = root / (row.get('file') or '')
    if not path.is_file():
        raise UserError(f'{where}: there is no file {path}')
    split = (row.get('split') or 'train').strip().lower()
    if split not in SPLITS:
        raise UserError(f'{where}: the split {split!r} is none of {", ".join(SPLITS)}')
    if classes:
        names = _marked(where, row, classes)
    else:
        cells = (row.get('label') or '').replace('|', ';').split(';')
        names = [cell.strip() for cell in cells if cell.strip()]
    return Item(path, tuple(names), split)


def _marked(
    where: str, row: dict[str, str | None], classes: Sequence[str]
) -> list[str]:
    """The classes whose column holds a 1."""
    names = []
    for name in classes:
        mark = (row.get(name) or '').strip()
        if mark not in ('0', '1'):
            raise UserError(f'{where}: {name!r} is {mark!r}, not 0 or 1')
        if mark == '1':
            names.append(name)
    return names
