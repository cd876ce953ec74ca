"""Objects of an image of any size, separated in windows and joined across their borders.

The maps of some rows are in memory, and the numbers of the objects are in a temporary file.
"""

import dataclasses
from collections.abc import Iterator
from typing import IO

import numpy as np
from jaxtyping import Float, Int

from jaxvision.cli.predict.segmentation_views import Strip
from jaxvision.image.types import Size
from jaxvision.tasks.segmentation import objects

Instances = Int[np.ndarray, '_ _']
Counts = Int[np.ndarray, 'n']

# A side of an image up to this length has one window, pixels.
_WHOLE = 1024
# The core of a window, whose objects it gives, and what it shows around its core, pixels.
_CORE = 512
_MARGIN = 64
# Pixels on each side of a border in which the objects of two windows are compared.
_SEAM = 4
_STORED = np.dtype('<i4')


@dataclasses.dataclass(frozen=True)
class Table:
    """The objects of an image, one row each.

    Attributes:
        areas: numbers of pixels.
        centers: means of the centres (y, x) of the pixels, in pixels of the image.
        boxes: ymin, xmin, ymax, xmax in pixels.
        classes: the most frequent class of the pixels.
        scores: means over the pixels of the probability of their class.
    """

    areas: Counts
    centers: Float[np.ndarray, 'n 2']
    boxes: Int[np.ndarray, 'n 4']
    classes: Counts
    scores: Float[np.ndarray, 'n']


class Finder:
    """Separates objects while the strips of an image arrive."""

    def __init__(self, size: Size, class_count: int, file: IO):
        """Begin an image.

        Args:
            size: (height, width) of the image, pixels.
            class_count: number of classes with the background.
            file: an empty temporary file, open to write and to read.
        """
        self._size = size
        self._classes = class_count
        self._file = file
        self._tops = _cores(size[0])
        self._lefts = _cores(size[1])
        lines = min(size[0], _CORE + 2 * _MARGIN if len(self._tops) > 2 else _WHOLE)
        self._maps = np.zeros((lines, size[1], 4), np.float32)
        self._first = 0  # row of the image at which the maps begin
        self._filled = 0
        self._line = 0
        self._count = 0
        self._above: tuple[int, Instances] | None = None
        self._links: list[Int[np.ndarray, 'm 2']] = []
        self._measures: list[_Measures] = []
        self._numbers: Counts = np.zeros(1, np.int64)

    def add(self, strip: Strip) -> None:
        """Add the next rows, which have `objects`; the strips come from the top down."""
        rest = strip.objects
        while len(rest):
            some = rest[: len(self._maps) - self._filled]
            self._maps[self._filled : self._filled + len(some)] = some
            self._filled += len(some)
            rest = rest[len(some) :]
            while self._is_ready():
                self._separate_line()

    def table(self) -> Table:
        """Number the objects of all rows, and describe them."""
        from scipy.sparse import coo_array, csgraph

        links = np.concatenate([np.zeros((0, 2), int), *self._links])
        pairs = (np.ones(len(links)), (links[:, 0], links[:, 1]))
        size = self._count + 1
        graph = coo_array(pairs, shape=(size, size))
        count, parts = csgraph.connected_components(graph, directed=False)
        merged = _Measures.zeros(int(count), self._classes)
        for measures in self._measures:
            merged.add(measures, parts[measures.numbers])
        is_kept = merged.areas >= objects.LEAST_AREA
        is_kept[parts[0]] = False
        # In the order of their first numbers.
        order = np.unique(parts, return_index=True)[1].argsort()
        rows = order[is_kept[order]]
        final = np.zeros(len(is_kept), np.int64)
        final[rows] = np.arange(1, len(rows) + 1)
        self._numbers = final[parts]
        return merged.table(rows)

    def rows(self) -> Iterator[Instances]:
        """Yield the final number of the object of each pixel, after `table`.

        Some rows come at a time, from the top down. 0 is no object.
        """
        height, width = self._size
        step = max(1, 2**20 // width)
        self._file.seek(0)
        for top in range(0, height, step):
            rows = min(step, height - top)
            data = self._file.read(rows * width * _STORED.itemsize)
            stored = np.frombuffer(data, _STORED).reshape(rows, width)
            yield self._numbers[stored]

    def _is_ready(self) -> bool:
        if self._line == len(self._tops) - 1:
            return False
        return self._first + self._filled >= self._bottom()

    def _bottom(self) -> int:
        """The row after the window of the current line."""
        end = self._tops[self._line + 1]
        return end if end == self._size[0] else min(end + _MARGIN, self._size[0])

    def _separate_line(self) -> None:
        """Separate the objects of a line of windows, and store their numbers."""
        top = self._tops[self._line]
        end = self._tops[self._line + 1]
        maps = self._maps[: self._bottom() - self._first]
        core = slice(top - self._first, end - self._first)
        line = np.zeros(maps.shape[:2], np.int32)
        before = np.zeros((len(maps), 0), np.int32)
        for left, right in zip(self._lefts[:-1], self._lefts[1:], strict=True):
            start = max(left - _MARGIN, 0) if left else 0
            part = maps[:, start : right + _MARGIN]
            found = _separate(part)
            numbers = np.where(found > 0, found + self._count, 0)
            self._count += int(found.max(initial=0))
            seam = 2 * _SEAM
            near = numbers[:, max(left - start - _SEAM, 0) :][:, :seam]
            self._link(before, near[:, : before.shape[1]])
            inner = slice(left - start, right - start)
            line[:, left:right] = numbers[:, inner]
            before = numbers[:, max(right - start - _SEAM, 0) :][:, :seam]
            self._measure(numbers[core, inner], part[core, inner], (top, left))
        if self._above is not None:
            row, above = self._above
            self._link(above, line[row - self._first :][: len(above)])
        self._file.write(line[core].astype(_STORED).tobytes())
        seam_row = end - _SEAM
        self._above = (seam_row, line[seam_row - self._first :][: 2 * _SEAM].copy())
        self._line += 1
        self._forget(max(end - _MARGIN, self._first))

    def _forget(self, row: int) -> None:
        """Forget the maps above a row of the image."""
        gone = row - self._first
        kept = self._filled - gone
        self._maps[:kept] = self._maps[gone : self._filled].copy()
        self._first = row
        self._filled = kept

    def _link(self, one: Instances, other: Instances) -> None:
        """Note which objects of two windows are the same, by pixels that both show."""
        is_common = (one > 0) & (other > 0)
        if not is_common.any():
            return
        pairs = np.stack([one[is_common], other[is_common]], axis=-1)
        links, counts = np.unique(pairs, axis=0, return_counts=True)
        areas = []
        for column, labels in enumerate((one, other)):
            names, sizes = np.unique(labels, return_counts=True)
            areas.append(sizes[np.searchsorted(names, links[:, column])])
        self._links.append(links[2 * counts > np.minimum(*areas)].astype(np.int64))

    def _measure(
        self, numbers: Instances, maps: Float[np.ndarray, '_ _ 4'], corner: Size
    ) -> None:
        """Measure the parts of objects inside the core of a window."""
        rows, columns = np.nonzero(numbers)
        if not len(rows):
            return
        named, places = np.unique(numbers[rows, columns], return_inverse=True)
        measures = _Measures.zeros(len(named), self._classes)
        points = np.stack([rows + corner[0], columns + corner[1]], axis=-1)
        kinds = maps[rows, columns, 2].astype(int)
        scores = maps[rows, columns, 3].astype(np.float64)
        measures.measure(places, points, kinds, scores)
        self._measures.append(dataclasses.replace(measures, numbers=named))


@dataclasses.dataclass(frozen=True)
class _Measures:
    """Sums over the pixels of objects, one row each.

    Attributes:
        numbers: of the objects.
        areas: numbers of pixels.
        sums: of the rows and the columns of the pixels.
        boxes: ymin, xmin, ymax, xmax in pixels.
        votes: pixels of each class.
        scores: sums of probabilities.
    """

    numbers: Counts
    areas: Counts
    sums: Float[np.ndarray, 'n 2']
    boxes: Int[np.ndarray, 'n 4']
    votes: Int[np.ndarray, 'n k']
    scores: Float[np.ndarray, 'n']

    @classmethod
    def zeros(cls, count: int, class_count: int) -> '_Measures':
        largest = np.iinfo(np.int64).max
        boxes = np.tile(np.array([largest, largest, 0, 0], np.int64), (count, 1))
        return cls(
            np.arange(count),
            np.zeros(count, np.int64),
            np.zeros((count, 2)),
            boxes,
            np.zeros((count, class_count), np.int64),
            np.zeros(count),
        )

    def measure(
        self,
        places: Counts,
        points: Int[np.ndarray, 'n 2'],
        kinds: Counts,
        scores: Float[np.ndarray, 'n'],
    ) -> None:
        """Add pixels: the row of their object, their (y, x), class and probability."""
        count = len(self.areas)
        self.areas[:] += np.bincount(places, minlength=count)
        for axis in range(2):
            self.sums[:, axis] += np.bincount(places, points[:, axis], count)
        np.minimum.at(self.boxes[:, :2], places, points)
        np.maximum.at(self.boxes[:, 2:], places, points + 1)
        np.add.at(self.votes, (places, kinds), 1)
        self.scores[:] += np.bincount(places, scores, count)

    def add(self, other: '_Measures', places: Counts) -> None:
        """Add other measures, each to the row of its place."""
        np.add.at(self.areas, places, other.areas)
        np.add.at(self.sums, places, other.sums)
        np.minimum.at(self.boxes[:, :2], places, other.boxes[:, :2])
        np.maximum.at(self.boxes[:, 2:], places, other.boxes[:, 2:])
        np.add.at(self.votes, places, other.votes)
        np.add.at(self.scores, places, other.scores)

    def table(self, rows: Counts) -> Table:
        """Describe the objects of some rows."""
        areas = self.areas[rows]
        return Table(
            areas,
            self.sums[rows] / np.maximum(areas, 1)[:, None] + 0.5,
            self.boxes[rows],
            self.votes[rows].argmax(axis=-1),
            self.scores[rows] / np.maximum(areas, 1),
        )


def _separate(maps: Float[np.ndarray, '_ _ 4']) -> Instances:
    """Separate the objects of a window by `Strip.objects`."""
    height = maps[..., 1]
    return objects.separate(maps[..., 0], height, np.zeros_like(height))


def _cores(length: int) -> list[int]:
    """The borders of the cores of windows along a side, with both ends."""
    if length <= _WHOLE:
        return [0, length]
    count = -(-length // _CORE)
    return [length * place // count for place in range(count + 1)]
