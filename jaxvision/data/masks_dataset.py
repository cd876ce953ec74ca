"""A user's own images with masks: a class or an object for each pixel."""

import collections
import copy
import dataclasses
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.core.types import Example
from jaxvision.data import (
    class_names,
    content,
    files,
    headers,
    masks_classes,
    masks_instances,
    masks_reading,
    masks_values,
)
from jaxvision.data.labelled_files import count, printable, some
from jaxvision.data.masks_classes import MaskValues, Reading
from jaxvision.data.masks_folder import MaskListing, Pair
from jaxvision.data.masks_table import ClassTable
from jaxvision.data.protocol import (
    BOX_KEYS,
    Identify,
    RowSource,
    SourceInfo,
    Unreadable,
    fingerprint,
)
from jaxvision.data.split_files import SplitFiles


@dataclasses.dataclass(frozen=True)
class _Masks:
    """All masks of a dataset.

    Attributes:
        reading: how stored values become classes or objects.
        values: those of each readable mask.
        contents: what identifies the content of each mask.
        unreadable: why, for each mask that cannot be read.
    """

    reading: Reading
    values: Mapping[Path, MaskValues]
    contents: Mapping[Path, str]
    unreadable: Mapping[Path, str]


class MaskDataset(SplitFiles):
    """Images with masks. Opening the first split reads the values of all masks.

    Attributes:
        splits: those that there are, of 'train', 'validation' and 'test'.
    """

    def __init__(
        self,
        listing: MaskListing,
        table: ClassTable | None = None,
        identify: Identify = content.identify,
    ):
        """Take the files of a dataset.

        Args:
            listing: the images and masks.
            table: classes.csv; None: there is none.
            identify: as for `open_folder`.

        Raises:
            UserError: There is no training image.
        """
        super().__init__(listing.name, listing.images)
        self._listing = listing
        self._table = table
        self._identify = identify
        self._masks: _Masks | None = None
        self._reading = threading.Lock()

    def open(self, split: str) -> 'MaskSource':
        """Open a split by its name, or a usual other name: 'val' for 'validation'.

        Raises:
            UserError: There is no such split, a mask has another size than its image, a value
                belongs to no class, or no mask of the split can be read.
        """
        split = self._find(split)
        pairs = self._pairs(split)
        images = [pair.image for pair in pairs]
        contents = self._identify(images)
        sizes = headers.sizes(images)
        with self._reading:
            if self._masks is None:
                self._masks = self._read_masks()
        masks = self._masks
        reading = masks.reading
        notes = _check_sizes(pairs, sizes)
        notes += _notes_on_depth(sizes)
        notes += _notes_on_masks(pairs, masks)
        values = [
            masks.values[pair.mask] for pair in pairs if pair.mask in masks.values
        ]
        if split == 'train' and len(values) == len(pairs):
            notes += _unseen(reading, values)
        listed = [
            (pair.image.name, identity, masks.contents[pair.mask])
            for pair, identity in zip(pairs, contents, strict=True)
        ]
        rules = (reading.rows, reading.color_rows, reading.has_objects)
        holds = ('image', 'semantic')
        objects = reading.names
        if reading.has_objects:
            holds = (*holds, *masks_instances.KEYS)
            objects = reading.names[1:]
        all_notes = [*self._listing.notes, *reading.notes]
        all_notes += [f'{split}: {note}' for note in notes]
        info = SourceInfo(
            name=self._name,
            split=split,
            class_names=objects,
            image_shape=headers.common_shape(sizes),
            multi_label=False,
            fingerprint=fingerprint(split, reading.names, rules, listed),
            holds=holds,
            semantic_names=reading.names,
            notes=printable(all_notes),
            doubts=printable([*reading.doubts, *class_names.doubtful(reading.names)]),
        )
        return self._source(info, pairs, contents, reading)

    def _pairs(self, split: str) -> Sequence[Pair]:
        """The images and masks of a split, in the order of its examples."""
        return self._listing.pairs[split]

    def _source(
        self,
        info: SourceInfo,
        pairs: Sequence[Pair],
        contents: Sequence[str],
        reading: Reading,
    ) -> 'MaskSource':
        """The source of a split, see `MaskSource`."""
        return MaskSource(info, pairs, contents, reading)

    def _read_masks(self) -> _Masks:
        """Read the values of all masks, and decide what they mean."""
        paths = [pair.mask for pairs in self._listing.pairs.values() for pair in pairs]
        contents = self._identify(paths)
        values, unreadable = self._scan(paths, contents)
        if not values:
            path, reason = next(iter(unreadable.items()))
            raise UserError(f'{self._name}: no mask can be read. {path}: {reason}')
        return _Masks(
            reading=self._decide(values),
            values={mask.path: mask for mask in values},
            contents=dict(zip(paths, contents, strict=True)),
            unreadable=unreadable,
        )

    def _scan(
        self, paths: Sequence[Path], contents: Sequence[str]
    ) -> tuple[list[MaskValues], dict[Path, str]]:
        """(the values of the readable masks, {path: why} of the others)."""
        palette_colors = masks_classes.reads_palettes(self._table)
        return masks_values.scan(paths, contents, palette_colors)

    def _decide(self, values: Sequence[MaskValues]) -> Reading:
        """Decide what the values of masks mean."""
        return masks_classes.decide(values, self._table)


class MaskSource(RowSource):
    """The encoded images of one split, each with the class or object of its pixels."""

    def __init__(
        self,
        info: SourceInfo,
        pairs: Sequence[Pair],
        contents: Sequence[str],
        reading: Reading,
    ):
        """Take what `MaskDataset.open` has checked.

        Args:
            info: of the split.
            pairs: the images and masks.
            contents: what identifies the content of each image.
            reading: how stored values become classes or objects.
        """
        self.info = info
        self._pairs = pairs
        self._contents = contents
        self._reading = reading
        self._boxes: dict[int, Example] = {}

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, row: int) -> Example:
        image = files.read(str(self._pairs[row].image))
        return {'image': image, **self.annotation_of(row)}

    def annotation_of(self, row: int) -> Example:
        """The example of a row, without its image. Its mask is read at each call."""
        if not {'semantic', 'instances'} & set(self.info.holds):
            return self.boxes_of(row)
        example = self._read(row)
        return {key: value for key, value in example.items() if key in self.info.holds}

    def _read(self, row: int) -> Example:
        """All that the mask of a row tells. The boxes are kept."""
        path = self._pairs[row].mask
        try:
            data = files.read(str(path))
            stored = masks_reading.read(data, self._reading.palette_colors)
            example = masks_instances.example(stored, self._reading)
        except Unreadable as error:
            raise Unreadable(f'its mask {path}: {error}') from error
        if self._reading.has_objects:
            self._boxes[row] = {key: example[key] for key in BOX_KEYS}
        return example

    def boxes_of(self, row: int) -> Example:
        """'boxes', 'box_classes', 'crowd' and 'area' of a row of objects, without its image.

        The mask is read at the first call alone.
        """
        if row not in self._boxes:
            self._read(row)
        return dict(self._boxes[row])

    def without(self, keys: Sequence[str]) -> 'MaskSource':
        """The source whose examples lack some keys. Images, boxes and labels stay.

        Without label maps and objects' maps, masks are not read again.
        """
        optional = set()
        if self._reading.has_objects:
            optional = {'semantic', 'instances', 'instance_classes'}
        source = copy.copy(self)
        source.info = self.info.without(list(optional.intersection(keys)))
        return source

    def contents(self) -> Sequence[str]:
        """The digest of each row's image, or what else `identify` gave for it."""
        return self._contents

    def where(self, row: int) -> str:
        """The path of a row's image."""
        return str(self._pairs[row].image)


def _check_sizes(
    pairs: Sequence[Pair], sizes: Sequence[headers.Size | None]
) -> list[str]:
    """Check that masks have the sizes of their upright images.

    Args:
        pairs: the images and masks.
        sizes: of the images, from their headers.

    Returns:
        A note of images that EXIF turns or mirrors and whose masks have the upright size.
        The sizes do not tell whether these masks are turned as the images are.

    Raises:
        UserError: The sizes of an image and its mask differ.
    """
    mask_sizes = headers.sizes([pair.mask for pair in pairs])
    wrong = []
    unsure = []
    for pair, size, mask_size in zip(pairs, sizes, mask_sizes, strict=True):
        if size is None or mask_size is None:
            continue
        if size.upright != mask_size.upright:
            wrong.append((pair, size, mask_size))
        elif size.orientation > 1:
            unsure.append(pair.image.name)
    if wrong:
        pair, size, mask_size = wrong[0]
        hint = 'Use the masks of these images'
        if size.stored == mask_size.upright:
            hint = 'EXIF turns the image: turn the mask, too'
        raise UserError(
            f'{count(len(wrong), "mask")} of another size than the image, such as {pair.mask}: '
            f'it is {mask_size.width}x{mask_size.height}, and {pair.image} is '
            f'{size.width}x{size.height}. {hint}'
        )
    if not unsure:
        return []
    return [
        f'{count(len(unsure), "image")} that EXIF turns or mirrors, the first {unsure[0]}: '
        'masks are taken as those of the upright images'
    ]


def _notes_on_depth(sizes: Sequence[headers.Size | None]) -> list[str]:
    """A note of images of 16 bits, whose range is seldom used as a whole."""
    number = sum(size is not None and size.is_wide for size in sizes)
    if not number:
        return []
    return [
        f'{count(number, "image")} of 16 bits, of which 65535 is white. With '
        'task.contrast=True each image is stretched to its own range instead'
    ]


def _notes_on_masks(pairs: Sequence[Pair], masks: _Masks) -> list[str]:
    """Notes of masks that cannot be read."""
    unreadable = [pair.mask for pair in pairs if pair.mask in masks.unreadable]
    if not unreadable:
        return []
    first = unreadable[0]
    return [
        f'{count(len(unreadable), "mask")} cannot be read, such as {first.name}: '
        f'{masks.unreadable[first]}'
    ]


def _unseen(reading: Reading, masks: Sequence[MaskValues]) -> list[str]:
    """A note of classes without a pixel in these masks."""
    pixels = class_pixels(reading, masks)
    unseen = [name for row, name in enumerate(reading.names) if not pixels.get(row, 0)]
    if not unseen:
        return []
    return [f'classes without a pixel ({len(unseen):,}): {some(unseen)}']


def class_pixels(reading: Reading, masks: Sequence[MaskValues]) -> dict[int, int]:
    """{row of a class, or 255: its pixels} in some masks."""
    pixels: dict[int, int] = collections.Counter()
    for mask in masks:
        stored = np.array([list(mask.counts)], np.int32)
        rows = reading.semantic(masks_reading.StoredMask(stored, mask.kind))
        for row, number in zip(rows[0].tolist(), mask.counts.values(), strict=True):
            pixels[row] += number
    return pixels
