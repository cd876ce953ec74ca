"""Read new and old PyTorch files without PyTorch."""

import contextlib
import functools
import io
import math
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from jaxvision.pretrained.formats import torch_pickle
from jaxvision.pretrained.formats.lazy_tensor import LazyTensor
from jaxvision.pretrained.formats.torch_pickle import Storage, StoredTensor

# The first pickle of a file from before PyTorch 1.6.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# Largest pickle in bytes. Python objects need up to a hundred times the size of a pickle, and
# 2 MiB hold the names of thousands of tensors.
_LONGEST_PICKLE = 2**21


@contextlib.contextmanager
def open_zip(path: Path) -> Iterator[dict[str, LazyTensor]]:
    """Open a file of PyTorch 1.6 or newer as {name: tensor}.

    The file holds a state dict, alone or in a checkpoint. `torch.save` writes a ZIP with a
    pickle and the numbers of each storage. The tensors can be read inside the block
    only.

    Raises:
        ValueError: The file is damaged or compressed, or holds no state dict.
        LookupError, AttributeError, TypeError: A part is missing, or the pickle is
            damaged.
        BadZipFile: The file is no intact ZIP.
    """
    with zipfile.ZipFile(path) as archive:
        _check_stored(archive, path.stat().st_size)
        folder = _folder(archive)
        if f'{folder}byteorder' in archive.namelist():
            _require_little_endian(archive.read(f'{folder}byteorder') == b'little')
        if archive.getinfo(f'{folder}data.pkl').file_size > _LONGEST_PICKLE:
            raise ValueError(f'its pickle is longer than {_LONGEST_PICKLE} bytes')
        pickled = io.BytesIO(archive.read(f'{folder}data.pkl'))
        tensors = torch_pickle.state_dict(torch_pickle.load(pickled))
        for storage in {tensor.storage for tensor in tensors.values()}:
            member = archive.getinfo(f'{folder}data/{storage.key}')
            if member.file_size != storage.nbytes:
                raise ValueError('a storage has another size than its tensors')

        @functools.cache
        def numbers(storage: Storage) -> np.ndarray:
            return _as_numbers(storage, archive.read(f'{folder}data/{storage.key}'))

        yield _lazies(tensors, numbers)


def _check_stored(archive: zipfile.ZipFile, size: int) -> None:
    """Require members without compression, whose sizes sum to at most that of the file."""
    members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError('its parts are compressed')
    if sum(member.file_size for member in members) > size:
        raise ValueError('its parts overlap')


def _folder(archive: zipfile.ZipFile) -> str:
    """Find the folder in the ZIP with the pickle, with a slash at its end."""
    pickles = [name for name in archive.namelist() if name.endswith('/data.pkl')]
    if len(pickles) != 1:
        raise ValueError(f'it has {len(pickles)} files data.pkl, not one')
    return pickles[0].removesuffix('data.pkl')


@contextlib.contextmanager
def open_legacy(path: Path) -> Iterator[dict[str, LazyTensor]]:
    """Open a file from before PyTorch 1.6 as {name: tensor}.

    The file has five pickles: magic number, version, machine, state dict, and keys of the
    storages. Then each storage follows, as its length and its numbers. The tensors can
    be read inside the block only.

    Raises:
        ValueError: The file is damaged, or holds no state dict.
        LookupError, AttributeError, TypeError: A pickle is damaged.
    """
    with path.open('rb') as file:
        pickles = io.BytesIO(file.read(_LONGEST_PICKLE))
        if not pickles.getvalue().startswith(b'\x80'):
            raise ValueError('it does not begin as files of weights do')
        if torch_pickle.load(pickles) != _LEGACY_MAGIC:
            raise ValueError('it does not begin as files of weights do')
        # The version, which has never changed.
        torch_pickle.load(pickles)
        machine = torch_pickle.load(pickles)
        _require_little_endian(machine['little_endian'])
        storages = {}
        tensors = torch_pickle.state_dict(torch_pickle.load(pickles, storages))
        keys = torch_pickle.load(pickles)
        ordered = [storages[str(key)] for key in keys]
        starts = _storage_starts(file, pickles.tell(), ordered)
        for tensor in tensors.values():
            if tensor.storage not in starts:
                raise ValueError('a tensor has no storage')

        @functools.cache
        def numbers(storage: Storage) -> np.ndarray:
            file.seek(starts[storage])
            return _as_numbers(storage, file.read(storage.nbytes))

        yield _lazies(tensors, numbers)


def _storage_starts(
    file: io.BufferedReader, position: int, storages: list[Storage]
) -> dict[Storage, int]:
    """Find the position of the numbers of each storage.

    Args:
        file: the file. Its position changes.
        position: position of the first storage in bytes.
        storages: the storages in the order of the file.

    Returns:
        {storage: position of its numbers in bytes}. All numbers end within the file.

    Raises:
        ValueError: A storage has another length than the pickle says, or is cut off.
    """
    starts = {}
    for storage in storages:
        file.seek(position)
        if file.read(8) != storage.length.to_bytes(8, 'little'):
            raise ValueError('a storage has another length than its tensors')
        starts[storage] = position + 8
        position += 8 + storage.nbytes
    if position > file.seek(0, io.SEEK_END):
        raise ValueError('its last storages are cut off')
    return starts


def _require_little_endian(little: bool) -> None:
    if not little:
        raise ValueError('it was written on a big-endian machine')


def _as_numbers(storage: Storage, data: bytes) -> np.ndarray:
    """Convert bytes to the numbers of a storage, read-only, with bfloat16 as float32."""
    if len(data) != storage.nbytes:
        raise ValueError('a storage is cut off')
    numbers = np.frombuffer(data, storage.dtype)
    # Converted once, although several tensors may share the storage.
    if storage.dtype.name == 'bfloat16':
        numbers = numbers.astype(np.float32)
    return numbers


def _lazies(
    tensors: dict[str, StoredTensor], numbers: Callable[[Storage], np.ndarray]
) -> dict[str, LazyTensor]:
    lazies = {}
    for name, tensor in tensors.items():
        _check_view(tensor)
        read = functools.partial(_view, tensor, numbers)
        lazies[name] = LazyTensor(tensor.shape, read)
    return lazies


def _check_view(tensor: StoredTensor) -> None:
    """Refuse a tensor that exceeds its storage."""
    storage, offset, shape, strides = tensor
    for number in (offset, *shape, *strides):
        if type(number) is not int or number < 0:
            raise ValueError('a tensor has sizes that are no natural numbers')
    if len(shape) != len(strides):
        raise ValueError('a tensor has different numbers of strides and axes')
    size = math.prod(shape)
    if not size:
        return
    last = offset
    for length, stride in zip(shape, strides, strict=True):
        last += (length - 1) * stride
    if last >= storage.length or size > storage.length:
        raise ValueError('a tensor is larger than its storage')


def _view(tensor: StoredTensor, numbers: Callable[[Storage], np.ndarray]) -> np.ndarray:
    """Make a tensor as a read-only view of the numbers of its storage."""
    stored = numbers(tensor.storage)
    if not math.prod(tensor.shape):
        return np.zeros(tensor.shape, stored.dtype)
    return np.lib.stride_tricks.as_strided(
        stored[tensor.offset :],
        tensor.shape,
        [stride * stored.itemsize for stride in tensor.strides],
        writeable=False,
    )
