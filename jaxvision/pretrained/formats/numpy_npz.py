"""Read .npz files of NumPy, stored or compressed."""

import contextlib
import functools
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from numpy.lib import format as npy

from jaxvision.pretrained.formats.lazy_tensor import LazyTensor

# Largest ratio of unpacked to packed size. Trained weights have less than 2.
_MOST_COMPRESSED = 20


@contextlib.contextmanager
def open_tensors(path: Path) -> Iterator[dict[str, LazyTensor]]:
    """Open a file as {name: tensor}, with the names of the arrays without '.npy'.

    The tensors can be read inside the block only.

    Raises:
        ValueError: An array is damaged, holds no numbers, or the arrays would unpack to
            over 20 times the size of the file.
        BadZipFile: The file is no intact ZIP.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        unpacked = sum(member.file_size for member in members)
        if unpacked > _MOST_COMPRESSED * path.stat().st_size:
            raise ValueError(
                f'its arrays would be over {_MOST_COMPRESSED} times as large as it'
            )
        yield {
            member.filename.removesuffix('.npy'): _lazy(archive, member)
            for member in members
        }


def _lazy(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> LazyTensor:
    with archive.open(member) as stream:
        shape, dtype = _header(stream)
        length = stream.tell() + math.prod(shape) * dtype.itemsize
    if dtype.kind not in 'fiub' and not _is_bfloat16(dtype):
        raise ValueError(f'{member.filename[:80]!r} holds no numbers')
    if length != member.file_size:
        raise ValueError(
            f'{member.filename[:80]!r} has another size than its header says'
        )
    return LazyTensor(shape, functools.partial(_read, archive, member))


def _header(stream: zipfile.ZipExtFile) -> tuple[tuple[int, ...], np.dtype]:
    if npy.read_magic(stream) == (1, 0):
        shape, _, dtype = npy.read_array_header_1_0(stream)
    else:
        shape, _, dtype = npy.read_array_header_2_0(stream)
    return shape, dtype


def _is_bfloat16(dtype: np.dtype) -> bool:
    """Whether a dtype is that of bfloat16 arrays of big_vision, saved as raw bytes."""
    return dtype.kind == 'V' and dtype.itemsize == 2


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as stream:
        array = npy.read_array(stream, allow_pickle=False)
    if _is_bfloat16(array.dtype):
        return array.view(jnp.bfloat16).astype(np.float32)
    return array
