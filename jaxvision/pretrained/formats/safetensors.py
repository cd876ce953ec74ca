"""Reads .safetensors: the header's length in 8 bytes, the header in JSON, the tensors' bytes."""

import json
import math
import mmap

import numpy as np

from jaxvision.pretrained.formats.numbers import from_bytes

_DTYPES = {
    'F16': '<f2',
    'BF16': 'bfloat16',
    'F32': '<f4',
    'F64': '<f8',
    'I64': '<i8',
    'I32': '<i4',
    'I16': '<i2',
    'I8': 'i1',
    'U8': 'u1',
    'BOOL': '?',
}
_LONGEST_HEADER = (
    2**22
)  # bytes, of thousands of tensors; its objects take some fifty times that


def read(content: mmap.mmap) -> dict[str, np.ndarray]:
    """Raises what its parts raise where they are damaged."""
    length = int.from_bytes(content[:8], 'little')
    if length > min(_LONGEST_HEADER, len(content) - 8):
        raise ValueError(f'its header would have {length} bytes')
    header = json.loads(content[8 : 8 + length])
    header.pop('__metadata__', None)
    start = 8 + length
    if sum(_size(entry) for entry in header.values()) != len(content) - start:
        raise ValueError('its tensors are of another size than it')
    return {name: _tensor(content, start, entry) for name, entry in header.items()}


def _size(entry: dict) -> int:
    begin, end = entry['data_offsets']
    if not 0 <= begin <= end:
        raise ValueError('a tensor ends before it begins')
    return end - begin


def _tensor(content: mmap.mmap, start: int, entry: dict) -> np.ndarray:
    if entry['dtype'] not in _DTYPES:
        raise ValueError(
            f'it holds {str(entry["dtype"])[:80]!r}, not one of {", ".join(_DTYPES)}'
        )
    shape, (begin, end) = entry['shape'], entry['data_offsets']
    if any(type(n) is not int or n < 0 for n in (*shape, begin, end)):
        raise ValueError('a tensor has sizes that are no natural numbers')
    return from_bytes(
        content[start + begin : start + end], _DTYPES[entry['dtype']], math.prod(shape)
    ).reshape(shape)
