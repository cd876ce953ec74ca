"""Write a PNG row by row, for images that are too large to be in memory at once."""

import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8

from jaxvision.core.files import atomic_write

CHANNELS_TO_COLOR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}  # grey, RGB; with alpha one more
SUB_FILTER = 1  # Each byte is stored less the same byte of the pixel to its left.


def write(
    path: Path,
    shape: tuple[int, int, int],
    rows: Iterable[UInt8[np.ndarray, '_ w c']],
    color: Mapping[bytes, bytes] | None = None,
) -> None:
    """Write a PNG atomically, from its rows (W3C, PNG specification, third edition, 2025).

    Args:
        path: the file; its folder exists.
        shape: height, width and channels of the image: 1 (grey), 3 (RGB), or one more for
            alpha, which is last.
        rows: the rows from the top down, any number at a time.
        color: the chunks that tell what the colours mean, such as iCCP, by name.
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


def _filtered(rows: UInt8[np.ndarray, 'n w c']) -> UInt8[np.ndarray, 'n bytes']:
    """Filter rows by SUB_FILTER, whose number precedes each row."""
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
    filters = np.full((len(rows), 1), SUB_FILTER, np.uint8)
    return np.concatenate([filters, differences.reshape(len(rows), -1)], axis=1)


def _write_chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack('>I', len(data)))
    file.write(kind)
    file.write(data)
    file.write(struct.pack('>I', zlib.crc32(kind + data)))
