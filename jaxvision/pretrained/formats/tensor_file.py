"""Read the tensors of a file: PyTorch, safetensors, NumPy .npz or Keras .h5.

The format is detected from the content of the file. Reading needs at most a few times the size
of the file in memory, for hostile files too.
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

# Errors that readers raise for a damaged file.
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
# Errors whose messages say nothing about the file.
_MEANINGLESS = (TypeError, AttributeError, LookupError, ArithmeticError, MemoryError)
# {start of a file: its kind} of files that are often downloaded instead of weights.
_NO_WEIGHTS = {
    b'version https://git-lfs': (
        'this is a pointer of Git LFS. Run git lfs pull, or download the file again'
    ),
    b'<': 'this is a web page. Download the file itself',
}
# The name of one of several files of a model.
_SHARD = re.compile(r'-(\d{5})-of-(\d{5})\.')
# Largest JSON file with a list of tensors, in bytes.
_LONGEST_INDEX = 2**24
_HDF5_MAGIC = b'\x89HDF\r\n\x1a\n'
_MOST_AXES = 32
# Largest ratio of the tensors in float32 to the file. Compressed float16 weights have 4.
_MOST_EXPANDED = 20


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read all tensors of a file.

    Returns:
        {name: tensor}, with the names and layouts of the file, and bfloat16 as float32.

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

    Returns:
        {name: shape}, with the names and layouts of the file.

    Raises:
        UserError: The file is missing, of no supported format, or its header is damaged.
            The message is one line.
    """
    with _opened(Path(path)) as tensors:
        return {name: tensor.shape for name, tensor in tensors.items()}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[dict[str, LazyTensor]]:
    """Open a file, and convert errors of its format to UserError, those of reading too."""
    try:
        size = _size(path)
        _check_kind(path)
        with _opener(path)(path) as tensors:
            _check(path, size, tensors)
            yield tensors
    except UserError:
        raise
    except OSError as error:
        reason = error.strerror or _line(error)
        raise UserError(f'{path} cannot be read: {reason}. Check the file') from None
    except _DAMAGE as error:
        raise UserError(
            f'{path}: expected pretrained weights (.pth, .safetensors, .npz or .h5), but the '
            f'file is damaged or of another kind: {_line(error)}. Download it again'
        ) from None


def _size(path: Path) -> int:
    """Find the size of a file in bytes."""
    if not path.exists():
        raise UserError(
            f'{path}: expected a file of weights, but nothing is there. Check the path'
        )
    if not path.is_file():
        raise UserError(
            f'{path}: expected a file of weights, but this is no file. Check the path'
        )
    size = path.stat().st_size
    if not size:
        raise UserError(
            f'{path}: expected a file of weights, but it is empty. Download it again'
        )
    return size


def _check_kind(path: Path) -> None:
    """Refuse an intact file without weights, or with only a part of them.

    Raises:
        UserError: The message says what the file is.
    """
    with path.open('rb') as file:
        start = file.read(64)
    # A .safetensors file may begin with any byte, but its length makes it no text.
    is_text = b'\0' not in start
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
    if not shard:
        return
    number = int(shard[1])
    count = int(shard[2])
    if count > 1:
        raise UserError(
            f'{path}: expected all weights in one file, but this is part {number} of '
            f'{count}. Save them in one file'
        )


def _json_kind(path: Path) -> str:
    """Describe a JSON file that was given instead of weights."""
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
    """Choose the reader of a file by the content of the file.

    Libraries are imported only for files of their format.
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
        if is_numpy:
            return numpy_npz.open_tensors
        return torch_file.open_zip
    if start.endswith(b'{'):
        from jaxvision.pretrained.formats import safetensors_file

        return safetensors_file.open_tensors
    return torch_file.open_legacy


def _check(path: Path, size: int, tensors: dict[str, LazyTensor]) -> None:
    """Refuse impossible names and shapes, before any numbers are read."""
    if not tensors:
        raise UserError(
            f'{path}: expected tensors, but the file holds none. Check the path'
        )
    numbers = 0
    for name, tensor in tensors.items():
        if not name.isprintable():
            raise UserError(
                f'{path}: expected printable names of tensors, not {name[:80]!r}. Download '
                'it again'
            )
        for length in tensor.shape:
            if type(length) is not int or length < 0:
                raise ValueError(f'the shape of {name[:80]!r} has no natural numbers')
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
        # A finite sum proves that all numbers are finite, without a copy. It may overflow.
        if np.isfinite(array.sum(dtype=np.float64)):
            continue
        if not np.isfinite(array).all():
            raise UserError(
                f'{path}: expected finite numbers, but {name[:80]!r} has infinite ones or '
                'NaN. Download it again'
            )


def _line(error: BaseException) -> str:
    """Shorten the message of an error to one line."""
    if isinstance(error, _MEANINGLESS):
        return 'its parts do not fit together'
    return ' '.join(str(error).split())[:200] or type(error).__name__
