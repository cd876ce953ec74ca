"""Write a PNG row by row, for images that are too large to be in memory at once."""

import contextlib
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Integer, UInt8

from jaxvision.core.files import atomic_write

# The colour types of grey, grey with alpha, RGB, and RGB with alpha.
CHANNELS_TO_COLOR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}
# Filter 1 stores the difference of each byte to the same byte of the pixel on its left.
SUB_FILTER = 1

# The colour type of numbers of a palette.
INDEXED = 3

Rows = UInt8[np.ndarray, '_ w c']
Numbers = Integer[np.ndarray, '_ w']
WriteRows = Callable[[Numbers], None]


def write(
    path: Path,
    shape: tuple[int, int, int],
    rows: Iterable[Rows],
    color: Mapping[bytes, bytes] | None = None,
) -> None:
    """Write a PNG atomically from its rows (W3C, PNG specification, third edition, 2025).

    Args:
        path: the file, in an existing folder.
        shape: height, width and channels of the image: 1 (grey), 2 (grey with alpha), 3
            (RGB) or 4 (RGB with alpha).
        rows: uint8 rows [n, width, channels] from the top down, any number n at a time.
            The caller must give `height` rows in all, which is not checked.
        color: {name of four letters: content} of chunks that define the colours, such
            as iCCP. They are written as they are.
    """
    height, width, channels = shape
    color_type = CHANNELS_TO_COLOR_TYPE[channels]
    header = struct.pack('>IIBBBBB', width, height, 8, color_type, 0, 0, 0)
    with _opened(path, header, color or {}) as write_bytes:
        for part in rows:
            write_bytes(_filtered(part))


@contextlib.contextmanager
def open_labels(
    path: Path,
    size: tuple[int, int],
    palette: UInt8[np.ndarray, 'n 3'] | None = None,
) -> Iterator[WriteRows]:
    """Write a label map as PNG atomically, row by row.

    Args:
        path: the file, in an existing folder. An error in the block keeps an older one.
        size: (height, width) of the label map, pixels.
        palette: RGB colours of up to 256 numbers, which are stored in 8 bits; None: grey
            of 16 bits, for numbers up to 65,535.

    Yields:
        `write(rows)`, which the block calls with the next rows [n, width] from the top
        down, any number n at a time, `height` in all.
    """
    height, width = size
    kind = (16, CHANNELS_TO_COLOR_TYPE[1])
    chunks = {}
    if palette is not None:
        kind = (8, INDEXED)
        chunks[b'PLTE'] = palette.tobytes()
    header = struct.pack('>IIBBBBB', width, height, *kind, 0, 0, 0)
    with _opened(path, header, chunks) as write_bytes:

        def write(rows: Numbers) -> None:
            stored = rows.astype('u1' if chunks else '>u2')
            # Labels have no gradients, so their rows have no filter.
            filters = np.zeros((len(rows), 1), np.uint8)
            write_bytes(np.concatenate([filters, stored.view(np.uint8)], axis=1))

        yield write


@contextlib.contextmanager
def _opened(
    path: Path, header: bytes, chunks: Mapping[bytes, bytes]
) -> Iterator[Callable[[UInt8[np.ndarray, '_ bytes']], None]]:
    """Open a PNG; the block gives the bytes of its rows, each with its filter before it."""
    compressor = zlib.compressobj(1)  # Level 6 takes several times as long on a photo.
    with atomic_write(path, 'wb', durable=False) as file:
        file.write(b'\x89PNG\r\n\x1a\n')
        _write_chunk(file, b'IHDR', header)
        for kind, data in chunks.items():
            _write_chunk(file, kind, data)

        def write(rows: UInt8[np.ndarray, '_ bytes']) -> None:
            _write_chunk(file, b'IDAT', compressor.compress(rows))

        yield write
        _write_chunk(file, b'IDAT', compressor.flush())
        _write_chunk(file, b'IEND', b'')


def _filtered(rows: Rows) -> UInt8[np.ndarray, 'n bytes']:
    """Apply SUB_FILTER to rows, and put its number before each row."""
    count = len(rows)
    differences = rows.copy()
    left_neighbours = rows[:, :-1]
    differences[:, 1:] -= left_neighbours
    filters = np.full((count, 1), SUB_FILTER, np.uint8)
    flat = differences.reshape(count, -1)
    return np.concatenate([filters, flat], axis=1)


def _write_chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    """Write a chunk: its length, kind, data and checksum.

    Args:
        file: the PNG.
        kind: four letters.
        data: the content.
    """
    file.write(struct.pack('>I', len(data)))
    file.write(kind)
    file.write(data)
    checksum = zlib.crc32(kind + data)
    file.write(struct.pack('>I', checksum))
