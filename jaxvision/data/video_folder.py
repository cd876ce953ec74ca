"""A person's own films: one folder a class, or without classes; each is decoded when it is used."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.data import folder
from jaxvision.data.protocol import Example, Labels, Rows, SourceInfo, fingerprint
from jaxvision.data.video import SUFFIXES

_FILMS = f'films ({", ".join(sorted(SUFFIXES))})'


class Films:
    """The films under `root`: ROOT/[SPLIT/]CLASS/FILE, or ROOT/[SPLIT/]FILE without labels.

    SPLIT is as for `folder.Folder`. An animated GIF is a film.

    Raises:
        UserError: no such folder, no films, an empty class, films within classes and without.
    """

    def __init__(self, root: Path):
        self._root = root
        if not root.is_dir():
            raise UserError(f'data.source=videos:{root}: there is no such folder')
        items = _items(root)
        self._items = {
            split: [item for item in items if item.split == split]
            for split in folder.SPLITS
        }
        if not self._items['train']:
            raise UserError(
                f'{root} has no {_FILMS} to train on; it needs train/CLASS/FILE or '
                'CLASS/FILE or, for a task without classes, FILE'
            )
        self.splits = tuple(split for split in folder.SPLITS if self._items[split])
        self._classes = tuple(
            sorted({name for item in self._items['train'] for name in item.labels})
        )
        if self._classes:
            folder.check_classes(items, self._classes)

    def open(self, split: str) -> 'FilmSource':
        if split not in self.splits:
            raise UserError(
                f'{self._root} has no split {split!r}; it has {", ".join(self.splits)}'
            )
        items = self._items[split]
        info = SourceInfo(
            name=f'videos:{self._root}',
            split=split,
            class_names=self._classes,
            image_shape=(None, None, 3),
            multi_label=False,
            fingerprint=fingerprint(split, folder.listed(self._root, items)),
            holds=('video', 'label') if self._classes else ('video',),
            frames=None,
        )
        return FilmSource(info, items)

    def overlap(self, split: str, other: str) -> bool:
        return split == other


class FilmSource:
    """The paths of one split's films."""

    def __init__(self, info: SourceInfo, items: Sequence[folder.Item]):
        self.info = info
        self._paths = [item.path for item in items]
        number = {name: label for label, name in enumerate(info.class_names)}
        self._labels = np.array(
            [number[name] for item in items for name in item.labels], np.int32
        )

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int) -> Example:
        label = {'label': self._labels[row]} if self.info.class_names else {}
        return {'video': self._paths[row], **label}

    def read(self, rows: Rows) -> list[Example]:
        return [self[int(row)] for row in rows]

    def labels(self) -> Labels:
        self.info.check_holds('label')
        return self._labels

    def where(self, row: int) -> str:
        return str(self._paths[row])


def _items(root: Path) -> list[folder.Item]:
    splits = folder.split_folders(root)
    loose = [
        folder.Item(path, (), split)
        for split, place in splits.items()
        for path in sorted(_films(place.glob('*')))
    ]
    if not loose:
        return [
            item
            for split, place in splits.items()
            for item in folder.in_classes(place, split, SUFFIXES, _FILMS)
        ]
    within = next(
        (path for place in splits.values() for path in _films(place.glob('*/**/*'))), ''
    )
    if within:
        raise UserError(
            f'{loose[0].path} is in no class folder, but {within} is: each film has '
            'to have a class, or none'
        )
    return loose


def _films(paths):
    return (path for path in folder.visible(paths) if path.suffix.lower() in SUFFIXES)
