"""The tensors of a file, by its content: PyTorch, safetensors, NumPy's .npz, Keras' .h5.

Nothing in a file is run, and none takes more memory than a few times its own size.
"""

import mmap
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.pretrained.formats import npz, safetensors, torch_file

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


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """{name: tensor}, by the file's own names and in its own layouts; bfloat16 as float32.

    Raises:
        UserError: the file is not there, is of another kind or damaged, or its numbers are not
            finite; in one line.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise UserError(
                f'{path} is not there' if not path.exists() else f'{path} is no file'
            )
        if not path.stat().st_size:
            raise UserError(f'{path} is empty')
        with (
            path.open('rb') as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            tensors = _read(path, content)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f'{path}: {error.strerror or _line(error)}') from None
    except _DAMAGE as error:
        raise UserError(
            f'{path} holds no weights, or is damaged: {_line(error)}'
        ) from None
    _check(path, tensors)
    return tensors


def _read(path: Path, content: mmap.mmap) -> dict[str, np.ndarray]:
    if content[:8] == b'\x89HDF\r\n\x1a\n':
        from jaxvision.pretrained.formats import keras_file

        return keras_file.read(path)
    if content[:2] == b'PK':
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            reader = npz if any(name.endswith('.npy') for name in names) else torch_file
            return reader.read_zip(archive, len(content))
    if content[8:9] == b'{':
        return safetensors.read(content)
    return torch_file.read_legacy(content)


def _check(path: Path, tensors: dict[str, np.ndarray]) -> None:
    if not tensors:
        raise UserError(f'{path} holds no tensors')
    for name, tensor in tensors.items():
        if not name.isprintable():
            raise UserError(f'{path} has a tensor whose name is no text: {name[:80]!r}')
        # A sum is finite where all numbers are, and copies nothing; it may overflow, though.
        if (
            tensor.dtype.kind == 'f'
            and not np.isfinite(tensor.sum(dtype=np.float64))
            and not np.isfinite(tensor).all()
        ):
            raise UserError(f'{path}: {name[:80]!r} holds numbers that are not finite')


def _line(error: BaseException) -> str:
    """What is wrong; what Python itself has to say of values of a wrong kind helps nobody."""
    if isinstance(
        error, TypeError | AttributeError | LookupError | ArithmeticError | MemoryError
    ):
        return 'its parts do not fit together'
    return ' '.join(str(error).split())[:200] or type(error).__name__
