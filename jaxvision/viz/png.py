"""Write a PNG row by row, for images that are too large to be in memory at once."""

import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8

from jaxvision.core.files import atomic_write

# The colour types of grey, grey with alpha, RGB, and RGB with alpha.
CHANNELS_TO_COLOR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}
# Filter 1 stores the difference of each byte to the same byte of the pixel on its left.
SUB_FILTER = 1

Rows = UInt8[np.ndarray, '_ w c']


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
    compressor = zlib.compressobj(1)  # Level 6 takes several times as long on a photo.
    with atomic_write(path, 'wb', durable=False) as file:
        file.write(b'\x89PNG\r\n\x1a\n')
        _write_chunk(file, b'IHDR', header)
        for kind, data in (color or {}).items():
            _write_chunk(file, kind, data)
        for part in rows:
            _write_chunk(file, b'IDAT', compressor.compress(_filtered(part)))
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
