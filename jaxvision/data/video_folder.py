"""A user's own videos: one folder a class, or without classes. A video is decoded at each use."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.core.types import Example
from jaxvision.data import content, folder
from jaxvision.data.protocol import (
    Identify,
    Labels,
    RowSource,
    SourceInfo,
    check_split,
    fingerprint,
)
from jaxvision.data.video import SUFFIXES

_VIDEOS = f'videos ({", ".join(sorted(SUFFIXES))})'


class VideoFolder:
    """The videos under `root`: ROOT/[SPLIT/]CLASS/FILE, or ROOT/[SPLIT/]FILE without labels.

    SPLIT is as for `folder.Folder`. An animated GIF is a video.

    Raises:
        UserError: There is no such folder, no video, a class without videos, or videos both in
            class folders and beside them.
    """

    def __init__(self, root: Path, identify: Identify = content.identify):
        self._root = root
        self._identify = identify
        if not root.is_dir():
            raise UserError(f'data.source=videos:{root}: there is no such folder')
        items = _items(root)
        self._items = folder.by_split(items)
        training = self._items['train']
        if not training:
            raise UserError(
                f'{root} has no {_VIDEOS} to train on; it needs train/CLASS/FILE or '
                'CLASS/FILE or, for a task without classes, FILE'
            )
        self.splits = tuple(split for split in folder.SPLITS if self._items[split])
        self._classes = tuple(sorted(folder.class_names(training)))
        if self._classes:
            folder.check_classes(items, self._classes)

    def open(self, split: str) -> 'VideoFolderSource':
        check_split(str(self._root), split, self.splits)
        items = self._items[split]
        info = SourceInfo(
            name=f'videos:{self._root}',
            split=split,
            class_names=self._classes,
            image_shape=(None, None, 3),
            multi_label=False,
            fingerprint=fingerprint(
                split, folder.listed(self._root, items, self._identify)
            ),
            holds=('video', 'label') if self._classes else ('video',),
            frames=None,
        )
        return VideoFolderSource(info, items)

    def overlap(self, split: str, other: str) -> bool:
        return split == other


class VideoFolderSource(RowSource):
    """The paths of the videos of one split."""

    def __init__(self, info: SourceInfo, items: Sequence[folder.Item]):
        self.info = info
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

    def where(self, row: int) -> str:
        return str(self._paths[row])


def _items(root: Path) -> list[folder.Item]:
    """The videos of all splits, either all in class folders or none."""
    splits = folder.split_folders(root)
    in_no_class = [
        folder.Item(path, (), split)
        for split, place in splits.items()
        for path in sorted(_videos(place.glob('*')))
    ]
    if not in_no_class:
        items = []
        for split, place in splits.items():
            items += folder.in_classes(place, split, SUFFIXES, _VIDEOS)
        return items
    for place in splits.values():
        for path in _videos(place.glob('*/**/*')):
            raise UserError(
                f'{in_no_class[0].path} is in no class folder, but {path} is: each '
                'video has to have a class, or none'
            )
    return in_no_class


def _videos(paths: Iterable[Path]) -> Iterable[Path]:
    return (path for path in folder.visible(paths) if path.suffix.lower() in SUFFIXES)
