"""Tensors of a file of any supported format: PyTorch, safetensors, NumPy .npz, Keras .h5.

The format is recognised by the content of the file. Reading takes no more memory than a few
times the size of the file, whatever the file claims.
"""

import contextlib
import json
import math
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.pretrained.formats import numpy_npz, torch_file
from jaxvision.pretrained.formats.lazy_tensor import LazyTensor

_DAMAGE = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    MemoryError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)
# Python's own messages on these say nothing about the file.
_MEANINGLESS = (TypeError, AttributeError, LookupError, ArithmeticError, MemoryError)
# What is often downloaded or saved in the place of weights, by the start of the file.
_NO_WEIGHTS = {
    b'version https://git-lfs': (
        'this is a pointer of Git LFS to it. Run git lfs pull, or download it again'
    ),
    b'<': 'this is a web page. Download the file itself',
}
# One part of weights that are kept in several files.
_SHARD = re.compile(r'-(\d{5})-of-(\d{5})\.')
_LONGEST_INDEX = 2**24  # Bytes of a JSON file that lists tensors.
_HDF5_MAGIC = b'\x89HDF\r\n\x1a\n'
_MOST_AXES = 32
# As float32, relative to the file. Trained weights in float16 and compressed take 4 times.
_MOST_EXPANDED = 20


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read all tensors of a file.

    Returns:
        {name: tensor}, by the names and in the layouts of the file; bfloat16 as float32.

    Raises:
        UserError: The file is missing, damaged or of no supported format, or its numbers
            are not finite. The message is one line.
    """
    path = Path(path)
    with _opened(path) as tensors:
        arrays = {name: tensor.read() for name, tensor in tensors.items()}
    _check_finite(path, arrays)
    return arrays


def read_shapes(path: str | os.PathLike) -> dict[str, tuple[int, ...]]:
    """Read the names and shapes of the tensors of a file, and none of the numbers.

    Raises:
        UserError: The file is missing, of no supported format, or damaged in what is read.
            The message is one line.
    """
    with _opened(Path(path)) as tensors:
        return {name: tensor.shape for name, tensor in tensors.items()}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[dict[str, LazyTensor]]:
    """Open a file; errors of its format, also those on reading numbers, become UserError."""
    try:
        size = _size(path)
        _check_kind(path)
        with _opener(path)(path) as tensors:
            _check(path, size, tensors)
            yield tensors
    except UserError:
        raise
    except OSError as error:
        raise UserError(f'{path}: {error.strerror or _line(error)}') from None
    except _DAMAGE as error:
        raise UserError(
            f'{path}: expected pretrained weights (.pth, .safetensors, .npz or .h5), but the '
            f'file is damaged or of another kind: {_line(error)}'
        ) from None


def _size(path: Path) -> int:
    if not path.exists():
        raise UserError(
            f'{path}: expected a file of weights, but nothing is there. Check the path'
        )
    if not path.is_file():
        raise UserError(
            f'{path}: expected a file of weights, but this is none. Check the path'
        )
    size = path.stat().st_size
    if not size:
        raise UserError(
            f'{path}: expected a file of weights, but it is empty. Download it again'
        )
    return size


def _check_kind(path: Path) -> None:
    """Refuse what is whole, but holds no weights or only a part of them.

    Raises:
        UserError: The message says what the file is.
    """
    with path.open('rb') as file:
        start = file.read(64)
    is_text = (
        b'\0' not in start
    )  # .safetensors may begin with any byte, but not as text.
    for magic, reason in _NO_WEIGHTS.items():
        if is_text and start.lstrip().startswith(magic):
            raise UserError(f'{path}: expected a file of weights, but {reason}')
    if is_text and start.lstrip().startswith(b'{'):
        raise UserError(f'{path}: expected a file of weights, but {_json_kind(path)}')
    if start.startswith(b'PK'):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if 'model.weights.h5' in names:
            raise UserError(
                f'{path}: expected weights alone, but this is a whole Keras model. Save '
                "them by model.save_weights('NAME.weights.h5')"
            )
    shard = _SHARD.search(path.name)
    if shard and int(shard[2]) > 1:
        raise UserError(
            f'{path}: expected all weights in one file, but this is part {int(shard[1])} '
            f'of {int(shard[2])}. Save them in one file'
        )


def _json_kind(path: Path) -> str:
    """What a JSON file in the place of weights is."""
    if path.stat().st_size > _LONGEST_INDEX:
        return 'this is JSON. Check the path'
    try:
        places = json.loads(path.read_bytes())['weight_map'].values()
        count = len(set(places))
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
        return 'this is JSON. Check the path'
    return (
        f'this is the index of weights in {count} other files. Save all of them in one '
        "file, as model.save_pretrained(FOLDER, max_shard_size='100GB') does"
    )


def _opener(
    path: Path,
) -> Callable[[Path], AbstractContextManager[dict[str, LazyTensor]]]:
    """Choose the function that opens a file, by the content of the file.

    The libraries of a format are imported for its files only.
    """
    with path.open('rb') as file:
        start = file.read(9)
    if start.startswith(_HDF5_MAGIC):
        from jaxvision.pretrained.formats import keras_h5

        return keras_h5.open_tensors
    if start.startswith(b'PK'):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        is_numpy = any(name.endswith('.npy') for name in names)
        return numpy_npz.open_tensors if is_numpy else torch_file.open_zip
    if start.endswith(b'{'):
        from jaxvision.pretrained.formats import safetensors_file

        return safetensors_file.open_tensors
    return torch_file.open_legacy


def _check(path: Path, size: int, tensors: dict[str, LazyTensor]) -> None:
    """Refuse names and shapes that no weights have, before any numbers are read."""
    if not tensors:
        raise UserError(f'{path}: expected tensors, but the file holds none')
    numbers = 0
    for name, tensor in tensors.items():
        if not name.isprintable():
            raise UserError(
                f'{path}: expected printable names of tensors, not {name[:80]!r}'
            )
        if any(type(n) is not int or n < 0 for n in tensor.shape):
            raise ValueError(f'the shape of {name[:80]!r} is not of natural numbers')
        if len(tensor.shape) > _MOST_AXES:
            raise ValueError(f'{name[:80]!r} has more than {_MOST_AXES} axes')
        numbers += math.prod(tensor.shape)
    if numbers * np.dtype(np.float32).itemsize > _MOST_EXPANDED * size:
        raise ValueError(
            f'the tensors would be over {_MOST_EXPANDED} times as large as the file'
        )


def _check_finite(path: Path, arrays: dict[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        if array.dtype.kind != 'f':
            continue
        # A sum is finite where all numbers are, and copies nothing; it may overflow, though.
        if np.isfinite(array.sum(dtype=np.float64)):
            continue
        if not np.isfinite(array).all():
            raise UserError(
                f'{path}: expected finite numbers, but {name[:80]!r} has others'
            )


def _line(error: BaseException) -> str:
    """The message of an error as one short line."""
    if isinstance(error, _MEANINGLESS):
        return 'its parts do not fit together'
    return ' '.join(str(error).split())[:200] or type(error).__name__
