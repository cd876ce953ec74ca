"""Read .safetensors files by the safetensors library."""

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from jaxvision.pretrained.formats.lazy_tensor import LazyTensor

# Largest header in bytes; the library accepts 100 MB. Python objects need up to twenty times the
# size of a header, and 4 MiB hold the names of tens of thousands of tensors.
_LONGEST_HEADER = 2**22
# The library has more dtypes, such as 8-bit floats, but cannot convert them to NumPy.
_DTYPES = ('F16', 'BF16', 'F32', 'F64', 'I64', 'I32', 'I16', 'I8', 'U8', 'BOOL')


@contextlib.contextmanager
def open_tensors(path: Path) -> Iterator[dict[str, LazyTensor]]:
    """Open a file as {name: tensor}.

    The tensors can be read inside the block only.

    Raises:
        ValueError: The file is damaged, has a header of more than 4 MiB, or dtypes that
            NumPy lacks. bfloat16 is allowed and read as float32.
    """
    with path.open('rb') as start:
        length = int.from_bytes(start.read(8), 'little')
    if length > _LONGEST_HEADER:
        raise ValueError(f'its header would have {length} bytes, which is too large')
    try:
        # safetensors checks that the tensors cover the file exactly, without overlaps.
        with safe_open(path, framework='numpy') as file:
            yield {name: _lazy(file, name) for name in file.offset_keys()}
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def _lazy(file: safe_open, name: str) -> LazyTensor:
    header = file.get_slice(name)
    dtype = header.get_dtype()
    if dtype not in _DTYPES:
        raise ValueError(
            f'{name[:80]!r} has the dtype {dtype}, not one of {", ".join(_DTYPES)}'
        )
    return LazyTensor(tuple(header.get_shape()), functools.partial(_read, file, name))


def _read(file: safe_open, name: str) -> np.ndarray:
    tensor = file.get_tensor(name)
    if tensor.dtype.name == 'bfloat16':
        return tensor.astype(np.float32)
    return tensor
