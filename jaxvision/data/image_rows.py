"""Rows of a large image from the top down, without the whole image in memory where possible.

A TIFF is stored in strips or tiles, which are decoded some at a time. It may be larger than the
limit of Pillow. An image in another format is decoded at once.
"""

import dataclasses
import functools
import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from jaxtyping import UInt8

from jaxvision.data import decode, depth, files
from jaxvision.data.protocol import Unreadable
from jaxvision.image import contrast
from jaxvision.image.types import Size

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

Rows = UInt8[np.ndarray, '_ w c']

# An image of at most this many pixels is decoded at once.
_SMALL = 2**22
# Pixels of the strips that are decoded at once, and the most pixels of one line of parts.
_SOME = 2**20
_MOST = 2**25
_WIDEST = 100_000  # pixels

# Numbers of tags of TIFF.
_WIDTH, _HEIGHT = 256, 257
_ORIENTATION = 274
_PLANES = 284
_BITS, _COMPRESSION, _NOT_COMPRESSED = 258, 259, 1
_STRIP_ROWS = 278
_FORMATS = 339
_OFFSETS, _COUNTS = 273, 279
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_TILE_OFFSETS, _TILE_COUNTS = 324, 325
# Tags that say how pixels are stored: bits, compression, meaning, fill order, samples, options of
# fax, predictor, palette, inks, extra samples, sample format, JPEG tables, and YCbCr.
_COPIED = (258, 259, 262, 266, 277, 292, 293, 317, 320, 332, 338, 339, 347)
_COPIED += (529, 530, 531, 532)


@dataclasses.dataclass(frozen=True)
class Parts:
    """The strips or tiles of a TIFF.

    Attributes:
        size: (height, width) of the image, pixels.
        part: (height, width) of a strip or tile, pixels.
        offsets: the place of each part in the file.
        counts: the bytes of each part.
        directory: Pillow's `ImageFileDirectory_v2` of the image.
        is_tiled: whether a tile at the edge has its full size in the file.
        is_wide: whether the image is grey of 16 bits.
    """

    size: Size
    part: Size
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    directory: 'ImageFileDirectory_v2'
    is_tiled: bool
    is_wide: bool


@dataclasses.dataclass(frozen=True)
class ImageRows:
    """An image whose rows are read from the top down.

    Attributes:
        path: of the file.
        channels: 1 (luma) or 3 (RGB).
        size: (height, width) of the upright image, pixels.
        pixels: the whole image, uint8 [H, W, channels]; None: it is read in parts.
        parts: of the file; None with `pixels`.
        table: the new value of each level of grey of 16 bits; None: the scale is linear.
        is_stretched: whether the contrast is stretched already.
    """

    path: str
    channels: int
    size: Size
    pixels: decode.Pixels | None
    parts: Parts | None
    table: contrast.Table | None = None
    is_stretched: bool = False

    @classmethod
    def of(cls, pixels: decode.Pixels) -> 'ImageRows':
        """The rows of a decoded image, uint8 [H, W, C]."""
        return cls('', pixels.shape[2], pixels.shape[:2], pixels, None)

    def strips(self) -> Iterator[Rows]:
        """Yield the rows from the top down, some at a time, uint8 [n, W, channels].

        Raises:
            Unreadable: A part of the file is damaged. It is raised when it is reached.
        """
        if self.parts is None:
            yield self.pixels
            return
        read = functools.partial(
            decode.decode, channels=self.channels, table=self.table
        )
        yield from _strips(self.path, self.parts, read)


def open_rows(path: str, channels: int, stretch: bool = False) -> ImageRows:
    """Open an image of any size.

    Args:
        path: of the image.
        channels: 1 (luma) or 3 (RGB), as for `decode.decode`.
        stretch: whether grey of 16 bits is stretched before it is reduced to 8 bits. A
            file that is read in parts is then read once more.

    Raises:
        Unreadable: The file is no image, it is damaged, or it is larger than Pillow's
            limit and no TIFF of strips or tiles.
    """
    length = files.size(path)
    try:
        parts = _parts(path, length)
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error
    if parts is not None:
        rows = ImageRows(path, channels, parts.size, None, parts)
        if stretch and parts.is_wide:
            table = contrast.stretching(_histogram(path, parts))
            return dataclasses.replace(rows, table=table, is_stretched=True)
        return rows
    data = files.read(path)
    is_stretched = stretch and depth.is_wide(data)
    if is_stretched:
        pixels = depth.stretched(data, channels)
    else:
        pixels = decode.decode(data, channels)
    size = pixels.shape[:2]
    return ImageRows(path, channels, size, pixels, None, is_stretched=is_stretched)


class Window:
    """Rows of an iterator that are taken by their numbers, from the top down."""

    def __init__(self, strips: Iterator[Rows]):
        """Begin at row 0; nothing is read yet."""
        self._strips = strips
        self._top = 0
        self._held: list[Rows] = []

    def rows(self, top: int, bottom: int) -> Rows:
        """Return rows from `top` up to `bottom`, or up to the end of the image.

        Args:
            top: at least as large as in the last call. Rows above it are forgotten.
            bottom: more than `top`.
        """
        while self._top + sum(map(len, self._held)) < bottom:
            strip = next(self._strips, None)
            if strip is None:
                break
            self._held.append(strip)
        while self._held and self._top + len(self._held[0]) <= top:
            self._top += len(self._held.pop(0))
        first = top - self._top
        last = bottom - self._top
        joined = self._held[0]
        if last > len(joined):
            joined = np.concatenate(self._held)
            # A copy does not keep rows in memory that are above the window.
            self._held = [joined[first:].copy()]
            self._top = top
        return joined[first:last]


def _parts(path: str, length: int) -> Parts | None:
    """The parts of a large TIFF that can be decoded apart; None of another file."""
    from PIL import TiffImagePlugin

    with open(path, 'rb') as file:
        header = file.read(8)
        if header[:4] not in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
            return None
        if header[2] == 43 or header[3] == 43:
            header += file.read(8)
        try:
            directory = TiffImagePlugin.ImageFileDirectory_v2(header)
            file.seek(directory.next)
            directory.load(file)
            parts = _parts_of(directory)
        except Exception:  # Pillow raises nearly anything; decoding says the reason.
            return None
    if parts is None:
        return None
    for offset, count in zip(parts.offsets, parts.counts, strict=True):
        if offset + count > length:
            raise Unreadable('the file is truncated')
    return parts


def _parts_of(directory: 'ImageFileDirectory_v2') -> Parts | None:
    """The parts by a directory of tags; None if the image must be decoded whole."""
    size = (int(directory[_HEIGHT]), int(directory[_WIDTH]))
    is_tiled = _TILE_OFFSETS in directory
    if is_tiled:
        part = (int(directory[_TILE_HEIGHT]), int(directory[_TILE_WIDTH]))
        offsets = tuple(directory[_TILE_OFFSETS])
        counts = tuple(directory[_TILE_COUNTS])
    else:
        part = (min(int(directory.get(_STRIP_ROWS, size[0])), size[0]), size[1])
        offsets = tuple(directory[_OFFSETS])
        counts = tuple(directory[_COUNTS])
    if len(offsets) == 1 and directory.get(_COMPRESSION) == _NOT_COMPRESSED:
        part, offsets, counts = _cut(directory, size, offsets[0], counts[0])
    if min(*size, *part) < 1:
        return None
    expected = -(-size[0] // part[0]) * -(-size[1] // part[1])
    is_upright = directory.get(_ORIENTATION, 1) == 1
    is_interleaved = directory.get(_PLANES, 1) == 1
    is_whole = len(offsets) == len(counts) == expected
    is_large = size[0] * size[1] > _SMALL
    is_split = part[0] * max(part[1], size[1]) <= _MOST and len(offsets) > 1
    is_split &= size[1] <= _WIDEST
    bits = directory.get(_BITS, (1,))
    # Other numbers are scaled by the whole image.
    is_known = bits[0] <= 16 and set(directory.get(_FORMATS, (1,))) == {1}
    is_split &= is_known
    if is_upright and is_interleaved and is_whole and is_large and is_split:
        is_wide = len(bits) == 1 and bits[0] > 8
        return Parts(size, part, offsets, counts, directory, is_tiled, is_wide)
    return None


def _cut(
    directory: 'ImageFileDirectory_v2', size: Size, offset: int, count: int
) -> tuple[Size, tuple[int, ...], tuple[int, ...]]:
    """Cut one strip without compression, as Pillow writes it, into strips of some rows.

    Args:
        directory: of the image.
        size: (height, width) of the image, pixels.
        offset: the place of the strip in the file.
        count: its bytes.

    Returns:
        (height and width of a new strip, their places in the file, their bytes).
    """
    height, width = size
    bits = sum(directory.get(_BITS, (1,))) * width
    row_bytes = -(-bits // 8)
    rows = max(1, _SOME // (4 * width))
    if row_bytes * height != count:
        return size, (offset,), (count,)
    tops = range(0, height, rows)
    offsets = tuple(offset + top * row_bytes for top in tops)
    counts = tuple(min(rows, height - top) * row_bytes for top in tops)
    return (rows, width), offsets, counts


def _histogram(path: str, parts: Parts) -> contrast.Histogram:
    """Count the levels of an image in grey of 16 bits."""
    (bits,) = parts.directory[_BITS]
    counts = np.zeros(2**bits, np.int64)
    for levels in _strips(path, parts, depth.levels):
        counts += np.bincount(levels.ravel(), minlength=len(counts))
    return counts


def _strips(
    path: str, parts: Parts, read: Callable[[bytes], np.ndarray]
) -> Iterator[np.ndarray]:
    """Decode some strips, or one line of tiles, at a time.

    Args:
        path: of the file.
        parts: of the file.
        read: decodes a small TIFF, [h, w] or [h, w, c].
    """
    with open(path, 'rb') as file:
        yield from _read_strips(file, parts, read)


def _read_strips(
    file: BinaryIO, parts: Parts, read: Callable[[bytes], np.ndarray]
) -> Iterator[np.ndarray]:
    """Decode the parts of an open file, see `_strips`."""
    height, width = parts.size
    part_height, part_width = parts.part
    columns = -(-width // part_width)
    lines = -(-height // part_height)
    step = 1
    if not parts.is_tiled:
        step = max(1, _SOME // (part_height * width))
    for line in range(0, lines, step):
        top = line * part_height
        if parts.is_tiled:
            places = range(line * columns, (line + 1) * columns)
            tiles = [
                read(_file_of(file, parts, [place], part_height)) for place in places
            ]
            rows = np.concatenate(tiles, axis=1)
            yield rows[: height - top, :width]
            continue
        last = min(line + step, lines)
        rows = min(last * part_height, height) - top
        places = list(range(line, last))
        yield read(_file_of(file, parts, places, rows))


def _file_of(file: BinaryIO, parts: Parts, places: list[int], rows: int) -> bytes:
    """A small TIFF with some of the parts, one below the other.

    Args:
        file: the whole TIFF.
        parts: of the whole TIFF.
        places: numbers of the parts.
        rows: of the small TIFF.
    """
    from PIL import TiffImagePlugin

    order = parts.directory.prefix
    header = b'II*\0\0\0\0\0' if order == b'II' else b'MM\0*\0\0\0\0'
    directory = TiffImagePlugin.ImageFileDirectory_v2(header)
    for tag in _COPIED:
        if tag in parts.directory:
            directory.tagtype[tag] = parts.directory.tagtype[tag]
            directory[tag] = parts.directory[tag]
    data = []
    for place in places:
        file.seek(parts.offsets[place])
        data.append(file.read(parts.counts[place]))
    counts = [len(part) for part in data]
    directory[_WIDTH] = parts.part[1]
    directory[_HEIGHT] = rows
    directory[_STRIP_ROWS] = parts.part[0]
    directory[_COUNTS] = tuple(counts)
    # Pillow adds the length of what stands before the parts.
    starts = np.cumsum([0, *counts[:-1]])
    directory[_OFFSETS] = tuple(starts.tolist())
    for tag in (_OFFSETS, _COUNTS, _WIDTH, _HEIGHT, _STRIP_ROWS):
        directory.tagtype[tag] = 4
    small = io.BytesIO()
    directory.save(small)
    return b''.join([small.getvalue(), *data])
