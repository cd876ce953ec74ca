"""A user's own captioned images: COCO's caption files and a folder of images."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxvision.core.errors import UserError
from jaxvision.core.types import Example
from jaxvision.data import content, files
from jaxvision.data.annotation_files import (
    check_files,
    clean_text,
    image_folder,
    inside,
    read_json,
    shown,
)
from jaxvision.data.labelled_files import printable
from jaxvision.data.protocol import (
    Identify,
    RowSource,
    SourceInfo,
    check_split,
    fingerprint,
)


@dataclasses.dataclass(frozen=True)
class _Item:
    path: Path
    captions: tuple[str, ...]


class CaptionedImages:
    """The images that have captions in COCO's annotation files.

    Args:
        place: a JSON file, whose images are the split 'train'; or a folder with
            captions_train*.json, captions_val*.json and perhaps captions_test*.json, the splits
            'train', 'val' and 'test'. There may be only one file of each.
        images: the folder of the images; '': the folder of the JSON file, or the parent
            of a folder `annotations`. The images of captions_NAME.json may lie in NAME
            or images/NAME in that folder.
        identify: called with paths when a split is opened; gives a text for each that
            identifies its content.

    Raises:
        UserError: There is no such file, it is not of that form, no image has a
            caption, or an image with captions is missing.
    """

    def __init__(
        self, place: str, images: str = '', identify: Identify = content.identify
    ):
        self._identify = identify
        annotations = Path(place).expanduser()
        self._name = f'captions:{annotations}'
        self._items = {}
        self.notes: tuple[str, ...] = ()
        for split, path in _split_files(annotations).items():
            items, notes = _read(path, image_folder(path, images, 'captions_'))
            self._items[split] = items
            self.notes += printable(notes)
        self.splits = tuple(self._items)

    def open(self, split: str) -> 'CaptionedSource':
        """Open a split by its exact name, such as 'val'.

        Images without a caption are left out.

        Raises:
            UserError: There is no such split.
        """
        items = self._items_of(split)
        contents = self._identify([item.path for item in items])
        listing = [
            (item.path.name, content_id, item.captions)
            for item, content_id in zip(items, contents, strict=True)
        ]
        info = SourceInfo(
            name=self._name,
            split=split,
            class_names=(),
            image_shape=(None, None, 3),
            multi_label=False,
            fingerprint=fingerprint(split, listing),
            holds=('image', 'captions'),
            notes=self.notes,
        )
        return CaptionedSource(info, items, contents)

    def has_answers(self, split: str) -> bool:
        """Whether a split has examples with captions.

        Raises:
            UserError: There is no such split.
        """
        return bool(self._items_of(split))

    def overlap(self, split: str, other: str) -> bool:
        """Whether some file is in both splits, by its name or as the target of links.

        Raises:
            UserError: There is no such split.
        """
        paths = {os.path.realpath(item.path) for item in self._items_of(split)}
        return any(
            os.path.realpath(item.path) in paths for item in self._items_of(other)
        )

    def _items_of(self, split: str) -> list[_Item]:
        check_split(self._name, split, self.splits)
        return self._items[split]


class CaptionedSource(RowSource):
    """The encoded images of one split, each with all its captions."""

    def __init__(
        self, info: SourceInfo, items: Sequence[_Item], contents: Sequence[str]
    ):
        self.info = info
        self._contents = contents
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, row: int) -> Example:
        item = self._items[row]
        return {'image': files.read(str(item.path)), 'captions': list(item.captions)}

    def captions(self, row: int) -> Sequence[str]:
        """The captions of a row, without reading its image."""
        return self._items[row].captions

    def contents(self) -> Sequence[str]:
        """The digest of each row's file, or what else `identify` gave for it."""
        return self._contents

    def where(self, row: int) -> str:
        """The path of a row's image, for messages."""
        return str(self._items[row].path)


def _split_files(annotations: Path) -> dict[str, Path]:
    if annotations.is_file():
        return {'train': annotations}
    if not annotations.is_dir():
        raise UserError(
            f'data.source=captions:{annotations}: there is no such file or folder'
        )
    paths_by_split = {}
    for split in ('train', 'val', 'test'):
        paths = sorted(annotations.glob(f'captions_{split}*.json'))
        is_missing = not paths and split == 'test'
        if len(paths) != 1 and not is_missing:
            names = ', '.join(path.name for path in paths) or 'none'
            raise UserError(
                f'{annotations} needs one captions_{split}*.json, and has {names}; or '
                'name one JSON file, a fifth of whose images is then held out'
            )
        if paths:
            paths_by_split[split] = paths[0]
    return paths_by_split


def _read(annotations: Path, images: Path) -> tuple[list[_Item], list[str]]:
    """The images that have captions, and notes of the others."""
    captions = _captions(annotations, images)
    items = [_Item(path, tuple(texts)) for path, texts in captions.items() if texts]
    if not items:
        raise UserError(f'{annotations}: no image has a caption')
    notes = []
    if len(items) < len(captions):
        number = len(captions) - len(items)
        notes.append(
            f'{annotations.name}: {number:,} of {len(captions):,} images have no caption '
            'and are left out'
        )
    paths = [item.path for item in items]
    check_files(annotations, images, paths, 'Name their folder as data.images=DIR')
    return items, notes


def _captions(annotations: Path, images: Path) -> dict[Path, list[str]]:
    """The captions of each image, in the order of the file."""
    image_entries, caption_entries = _parse(annotations)
    paths = {}
    for image in image_entries:
        key, name = _fields(annotations, image, 'images', 'id', 'file_name')
        if key in paths:
            raise UserError(f'{annotations}: two images have the id {key}')
        paths[key] = inside(annotations, images, name)
    captions = {path: [] for path in paths.values()}
    for annotation in caption_entries:
        key, text = _fields(
            annotations, annotation, 'annotations', 'image_id', 'caption'
        )
        if key not in paths:
            raise UserError(
                f'{annotations}: the caption {text!r} is of the image {key}, which is '
                'not among its images'
            )
        if text.strip():
            captions[paths[key]].append(clean_text(text))
    return captions


def _parse(annotations: Path) -> tuple[list, list]:
    """Read the lists `images` and `annotations` of a JSON file."""
    fields = read_json(annotations)
    images = fields.get('images')
    captions = fields.get('annotations')
    if not isinstance(images, list) or not isinstance(captions, list):
        raise UserError(
            f'{annotations}: expected the lists `images` and `annotations` of the form '
            "of COCO's captions, and one is missing"
        )
    return images, captions


def _fields(
    annotations: Path, entry: Any, entries: str, key: str, text: str
) -> tuple[int | str, str]:
    """Check that an entry of the JSON file has a key and a text, and return both.

    Args:
        annotations: the file, for the message.
        entry: what the file has there.
        entries: the list that holds the entry, for the message.
        key: the name of the field that identifies an image.
        text: the name of the field that holds a text.

    Raises:
        UserError: A field is missing or of another type.
    """
    fields = entry if isinstance(entry, dict) else {}
    key_value = fields.get(key)
    text_value = fields.get(text)
    if not isinstance(key_value, int | str) or not isinstance(text_value, str):
        raise UserError(
            f'{annotations}: one of its {entries} has no {key} or no {text}: '
            f'{shown(entry)}'
        )
    return key_value, text_value
