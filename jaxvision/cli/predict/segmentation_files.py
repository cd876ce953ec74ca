"""The files of one segmented image: label map, objects and a picture, written strip by strip."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Integer, UInt8

from jaxvision.cli.predict import segmentation_answers as answers
from jaxvision.cli.predict.predictor import Entry
from jaxvision.cli.predict.segmentation_answers import Spacing, Tally
from jaxvision.cli.predict.segmentation_objects import Finder, Table
from jaxvision.cli.predict.segmentation_views import Strip
from jaxvision.core.files import atomic_path
from jaxvision.core.types import Json
from jaxvision.data import files
from jaxvision.image.types import Size
from jaxvision.viz import figures, png
from jaxvision.viz import segmentation as drawing

# The longest side of a picture, pixels. A larger image is shrunk by a whole factor.
LARGEST_SIDE = 2048
# The largest number of an object in a PNG of 16 bits.
MOST_OBJECTS = 65_535

Rows = UInt8[np.ndarray, '_ w c']
Labels = Integer[np.ndarray, '_ w']


@dataclasses.dataclass(frozen=True)
class Paths:
    """The files of one image.

    Attributes:
        picture: the image with the painted classes or objects; None: it is not drawn.
        labels: the class of each pixel.
        objects: the number of the object of each pixel, 16 bits; None: no objects.
        many_objects: the TIFF of 32 bits that is written instead if there are more than
            65,535 objects; None: no objects.
    """

    picture: Path | None
    labels: Path
    objects: Path | None
    many_objects: Path | None

    @classmethod
    def of_all(
        cls, images: Sequence[str], out: Path, has_objects: bool, draws: bool
    ) -> 'list[Paths]':
        """Name the files of all images, all names different.

        They are NAME.png, NAME-labels.png, and NAME-objects.png or .tif.

        Args:
            images: paths of the user's images.
            out: the folder of the files.
            has_objects: whether the network predicts objects.
            draws: whether pictures are drawn.
        """
        stems = [Path(image).stem for image in images]
        names = [*images]
        for kind in ('labels', 'objects'):
            names += [f'{stem}-{kind}.png' for stem in stems]
        count = len(images)
        places = files.picture_paths(names, out)
        paths = []
        for row in range(count):
            objects = places[2 * count + row] if has_objects else None
            paths.append(
                cls(
                    picture=places[row] if draws else None,
                    labels=places[count + row],
                    objects=objects,
                    many_objects=objects.with_suffix('.tif') if objects else None,
                )
            )
        return paths

    @property
    def all(self) -> list[Path]:
        """The files that may be written."""
        paths = (self.picture, self.labels, self.objects, self.many_objects)
        return [path for path in paths if path is not None]


class Preview:
    """An image and a label map, shrunk by a whole factor while their rows arrive."""

    def __init__(self, size: Size):
        """Begin an image of this (height, width), in pixels."""
        self._size = size
        self._step = -(-max(size) // LARGEST_SIDE)
        height, width = (-(-side // self._step) for side in size)
        self._sums = np.zeros((height, width, 3), np.uint32 if self._step > 1 else 'u1')
        # The pixel in the middle of each cell.
        self._rows = self._middles(size[0])
        self._columns = self._middles(size[1])
        self.labels = np.zeros((height, width), np.int32)

    def add_image(self, top: int, rows: Rows) -> None:
        """Add rows of the image, uint8 [n, W, 1 or 3]; `top` is the first one."""
        if self._step == 1:
            self._sums[top : top + len(rows)] = rows
            return
        starts = np.arange(0, self._size[1], self._step)
        sums = np.add.reduceat(rows, starts, axis=1, dtype=np.uint32)
        cells = np.arange(top, top + len(rows)) // self._step
        first_rows = np.flatnonzero(np.diff(cells, prepend=-1))
        sums = np.add.reduceat(sums, first_rows, axis=0)
        self._sums[cells[0] : cells[-1] + 1] += sums

    def add_labels(self, top: int, rows: Labels) -> None:
        """Add rows of the label map, [n, W]; `top` is the first one."""
        first, last = np.searchsorted(self._rows, [top, top + len(rows)])
        part = rows[self._rows[first:last] - top]
        self.labels[first:last] = part[:, self._columns]

    def image(self) -> UInt8[np.ndarray, 'h w 3']:
        """The shrunk image: the mean of each cell."""
        if self._step == 1:
            return self._sums
        heights, widths = (
            np.diff([*range(0, side, self._step), side]) for side in self._size
        )
        # Numbers of 64 bits would take as much memory as the tiles.
        counts = (heights[:, None, None] * widths[:, None]).astype(np.uint32)
        means = self._sums + counts // 2
        means //= counts
        return means.astype(np.uint8)

    def _middles(self, side: int) -> Integer[np.ndarray, 'n']:
        starts = np.arange(0, side, self._step)
        return np.minimum(starts + self._step // 2, side - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Writer:
    """Writes the files of segmented images.

    Attributes:
        class_names: of the model.
        has_objects: whether the network predicts objects.
        spacing: of the pixels; None: unknown.
    """

    class_names: Sequence[str]
    has_objects: bool
    spacing: Spacing | None

    def write(
        self, strips: Iterable[Strip], size: Size, preview: Preview, paths: Paths
    ) -> Entry:
        """Write the files of one image while its strips arrive.

        Args:
            strips: from the top down.
            size: (height, width) of the image, pixels.
            preview: has the image when the last strip has come. Its labels are filled.
            paths: of the files.

        Returns:
            The part of the entry with 'answer', 'saved' and perhaps 'picture'.
        """
        saved = [paths.labels]
        with tempfile.TemporaryFile(dir=paths.labels.parent) as file:
            with png.open_labels(paths.labels, size, drawing.label_colors()) as write:
                found = self.collect(strips, size, preview, file, write)
            if found.finder is not None:
                count = len(found.table.areas)
                saved.append(_write_objects(found.finder, count, size, paths))
        answer = self.describe(found, size)
        entry: Entry = {'answer': answer, 'saved': [str(path) for path in saved]}
        if paths.picture is not None:
            figures.save(paths.picture, self.draw(preview))
            entry['picture'] = str(paths.picture)
        return entry

    def collect(
        self,
        strips: Iterable[Strip],
        size: Size,
        preview: Preview,
        file: IO,
        write: png.WriteRows | None = None,
    ) -> 'Segmented':
        """Take in the strips of an image.

        Args:
            strips: from the top down.
            size: (height, width) of the image, pixels.
            preview: its labels are filled: with the classes, or with the objects.
            file: an empty file for the numbers of objects.
            write: called with the labels of each strip; None: they are not written.
        """
        number = len(self.class_names)
        tally = Tally(number)
        finder = Finder(size, number, file) if self.has_objects else None
        for strip in strips:
            tally.add(strip)
            if write is not None:
                write(strip.labels)
            if finder is None:
                preview.add_labels(strip.top, strip.labels)
            else:
                finder.add(strip)
        if finder is None:
            return Segmented(tally, None, None)
        table = finder.table()
        top = 0
        for rows in finder.rows():
            preview.add_labels(top, rows)
            top += len(rows)
        return Segmented(tally, finder, table)

    def describe(self, found: 'Segmented', size: Size) -> Json:
        """Describe an image of a (height, width), see `answer_of`."""
        return answers.answer_of(
            self.class_names, found.tally, found.table, size, self.spacing
        )

    def draw(self, preview: Preview) -> UInt8[np.ndarray, '_ _ 3']:
        """Paint the classes, or the objects, on an image."""
        if self.has_objects:
            return drawing.overlay_instances(preview.image(), preview.labels)
        hidden = drawing.hidden_classes(self.class_names)
        return drawing.overlay(
            preview.image(), preview.labels, self.class_names, hidden
        )


@dataclasses.dataclass(frozen=True)
class Segmented:
    """An image whose strips have all been taken in.

    Attributes:
        tally: of its classes.
        finder: of its objects; None: the network predicts none.
        table: of its objects; None: the network predicts none.
    """

    tally: Tally
    finder: Finder | None
    table: Table | None


def _write_objects(finder: Finder, count: int, size: Size, paths: Paths) -> Path:
    """Write the numbers of objects, and return the path of the file."""
    if count <= MOST_OBJECTS:
        path, other = paths.objects, paths.many_objects
        opened = png.open_labels(path, size)
    else:
        path, other = paths.many_objects, paths.objects
        opened = open_tiff(path, size)
    with opened as write:
        for rows in finder.rows():
            write(rows)
    other.unlink(missing_ok=True)  # Of an earlier report.
    return path


@contextlib.contextmanager
def open_tiff(path: Path, size: Size) -> Iterator[png.WriteRows]:
    """Write numbers as a TIFF of 32 bits without compression, atomically, row by row.

    Args:
        path: the file, in an existing folder.
        size: (height, width), pixels.

    Yields:
        `write(rows)`, for the next rows [n, width], from the top down.
    """
    import tifffile

    with atomic_path(path, durable=False) as partial:
        tifffile.imwrite(partial, shape=size, dtype='<u4', byteorder='<', metadata=None)
        with tifffile.TiffFile(partial) as opened:
            offset = opened.pages[0].dataoffsets[0]
        with partial.open('r+b') as file:
            file.seek(offset)

            def write(rows: Labels) -> None:
                file.write(rows.astype('<u4').tobytes())

            yield write
