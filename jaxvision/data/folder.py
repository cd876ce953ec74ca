"""A user's own images: one folder a class, or a labels.csv with one or several labels each."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.core.types import Example
from jaxvision.data import content, headers, labels_csv, walk
from jaxvision.data.class_folders import ClassFolders
from jaxvision.data.file_dataset import FileDataset
from jaxvision.data.files import image_suffixes
from jaxvision.data.labelled_files import (
    Item,
    Listing,
    check_classes,
    class_names,
    count,
    name_in,
)
from jaxvision.data.protocol import (
    Identify,
    Labels,
    RowSource,
    SourceInfo,
    Unreadable,
)
from jaxvision.data.split_names import SPLITS


class Folder(FileDataset):
    """The images under `root`: ROOT/[SPLIT/]CLASS/FILE, or the rows of ROOT/labels.csv.

    SPLIT is a name of training, validation or test data in any case, such as Train, valid or
    testing. Without split folders, all images are 'train'. All classes of a split may be new
    ones, as in few-shot learning.

    If there is a labels.csv, folders mean nothing. It has a column `file` with paths
    relative to ROOT. A column `label` names the class, or several joined by ; or |.
    Without that column, each class has a column of 0 and 1. A column `split` is
    optional.

    If all training images are grey, those of other splits are read as grey, too. Images
    in no class folder, or not in the table, are left out with a note.

    Attributes:
        splits: those that there are, of 'train', 'validation' and 'test'.
        notes: what a user should know of how the folder was read. Opening a split may add to it.
        doubts: what looks wrong in the folder. Opening a split may add to it.

    Args:
        root: the folder.
        identify: called with paths when a split is opened; gives a text for each that
            identifies its content.

    Raises:
        UserError: There is no such folder, no training image, or a class without
            images. There are fewer than two classes. A split has a single new class, or
            new classes beside those of training. A file or a label is missing.
    """

    def __init__(self, root: Path, identify: Identify = content.identify):
        if not root.is_dir():
            raise UserError(f'data.source=folder:{root}: there is no such folder')
        suffixes = image_suffixes()
        table = labels_csv.find(root)
        if table:
            listing = _from_csv(table, suffixes)
        else:
            listing = _from_tree(root, suffixes)
        super().__init__(root, listing, identify)
        training = self._items['train']
        if not training:
            left_out = ''.join(f'. {note}' for note in listing.notes)
            raise UserError(
                f'{root} has no training images; it needs train/CLASS/FILE or '
                f'CLASS/FILE or a labels.csv{left_out}'
            )
        self._multi_label = listing.multi_label
        self._new_splits = self._find_new_splits()
        known = class_names(training)
        for split in self._new_splits:
            known |= class_names(self._items[split])
        self._classes = listing.columns or tuple(sorted(known))
        check_classes(listing.items, self._classes)
        self._channels = headers.channels([item.path for item in training])
        self._note_classes(self._classes, is_single_label=not self._multi_label)

    def _source(
        self, split: str, items: Sequence[Item], contents: Sequence[str], hashed: str
    ) -> 'FolderSource':
        if self._channels == 1 and split != 'train':
            self._check_colour(split, items)
        info = SourceInfo(
            name=f'folder:{self._root}',
            split=split,
            class_names=self._classes,
            image_shape=(None, None, self._channels),
            multi_label=self._multi_label,
            fingerprint=hashed,
            new_classes=split in self._new_splits,
            notes=self.notes,
            doubts=self.doubts,
        )
        return FolderSource(info, items, contents)

    def _check_colour(self, split: str, items: Sequence[Item]) -> None:
        """Add a doubt if a split has colours, which training on grey images does not see."""
        if headers.channels([item.path for item in items]) > 1:
            self._doubt(
                [
                    f'images of {split} are in colour: read as grey, since training is grey'
                ]
            )

    def _find_new_splits(self) -> list[str]:
        """The splits of two or more classes, none of which training has.

        A multi-label dataset has no such splits.
        """
        if self._multi_label:
            return []
        training = class_names(self._items['train'])
        new = []
        for split in SPLITS:
            names = class_names(self._items[split])
            if len(names) > 1 and not names & training:
                new.append(split)
        return new


class FolderSource(RowSource):
    """The encoded images of one split, each with its label.

    A label is int32, or float32 [K] of zeros and ones if `info.multi_label`.
    """

    def __init__(
        self, info: SourceInfo, items: Sequence[Item], contents: Sequence[str]
    ):
        self.info = info
        self._contents = contents
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
        """int32 [N], or float32 [N, K] of zeros and ones if `info.multi_label`."""
        return self._labels

    def contents(self) -> Sequence[str]:
        """The digest of each row's file, or what else `identify` gave for it."""
        return self._contents

    def where(self, row: int) -> str:
        """The path of a row's image, for messages."""
        return str(self._paths[row])


def _from_tree(root: Path, suffixes: frozenset[str]) -> Listing:
    """The images in class folders, and notes of those that lie elsewhere."""
    hint = f'. A table of labels is named {labels_csv.NAME}, in {root}'
    tree = ClassFolders(root, suffixes, 'images', hint)
    items = []
    for split, folder in tree.split_folders().items():
        loose = tree.in_no_class(split, folder)
        if loose:
            tree.notes.append(
                f'{count(len(loose), "image")} of {split} in no class folder left out, '
                f'such as {name_in(root, loose[0].path)}'
            )
        found = tree.in_classes(split, folder)
        if not found and split != 'train':
            tree.notes.append(f'{folder.name}/ has no class folders: no {split} split')
        items += found
    items = tree.without_copies(items)
    tree.note_left_out()
    return Listing(items, notes=tree.notes, doubts=tree.doubts)


def _from_csv(table: Path, suffixes: frozenset[str]) -> Listing:
    """The images that a table lists, and a note of those that it does not list."""
    listing = labels_csv.read(table)
    known = {item.real for item in listing.items}
    unlisted = []
    for contents in walk.walk(table.parent):
        for name in contents.names:
            suffix = os.path.splitext(name)[1].lower()
            if suffix in suffixes and contents.real_path(name) not in known:
                unlisted.append(Path(contents.join(name)))
    if not unlisted:
        return listing
    note = (
        f'{count(len(unlisted), "image")} not in {table.name} left out, such as '
        f'{name_in(table.parent, unlisted[0])}'
    )
    return dataclasses.replace(listing, notes=(*listing.notes, note))
