"""DICOM files with a mask each: in the order of the body, series by series."""

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from jaxvision.core.errors import UserError
from jaxvision.core.types import Example
from jaxvision.data import content, dicom_files
from jaxvision.data.dicom_files import Header
from jaxvision.data.labelled_files import count, printable
from jaxvision.data.masks_classes import Reading
from jaxvision.data.masks_dataset import MaskDataset, MaskSource
from jaxvision.data.masks_folder import MaskListing, Pair
from jaxvision.data.masks_table import ClassTable
from jaxvision.data.protocol import Identify, SourceInfo, Unreadable, fingerprint
from jaxvision.data.windows import Window


@dataclasses.dataclass(frozen=True)
class Slice:
    """The place of an image in its series.

    Attributes:
        series: number of the series in the split, from 0.
        number: of the slice in the series, from 0, along the normal of its plane.
        spacing: (height, width) of a pixel in millimetres; None: unknown.
    """

    series: int
    number: int
    spacing: tuple[float, float] | None


def are_dicom(listing: MaskListing) -> bool:
    """Whether the images of a dataset are DICOM files, by their suffixes.

    Raises:
        UserError: Some are, and others are not.
    """
    paths = [pair.image for pairs in listing.pairs.values() for pair in pairs]
    others = [path for path in paths if not dicom_files.has_suffix(path)]
    if others and len(others) < len(paths):
        raise UserError(
            f'{listing.name}: expected DICOM files alone, or none, and {others[0]} is none. Put '
            'them into folders of their own'
        )
    return not others


class DicomDataset(MaskDataset):
    """DICOM files with masks. Files of one series are in one split."""

    def __init__(
        self,
        listing: MaskListing,
        table: ClassTable | None = None,
        identify: Identify = content.identify,
    ):
        """Take the files of a dataset, see `MaskDataset`."""
        super().__init__(listing, table, identify)
        self._window: Window | None = None
        self._known: dict[Path, Header | None] = {}

    def with_window(self, window: Window) -> 'DicomDataset':
        """The dataset whose images show the values of a window."""
        dataset = copy.copy(self)
        dataset._window = window
        return dataset

    def _pairs(self, split: str) -> Sequence[Pair]:
        """The images and masks of a split, series by series, each in the order of the body."""
        pairs = self._listing.pairs[split]
        places = _places(self._headers(pairs))
        order = sorted(range(len(pairs)), key=lambda row: places[row])
        return [pairs[row] for row in order]

    def _source(
        self,
        info: SourceInfo,
        pairs: Sequence[Pair],
        contents: Sequence[str],
        reading: Reading,
    ) -> MaskSource:
        headers = self._headers(pairs)
        slices = _slices(headers)
        has_colors = any(header and not header.is_grey for header in headers)
        holds = [*info.holds, 'volume', 'slice']
        if all(item.spacing for item in slices):
            holds.append('spacing')
        shown = 'the window of a file is its own; without one, 0.5 % of its values are black'
        hashed = info.fingerprint
        if self._window:
            shown = f'values around {self._window.center:g} are shown, {self._window.width:g} wide'
            hashed = fingerprint(hashed, self._window)
        number = len({item.series for item in slices})
        series = f'{number} series' if number > 1 else 'one series'
        note = f'{info.split}: {count(len(slices), "DICOM file")} of {series}; {shown}'
        height, width, _ = info.image_shape
        own = dataclasses.replace(
            info,
            holds=tuple(holds),
            fingerprint=hashed,
            image_shape=(height, width, 3 if has_colors else 1),
            notes=printable([*info.notes, note]),
        )
        return DicomSource(own, pairs, contents, reading, slices, self._window)

    def _headers(self, pairs: Sequence[Pair]) -> list[Header | None]:
        """What each file says of its image; None for a file that cannot be read."""
        for pair in pairs:
            if pair.image in self._known:
                continue
            try:
                self._known[pair.image] = dicom_files.read_header(pair.image)
            except Unreadable:  # The pipeline names it later.
                self._known[pair.image] = None
        return [self._known[pair.image] for pair in pairs]


class DicomSource(MaskSource):
    """The DICOM images of one split, each with the class or object of its pixels."""

    def __init__(
        self,
        info: SourceInfo,
        pairs: Sequence[Pair],
        contents: Sequence[str],
        reading: Reading,
        slices: Sequence[Slice],
        window: Window | None,
    ):
        """Take what `DicomDataset.open` has checked.

        Args:
            info: of the split.
            pairs: the images and masks.
            contents: what identifies the content of each image.
            reading: how stored values become classes or objects.
            slices: the place of each image.
            window: of the values; None: that of each file.
        """
        super().__init__(info, pairs, contents, reading)
        self._slices = slices
        self._window = window

    def __getitem__(self, row: int) -> Example:
        path = self._pairs[row].image
        image = dicom_files.pixels(path, self._window)
        return {'image': image, **self.annotation_of(row)}

    def annotation_of(self, row: int) -> Example:
        """The example of a row, without its image. Its mask is read at each call."""
        item = self._slices[row]
        place = {'volume': np.int32(item.series), 'slice': np.int32(item.number)}
        if item.spacing is not None:
            place['spacing'] = np.array(item.spacing, np.float32)
        example = {**super().annotation_of(row), **place}
        return {key: value for key, value in example.items() if key in self.info.holds}

    def groups(self) -> Int[np.ndarray, 'n'] | Sequence[int]:
        """The series of each row, whose files are held out together.

        It is empty if all files are of one series.
        """
        groups = np.array([item.series for item in self._slices])
        return groups if groups.any() else ()


def _places(headers: Sequence[Header | None]) -> list[tuple[str, float]]:
    """(series, distance along its normal in millimetres) of each file.

    Files without a place have their order by name: they come first, each with distance 0.
    """
    places = []
    for header in headers:
        if header is None:
            places.append(('', 0.0))
            continue
        distance = 0.0
        if header.position is not None and header.axes is not None:
            normal = np.cross(header.axes[:3], header.axes[3:])
            distance = float(normal @ np.array(header.position))
        places.append((header.series, distance))
    return places


def _slices(headers: Sequence[Header | None]) -> list[Slice]:
    """The places of files that are sorted by series and position."""
    slices: list[Slice] = []
    names = [header.series if header else '' for header in headers]
    for row, header in enumerate(headers):
        spacing = header.spacing if header else None
        if row and names[row] == names[row - 1]:
            last = slices[-1]
            slices.append(Slice(last.series, last.number + 1, spacing))
        else:
            series = slices[-1].series + 1 if slices else 0
            slices.append(Slice(series, 0, spacing))
    return slices
