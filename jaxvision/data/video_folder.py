"""A user's own videos: one folder a class, or without classes. A video is decoded at each use."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.core.types import Example
from jaxvision.data import content, walk
from jaxvision.data.class_folders import ClassFolders
from jaxvision.data.file_dataset import FileDataset
from jaxvision.data.labelled_files import (
    Item,
    Listing,
    check_classes,
    class_names,
)
from jaxvision.data.protocol import (
    Identify,
    Labels,
    RowSource,
    SourceInfo,
)
from jaxvision.data.video import SUFFIXES

_VIDEOS = f'videos ({", ".join(sorted(SUFFIXES))})'


class VideoFolder(FileDataset):
    """The videos under `root`: ROOT/[SPLIT/]CLASS/FILE, or ROOT/[SPLIT/]FILE without labels.

    SPLIT is a name of training, validation or test data in any case, such as Train or
    valid. Without split folders, all videos are 'train'. An animated GIF is a video.

    Attributes:
        splits: those that there are, of 'train', 'validation' and 'test'.
        notes: what a user should know of how the folder was read. Opening a split may add to it.
        doubts: what looks wrong in the folder. Opening a split may add to it.

    Args:
        root: the folder.
        identify: called with paths when a split is opened; gives a text for each that
            identifies its content.

    Raises:
        UserError: There is no such folder, no training video, or only one class. A
            class lacks videos or training videos. Videos are both in class folders and
            beside them.
    """

    def __init__(self, root: Path, identify: Identify = content.identify):
        if not root.is_dir():
            raise UserError(f'data.source=videos:{root}: there is no such folder')
        listing = _listing(root)
        super().__init__(root, listing, identify)
        training = self._items['train']
        if not training:
            left_out = ''.join(f'. {note}' for note in listing.notes)
            raise UserError(
                f'{root} has no {_VIDEOS} to train on; it needs train/CLASS/FILE or '
                f'CLASS/FILE or, for a task without classes, FILE{left_out}'
            )
        self._classes = tuple(sorted(class_names(training)))
        if self._classes:
            check_classes(listing.items, self._classes)
            self._note_classes(self._classes, is_single_label=True)

    def _source(
        self, split: str, items: Sequence[Item], contents: Sequence[str], hashed: str
    ) -> 'VideoFolderSource':
        info = SourceInfo(
            name=f'videos:{self._root}',
            split=split,
            class_names=self._classes,
            image_shape=(None, None, 3),
            multi_label=False,
            fingerprint=hashed,
            holds=('video', 'label') if self._classes else ('video',),
            frames=None,
            notes=self.notes,
            doubts=self.doubts,
        )
        return VideoFolderSource(info, items, contents)


class VideoFolderSource(RowSource):
    """The videos of one split, not decoded.

    An example is 'video', a path, and 'label', int32, if there are classes.
    """

    def __init__(
        self, info: SourceInfo, items: Sequence[Item], contents: Sequence[str]
    ):
        self.info = info
        self._contents = contents
        self._paths = [item.path for item in items]
        number = {name: label for label, name in enumerate(info.class_names)}
        labels = []
        for item in items:
            labels += [number[name] for name in item.labels]
        self._labels = np.array(labels, np.int32)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int) -> Example:
        example = {'video': self._paths[row]}
        if self.info.has_labels:
            example['label'] = self._labels[row]
        return example

    def labels(self) -> Labels:
        """int32 [N], the class of each row; empty unless `info.has_labels`."""
        return self._labels

    def contents(self) -> Sequence[str]:
        """The digest of each row's file, or what else `identify` gave for it."""
        return self._contents

    def where(self, row: int) -> str:
        """The path of a row's video, for messages."""
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
            in_classes = tree.in_classes(split, folder)
            if not in_classes and split != 'train':
                tree.notes.append(f'{folder.name}/ has no videos: no {split} split')
            items += in_classes
    items = tree.without_copies(items)
    tree.note_left_out()
    return Listing(items, notes=tree.notes, doubts=tree.doubts)


def _check_in_no_class(first: Path, split_folder: Path) -> None:
    """Check that no video lies deeper in the folder of a split."""
    _, *below = walk.walk(split_folder)
    for contents in below:
        for name in contents.names:
            if os.path.splitext(name)[1].lower() in SUFFIXES:
                raise UserError(
                    f'{first} is in no class folder, but {contents.join(name)} is. Put '
                    'each video into a class folder, or none of them'
                )
