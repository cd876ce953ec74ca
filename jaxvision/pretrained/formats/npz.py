"""Reads the arrays of .npz files, compressed ones too."""

import math
import zipfile

import numpy as np
from numpy.lib import format as npy

from jaxvision.pretrained.formats.numbers import from_bytes

_MOST_COMPRESSED = 20  # times; of trained weights less than 2


def read_zip(archive: zipfile.ZipFile, size: int) -> dict[str, np.ndarray]:
    """The arrays of a file of `size` bytes; raises what its parts raise where they are damaged."""
    files = archive.infolist()
    if sum(file.file_size for file in files) > _MOST_COMPRESSED * size:
        raise ValueError(
            f'its arrays would be over {_MOST_COMPRESSED} times as large as it'
        )
    return {file.filename.removesuffix('.npy'): _array(archive, file) for file in files}


def _array(archive: zipfile.ZipFile, file: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(file) as stream:
        version = npy.read_magic(stream)
        header = (
            npy.read_array_header_1_0
            if version == (1, 0)
            else npy.read_array_header_2_0
        )
        shape, fortran, dtype = header(stream)
        # big_vision's bfloat16 are bytes of no type.
        kind = 'bfloat16' if dtype.kind == 'V' and dtype.itemsize == 2 else dtype.str
        if kind != 'bfloat16' and dtype.kind not in 'fiub':
            raise ValueError(f'{file.filename[:80]!r} holds no numbers')
        if math.prod(shape) * dtype.itemsize > file.file_size:
            raise ValueError(f'{file.filename[:80]!r} would be larger than it is')
        data = stream.read(file.file_size)
    return from_bytes(data, kind, math.prod(shape)).reshape(
        shape, order='F' if fortran else 'C'
    )
