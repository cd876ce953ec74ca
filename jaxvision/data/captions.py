"""Captioned images of a person's own: the JSON files of COCO's captions and a folder of images."""

import dataclasses
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from absl import logging

from jaxvision.core.errors import UserError
from jaxvision.data import files
from jaxvision.data.protocol import Example, Labels, Rows, SourceInfo, fingerprint


@dataclasses.dataclass(frozen=True)
class _Item:
    path: Path
    size: int  # bytes
    captions: tuple[str, ...]


class Captioned:
    """The images of `ANNOTATIONS[,IMAGES]` that have captions.

    ANNOTATIONS is a JSON file of COCO's form, all of it 'train', or a folder that holds two,
    captions_train*.json and captions_val*.json, as 'train' and 'val'. IMAGES is the folder of the
    images; '' is that of the file, or the one above a folder `annotations`. Those of
    captions_NAME.json may lie in IMAGES/NAME.

    Raises:
        UserError: there is no such file, it is not of that form, or an image is not there.
    """

    def __init__(self, place: str):
        annotations, images = _places(place)
        self._name = f'captions:{annotations}'
        self._items = {
            split: _read(path, _image_folder(path, images))
            for split, path in _split_files(annotations).items()
        }
        self.splits = tuple(self._items)

    def open(self, split: str) -> 'CaptionedSource':
        items = self._of(split)
        listing = [(item.path.name, item.size, item.captions) for item in items]
        info = SourceInfo(
            name=self._name,
            split=split,
            class_names=(),
            image_shape=(None, None, 3),
            multi_label=False,
            fingerprint=fingerprint(split, listing),
            holds=('image', 'captions'),
        )
        return CaptionedSource(info, items)

    def overlap(self, split: str, other: str) -> bool:
        paths, others = (
            {item.path for item in self._of(name)} for name in (split, other)
        )
        return not paths.isdisjoint(others)

    def _of(self, split: str) -> list[_Item]:
        if split not in self.splits:
            raise UserError(
                f'{self._name} has no split {split!r}; it has {", ".join(self.splits)}'
            )
        return self._items[split]


class CaptionedSource:
    """The images of one split of a `Captioned`, encoded, each with all its captions."""

    def __init__(self, info: SourceInfo, items: Sequence[_Item]):
        self.info = info
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, row: int) -> Example:
        item = self._items[row]
        return {'image': files.read(str(item.path)), 'captions': list(item.captions)}

    def read(self, rows: Rows) -> list[Example]:
        return [self[int(row)] for row in rows]

    def labels(self) -> Labels:
        self.info.check_holds('label')

    def where(self, row: int) -> str:
        return str(self._items[row].path)


def _places(place: str) -> tuple[Path, Path | None]:
    whole = Path(place).expanduser()
    annotations, comma, images = place.rpartition(',')
    if not comma or whole.exists():
        return whole, None
    return Path(annotations).expanduser(), Path(images).expanduser()


def _split_files(annotations: Path) -> dict[str, Path]:
    if annotations.is_file():
        return {'train': annotations}
    if not annotations.is_dir():
        raise UserError(
            f'data.source=captions:{annotations}: there is no such file or folder'
        )
    found = {}
    for split in ('train', 'val'):
        paths = sorted(annotations.glob(f'captions_{split}*.json'))
        if len(paths) != 1:
            names = ', '.join(path.name for path in paths) or 'none'
            raise UserError(
                f'{annotations} needs one captions_{split}*.json, and has {names}; or '
                'name one JSON file, of whose images a fifth is held out'
            )
        found[split] = paths[0]
    return found


def _image_folder(annotations: Path, images: Path | None) -> Path:
    beside = annotations.parent
    images = images or (beside.parent if beside.name == 'annotations' else beside)
    if not images.is_dir():
        raise UserError(f'{images}, where the images should be, is no folder')
    of_split = images / annotations.stem.removeprefix('captions_')
    return of_split if of_split.is_dir() else images


def _read(annotations: Path, images: Path) -> list[_Item]:
    captions = _captions(annotations, images)
    items = [
        _Item(path, _size(path), tuple(texts))
        for path, texts in captions.items()
        if texts
    ]
    if not items:
        raise UserError(f'{annotations}: no image has a caption')
    if len(items) < len(captions):
        logging.warning(
            '%s: %d of %d images have no caption and are left out',
            annotations,
            len(captions) - len(items),
            len(captions),
        )
    missing = [item.path for item in items if item.size < 0]
    if missing:
        raise UserError(
            f'{annotations}: {len(missing)} of {len(items)} images are not in '
            f'{images}, such as {str(missing[0].relative_to(images))!r}; name their '
            'folder as captions:ANNOTATIONS.json,IMAGES'
        )
    return items


def _captions(annotations: Path, images: Path) -> dict[Path, list[str]]:
    """What is said of each image, in the file's order."""
    parsed = _parse(annotations)
    paths = {}
    for image in parsed['images']:
        key, name = _fields(annotations, image, 'images', 'id', 'file_name')
        if key in paths:
            raise UserError(f'{annotations}: two images have the id {key}')
        paths[key] = _inside(annotations, images, name)
    captions = {path: [] for path in paths.values()}
    for annotation in parsed['annotations']:
        key, text = _fields(
            annotations, annotation, 'annotations', 'image_id', 'caption'
        )
        if key not in paths:
            raise UserError(
                f'{annotations}: {text!r} is said of the image {key}, which is not '
                'among its images'
            )
        if text.strip():
            captions[paths[key]].append(text.encode(errors='replace').decode())
    return captions


def _parse(annotations: Path) -> dict[str, Any]:
    try:
        parsed = json.loads(annotations.read_bytes())
    except OSError as error:
        raise UserError(f'{annotations} cannot be read: {error.strerror}') from error
    except (ValueError, RecursionError) as error:
        raise UserError(f'{annotations} is no JSON: {error}') from error
    if not isinstance(parsed, dict) or not all(
        isinstance(parsed.get(name), list) for name in ('images', 'annotations')
    ):
        raise UserError(
            f'{annotations} has no lists `images` and `annotations`: it is not of the '
            "form of COCO's captions"
        )
    return parsed


def _fields(
    annotations: Path, entry: Any, what: str, key: str, text: str
) -> tuple[int | str, str]:
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get(key), int | str)
        or not isinstance(entry.get(text), str)
    ):
        raise UserError(
            f'{annotations}: one of its {what} has no {key} or no {text}: '
            f'{str(entry)[:100]}'
        )
    return entry[key], entry[text]


def _inside(annotations: Path, images: Path, name: str) -> Path:
    # The file may be a stranger's: it shall name no other file of this machine.
    path = PurePosixPath(name)
    if path.is_absolute() or '..' in path.parts or '\\' in name:
        raise UserError(
            f'{annotations}: the file_name {name!r} does not lie in its folder'
        )
    return images / path


def _size(path: Path) -> int:
    """-1 where there is no such file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # a name that can be none raises the second
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1
