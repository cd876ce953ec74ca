"""Volumes with label volumes: an example is a slice, and a volume is in one split alone."""

import copy
import dataclasses
import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from jaxvision.core.errors import UserError
from jaxvision.core.types import Example
from jaxvision.data import (
    class_names,
    content,
    dicom_series,
    masks_classes,
    masks_instances,
    masks_reading,
    volumes,
    volumes_nifti,
)
from jaxvision.data.labelled_files import count, printable
from jaxvision.data.masks_classes import MaskValues, Reading
from jaxvision.data.masks_folder import MaskListing, Pair
from jaxvision.data.masks_table import ClassTable
from jaxvision.data.protocol import (
    Identify,
    RowSource,
    SourceInfo,
    Unreadable,
    fingerprint,
)
from jaxvision.data.split_files import SplitFiles
from jaxvision.data.volume_grids import Grid
from jaxvision.data.volume_headers import Header
from jaxvision.data.windows import Window


@dataclasses.dataclass(frozen=True)
class _Volume:
    """A volume that can be read.

    Attributes:
        pair: its image and its labels.
        contents: what identifies the content of both.
        header: its size.
        bits: of a label, see `Header`.
        grid: of a series of DICOM files, to which its labels are turned; None: of others.
    """

    pair: Pair
    contents: tuple[str, str]
    header: Header
    bits: int
    grid: Grid | None = None


class VolumeDataset(SplitFiles):
    """Volumes with label volumes. Opening the first split converts all label volumes.

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
            listing: the volumes and their labels.
            table: classes.csv; None: there is none.
            identify: called with paths when a split is opened; gives a text for each that
                identifies its content.

        Raises:
            UserError: There is no training volume.
        """
        super().__init__(listing.name, listing.images, 'volumes')
        self._listing = listing
        self._table = table
        self._identify = identify
        self._reading: Reading | None = None
        self._window: Window | None = None
        self._lock = threading.Lock()

    def with_window(self, window: Window) -> 'VolumeDataset':
        """The dataset whose images show the values of a window."""
        dataset = copy.copy(self)
        dataset._window = window
        return dataset

    def open(self, split: str) -> 'VolumeSource':
        """Open a split by its name, or a usual other name.

        Raises:
            UserError: There is no such split, labels have another size than their image, a value
                belongs to no class, or no volume can be read.
        """
        split = self._find(split)
        readable, notes = self._readable(split)
        with self._lock:
            if self._reading is None:
                self._reading = self._read_values()
        reading = self._reading
        sides = {item.header.shape[1:] for item in readable}
        height, width = sides.pop() if len(sides) == 1 else (None, None)
        listed = [(item.pair.image.name, item.contents) for item in readable]
        rules: tuple = (
            sorted(reading.rows.items()),
            sorted(reading.color_rows.items()),
        )
        holds = ('image', 'semantic', 'volume', 'slice')
        objects = reading.names
        if all(item.header.spacing for item in readable):
            holds = (*holds, 'spacing')
        if self._window:
            rules = (*rules, self._window)
        if reading.has_objects:
            rules = (*rules, 'objects')
            holds = (*holds, *masks_instances.KEYS)
            objects = reading.names[1:]
        notes = [
            *self._listing.notes,
            *reading.notes,
            f'{split}: {count(len(readable), "volume")}, a slice is an example; '
            f'{_shown(self._window, readable)}',
            *(f'{split}: {note}' for note in notes),
        ]
        info = SourceInfo(
            name=self._name,
            split=split,
            class_names=objects,
            image_shape=(height, width, 1),
            multi_label=False,
            fingerprint=fingerprint(split, reading.names, rules, listed),
            holds=holds,
            semantic_names=reading.names,
            notes=printable(notes),
            doubts=printable([*reading.doubts, *class_names.doubtful(reading.names)]),
        )
        return VolumeSource(info, readable, reading, self._window)

    def _readable(self, split: str) -> tuple[list[_Volume], list[str]]:
        """(the volumes of a split that can be read, a note of the others)."""
        pairs = self._listing.pairs[split]
        images = [self._identity(pair.image) for pair in pairs]
        labels = self._identify([pair.mask for pair in pairs])
        readable = []
        unreadable = []
        for pair, *contents in zip(pairs, images, labels, strict=True):
            path = pair.image
            try:
                grid = volumes.grid_of(path) if path.is_dir() else None
                image = volumes.read_header(path)
                path = pair.mask
                labels_header = volumes.read_header(path, grid)
            except Unreadable as error:
                unreadable.append(f'{path.name}: {error}')
                continue
            _check_sizes(pair, image, labels_header)
            if grid is not None:
                _check_places(pair, grid, image)
            both = (contents[0], contents[1])
            readable.append(_Volume(pair, both, image, labels_header.bits, grid))
        if not readable:
            raise UserError(
                f'{self._listing.name}: no volume can be read. {unreadable[0]}'
            )
        notes = []
        if unreadable:
            number = count(len(unreadable), 'volume')
            notes.append(
                f'{number} cannot be read and left out, such as {unreadable[0]}'
            )
        return readable, notes

    def _identity(self, path: Path) -> str:
        """What identifies the content of a file, or of the DICOM files of a folder."""
        if not path.is_dir():
            return self._identify([path])[0]
        contents = self._identify(sorted(dicom_series.files_of(path)))
        return hashlib.sha256(repr(contents).encode(errors='replace')).hexdigest()

    def _read_values(self) -> Reading:
        """Decide what labels mean, by the values of all splits."""
        values = []
        for split in self.splits:
            readable, _ = self._readable(split)
            for item in readable:
                path = item.pair.mask
                try:
                    voxels = volumes.labels(path, item.contents[1], item.grid)
                except Unreadable as error:
                    raise UserError(f'{path}: {error}') from error
                flat = np.asarray(voxels).reshape(len(voxels), -1)
                counts = masks_reading.counts(flat.astype(np.int32))
                is_wide = item.bits > 8 or max(counts) > 255
                kind = 'numbers' if is_wide else 'bytes'
                values.append(MaskValues(path, kind, counts))
        reading = masks_classes.decide(values, self._table)
        is_medical = any(volumes_nifti.is_nifti(mask.path) for mask in values)
        if reading.has_objects and is_medical and not self._table:
            raise UserError(
                f'{self._listing.name}: expected labels of classes in volumes, and the values '
                'number objects. List the class of each value in classes.csv'
            )
        return reading


class VolumeSource(RowSource):
    """The slices of the volumes of one split."""

    def __init__(
        self,
        info: SourceInfo,
        readable: Sequence[_Volume],
        reading: Reading,
        window: Window | None = None,
    ):
        """Take what `VolumeDataset.open` has checked.

        Args:
            info: of the split.
            readable: the volumes.
            reading: how stored values become classes.
            window: of the values of images; None: as `volumes.image` chooses it.
        """
        self.info = info
        self._window = window
        self._volumes = readable
        self._reading = reading
        depths = [item.header.shape[0] for item in readable]
        self._groups = np.repeat(np.arange(len(readable)), depths)
        self._slices = np.concatenate([np.arange(depth) for depth in depths])

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, row: int) -> Example:
        item = self._volumes[self._groups[row]]
        try:
            slices = volumes.image(item.pair.image, item.contents[0], self._window)
        except Unreadable as error:
            raise Unreadable(f'{item.pair.image}: {error}') from error
        image = np.array(slices[self._slices[row]])[..., None]
        return {'image': image, **self.annotation_of(row)}

    def annotation_of(self, row: int) -> Example:
        """The example of a row, without its image."""
        item = self._volumes[self._groups[row]]
        number = self._slices[row]
        try:
            labels = volumes.labels(item.pair.mask, item.contents[1], item.grid)
            kind = 'bytes' if item.bits == 8 else 'numbers'
            mask = masks_reading.StoredMask(np.array(labels[number], np.int32), kind)
            example = masks_instances.example(mask, self._reading)
        except Unreadable as error:
            raise Unreadable(f'its labels {item.pair.mask}: {error}') from error
        if 'spacing' in self.info.holds:
            example['spacing'] = np.array(item.header.spacing, np.float32)
        place = {'volume': np.int32(self._groups[row]), 'slice': np.int32(number)}
        return {**example, **place}

    def groups(self) -> Int[np.ndarray, 'n']:
        """The volume of each row: slices of one volume are held out together."""
        return self._groups

    def where(self, row: int) -> str:
        """The path of a row's volume and the number of the slice from 0."""
        path = self._volumes[self._groups[row]].pair.image
        return f'{path}, slice {self._slices[row]}'


def are_volumes(listing: MaskListing) -> bool:
    """Whether the images of a dataset are volumes.

    Raises:
        UserError: Some files are volumes, and others are not.
    """
    paths: list[Path] = []
    for pairs in listing.pairs.values():
        for pair in pairs:
            paths += [pair.image, pair.mask]
    is_volume = [volumes.is_volume(path) for path in paths]
    if any(is_volume) and not all(is_volume):
        other = paths[is_volume.index(False)]
        raise UserError(
            f'{listing.name}: expected volumes alone, or none, and {other} is none. Volumes are '
            'NIfTI files, folders of DICOM files, and TIFFs of several pages. Put them into '
            'folders of their own'
        )
    return all(is_volume)


def _check_sizes(pair: Pair, image: Header, labels: Header) -> None:
    """Check that labels have the size of their image."""
    if image.shape != labels.shape:
        raise UserError(
            f'{pair.mask}: it has the slices, height and width {labels.shape}, and {pair.image} '
            f'has {image.shape}. Use the labels of this volume'
        )


def _check_places(pair: Pair, grid: Grid, image: Header) -> None:
    """Check that the labels of a series of DICOM files lie where its voxels do.

    Many label files of NIfTI images have no place, so those are not checked.
    """
    sides = (*(image.spacing or (1.0,)), image.thickness or 1.0)
    distance = grid.distance(volumes_nifti.grid_of(pair.mask))
    if distance > min(sides) / 2:
        raise UserError(
            f'{pair.mask}: its voxels lie up to {distance:.3g} mm from those of {pair.image}. Use '
            'the labels of this series'
        )


def _shown(window: Window | None, readable: Sequence[_Volume]) -> str:
    """What of the values of volumes is black and white, in words."""
    if window:
        return f'values around {window.center:g} are shown, {window.width:g} wide'
    rule = '0.5 % of the voxels of a volume are black and 0.5 % white'
    if any(item.pair.image.is_dir() for item in readable):
        return f'the window of a series is that of its files, or else {rule}'
    return rule
