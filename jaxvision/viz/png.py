"""A PNG from the top down, so that an image need never be whole in memory."""

import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8

SUB = 1  # the filter: every byte less the one of its left neighbour


def write(
    path: Path, shape: tuple[int, int, int], rows: Iterable[UInt8[np.ndarray, '_ w c']]
) -> None:
    """Writes an image [H, W, 1 or 3], whole or not at all, of which `rows` are its rows, some at a
    time. (PNG, third edition, W3C 2025.)"""
    height, width, channels = shape
    color = {1: 0, 3: 2}[channels]
    unfinished = path.with_name(f'.{path.name}.unfinished')
    squeeze = zlib.compressobj(1)  # of level 6 a photograph takes several times as long
    try:
        with unfinished.open('wb') as file:
            file.write(b'\x89PNG\r\n\x1a\n')
            _chunk(
                file, b'IHDR', struct.pack('>IIBBBBB', width, height, 8, color, 0, 0, 0)
            )
            for part in rows:
                _chunk(file, b'IDAT', squeeze.compress(_filtered(part)))
            _chunk(file, b'IDAT', squeeze.flush())
            _chunk(file, b'IEND', b'')
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _filtered(rows: UInt8[np.ndarray, 'n w c']) -> UInt8[np.ndarray, 'n bytes']:
    """Each row with its filter's number before it."""
    less = rows.copy()
    less[:, 1:] -= rows[:, :-1]
    less = less.reshape(len(rows), -1)
    return np.concatenate([np.full((len(rows), 1), SUB, np.uint8), less], axis=1)


def _chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack('>I', len(data)) + kind + data)
    file.write(struct.pack('>I', zlib.crc32(kind + data)))
