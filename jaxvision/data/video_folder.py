"""A user's own videos: one folder a class, or without classes. A video is decoded at each use."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.core.types import Example
from jaxvision.data import content, walk
from jaxvision.data.class_folders import ClassFolders
from jaxvision.data.labelled_files import (
    Item,
    Listing,
    by_split,
    check_classes,
    class_names,
    contradictions,
    find_split,
    listed,
    not_held_out,
    printable,
    similar_names,
)
from jaxvision.data.protocol import (
    Identify,
    Labels,
    RowSource,
    SourceInfo,
    fingerprint,
)
from jaxvision.data.split_names import SPLITS
from jaxvision.data.video import SUFFIXES

_VIDEOS = f'videos ({", ".join(sorted(SUFFIXES))})'


class VideoFolder:
    """The videos under `root`: ROOT/[SPLIT/]CLASS/FILE, or ROOT/[SPLIT/]FILE without labels.

    SPLIT is as for `folder.Folder`. An animated GIF is a video.

    Attributes:
        splits: those that there are, of 'train', 'validation' and 'test'.
        notes: what a user should know of how the folder was read. Opening a split may add to it.

    Raises:
        UserError: There is no such folder, no video, a class without videos, or videos both in
            class folders and beside them.
    """

    def __init__(self, root: Path, identify: Identify = content.identify):
        self._root = root
        self._identify = identify
        if not root.is_dir():
            raise UserError(f'data.source=videos:{root}: there is no such folder')
        listing = _listing(root)
        self._items = by_split(listing.items)
        training = self._items['train']
        if not training:
            raise UserError(
                f'{root} has no {_VIDEOS} to train on; it needs train/CLASS/FILE or '
                'CLASS/FILE or, for a task without classes, FILE'
            )
        self.splits = tuple(split for split in SPLITS if self._items[split])
        self._classes = tuple(sorted(class_names(training)))
        self.notes = printable((*listing.notes, *similar_names(self._classes)))
        if self._classes:
            check_classes(listing.items, self._classes)
            if self.splits == ('train',):
                self.notes += printable(not_held_out(training))

    def open(self, split: str) -> 'VideoFolderSource':
        split = find_split(str(self._root), split, self.splits)
        items = self._items[split]
        contents = self._identify([item.path for item in items])
        for note in printable(contradictions(self._root, items, contents)):
            if note not in self.notes:
                self.notes += (note,)
        info = SourceInfo(
            name=f'videos:{self._root}',
            split=split,
            class_names=self._classes,
            image_shape=(None, None, 3),
            multi_label=False,
            fingerprint=fingerprint(split, listed(self._root, items, contents)),
            holds=('video', 'label') if self._classes else ('video',),
            frames=None,
            notes=self.notes,
        )
        return VideoFolderSource(info, items, contents)

    def overlap(self, split: str, other: str) -> bool:
        first, second = (
            find_split(str(self._root), name, self.splits) for name in (split, other)
        )
        return first == second


class VideoFolderSource(RowSource):
    """The paths of the videos of one split."""

    def __init__(
        self, info: SourceInfo, items: Sequence[Item], contents: Sequence[str]
    ):
        self.info = info
        self._contents = contents
        self._paths = [item.path for item in items]
        number = {name: label for label, name in enumerate(info.class_names)}
        labels = [number[name] for item in items for name in item.labels]
        self._labels = np.array(labels, np.int32)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int) -> Example:
        example = {'video': self._paths[row]}
        if self.info.has_labels:
            example['label'] = self._labels[row]
        return example

    def labels(self) -> Labels:
        """The labels, if the videos have any: `info.has_labels`."""
        return self._labels

    def contents(self) -> Sequence[str]:
        return self._contents

    def where(self, row: int) -> str:
        return str(self._paths[row])


def _listing(root: Path) -> Listing:
    """The videos of all splits, either all in class folders or none."""
    tree = ClassFolders(root, SUFFIXES, _VIDEOS)
    splits = tree.split_folders()
    in_no_class = []
    for split, folder in splits.items():
        in_no_class += tree.in_no_class(split, folder)
    items = in_no_class
    if in_no_class:
        for folder in splits.values():
            _check_in_no_class(in_no_class[0].path, folder)
    else:
        for split, folder in splits.items():
            items += tree.in_classes(split, folder)
    items = tree.without_copies(items)
    tree.note_left_out()
    return Listing(items, tree.notes)


def _check_in_no_class(first: Path, split_folder: Path) -> None:
    """Check that no video lies deeper in the folder of a split."""
    _, *below = walk.walk(split_folder)
    for contents in below:
        for name in contents.names:
            if os.path.splitext(name)[1].lower() in SUFFIXES:
                raise UserError(
                    f'{first} is in no class folder, but {contents.join(name)} is: each '
                    'video has to have a class, or none'
                )
