"""Reads the tensors of a PyTorch file without PyTorch, and runs nothing that the file says.

Beside its numbers a PyTorch file is a pickle, which may call any function of any module. Here the
few opcodes that a state dict needs are interpreted one by one: nothing is imported, and the only
calls are the three of `_call`.
"""

import io
import math
import os
import pickletools
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvision.errors import UserError

_DTYPES = {'torch HalfStorage': '<f2', 'torch FloatStorage': '<f4', 'torch DoubleStorage': '<f8',
           'torch LongStorage': '<i8'}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first of the pickles of a file before PyTorch 1.6


class _Global(NamedTuple):
    name: str  # 'module name'


class _Storage(NamedTuple):
    key: str
    dtype: str
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple
    strides: tuple


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors, read-only, of a state dict as `torch.save(model.state_dict(), path)` writes it.

    float16, float32, float64 and int64, in zip files and in the older ones (before PyTorch 1.6).
    Raises UserError for a file that is not there, is damaged, or holds anything else.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        return (_read_zip if content[:2] == b'PK' else _read_legacy)(content)
    except OSError as error:
        raise UserError(f'{path}: {error.strerror or error}') from None
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError,
            EOFError, zipfile.BadZipFile) as error:
        raise UserError(f'{path} is not a PyTorch state dict, or is damaged: {error}') from None


def _read_zip(content: bytes) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        # Stored as they are, its files cannot be larger than itself, whatever it says.
        files = archive.infolist()
        if (any(file.compress_type != zipfile.ZIP_STORED for file in files)
                or sum(file.file_size for file in files) > len(content)):
            raise ValueError('its parts are compressed, or overlap')
        folder, = (file.filename.removesuffix('data.pkl') for file in files
                   if file.filename.endswith('/data.pkl'))
        if f'{folder}byteorder' in archive.namelist():
            _require_little_endian(archive.read(f'{folder}byteorder') == b'little')
        tensors = _state_dict(_unpickle(io.BytesIO(archive.read(f'{folder}data.pkl'))))
        numbers = {storage: _numbers(storage, archive.read(f'{folder}data/{storage.key}'))
                   for storage in {tensor.storage for tensor in tensors.values()}}
    return {name: _array(tensor, numbers[tensor.storage]) for name, tensor in tensors.items()}


def _read_legacy(content: bytes) -> dict[str, np.ndarray]:
    """Five pickles (magic number, version, machine, state dict, the storages' keys), then of each
    storage its length and its numbers."""
    file = io.BytesIO(content)
    if content[:1] != b'\x80' or _unpickle(file) != _LEGACY_MAGIC:
        raise ValueError('it does not begin like one')
    _, machine = _unpickle(file), _unpickle(file)
    _require_little_endian(machine['little_endian'])
    tensors, keys = _state_dict(_unpickle(file)), _unpickle(file)

    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    numbers = {}
    for storage in [storages[str(key)] for key in keys]:
        if file.read(8) != storage.length.to_bytes(8, 'little'):
            raise ValueError('a storage has another length than its tensors')
        size = storage.length * np.dtype(storage.dtype).itemsize
        numbers[storage] = _numbers(storage, file.read(size))
    return {name: _array(tensor, numbers[tensor.storage]) for name, tensor in tensors.items()}


def _require_little_endian(little: bool) -> None:
    if not little:
        raise ValueError('it was written on a big-endian machine')


_NEW = {'EMPTY_DICT': dict, 'EMPTY_LIST': list, 'EMPTY_TUPLE': tuple, 'NONE': lambda: None,
        'NEWTRUE': lambda: True, 'NEWFALSE': lambda: False}


def _unpickle(file: io.BytesIO) -> object:
    """The value of the next pickle: dicts, lists, tuples, strings, integers, tensors."""
    stack, marks, memo = [], [], {}

    def pop(number: int | None = None) -> list:
        """The topmost values, or those since the last mark."""
        start = marks.pop() if number is None else len(stack) - number
        values, stack[start:] = stack[start:], []
        return values

    for opcode, argument, _ in pickletools.genops(file):
        match opcode.name:
            case 'PROTO':
                pass
            case 'STOP':
                return stack.pop()
            case 'BININT' | 'BININT1' | 'BININT2' | 'LONG1' | 'BINUNICODE':
                stack.append(argument)
            case name if name in _NEW:
                stack.append(_NEW[name]())
            case 'GLOBAL':
                stack.append(_Global(argument))
            case 'BINPUT' | 'LONG_BINPUT':
                memo[argument] = stack[-1]
            case 'BINGET' | 'LONG_BINGET':
                stack.append(memo[argument])
            case 'MARK':
                marks.append(len(stack))
            case 'TUPLE':
                stack.append(tuple(pop()))
            case 'TUPLE1' | 'TUPLE2' | 'TUPLE3' as name:
                stack.append(tuple(pop(int(name[-1]))))
            case 'APPEND' | 'APPENDS' as name:
                values = pop(1 if name == 'APPEND' else None)
                stack[-1].extend(values)
            case 'SETITEM' | 'SETITEMS' as name:
                values = pop(2 if name == 'SETITEM' else None)
                stack[-1].update(zip(map(_text, values[::2]), values[1::2], strict=True))
            case 'BINPERSID':
                stack.append(_storage(stack.pop()))
            case 'REDUCE':
                stack.append(_call(*pop(2)))
            case 'BUILD':
                stack.pop()  # attributes of an OrderedDict: versions of the modules
            case name:
                raise ValueError(f'its pickle uses {name}')


def _text(key: object) -> str:
    if not isinstance(key, str):
        raise ValueError('a key of a dict is no text')
    return key


def _storage(identity: object) -> _Storage:
    match identity:
        case ('storage', _Global(kind), str(key), _, int(length)) if kind in _DTYPES:
            return _Storage(key, _DTYPES[kind], length)
        case ('storage', _Global(kind), str(key), _, int(length), None) if kind in _DTYPES:
            return _Storage(key, _DTYPES[kind], length)
        case ('storage', _Global(kind), *_):
            raise ValueError(f'it holds {kind[:80]!r}, not one of {", ".join(_DTYPES)}')
    raise ValueError('it refers to something else than a storage')


def _call(function: object, arguments: object) -> dict | _Tensor:
    match function, arguments:
        case _Global('collections OrderedDict'), ():
            return {}
        case (_Global('torch._utils _rebuild_tensor_v2'),
              (_Storage() as storage, int(offset), tuple(shape), tuple(strides), *_)):
            return _Tensor(storage, offset, shape, strides)
        case _Global('torch._utils _rebuild_parameter'), (_Tensor() as tensor, *_):
            return tensor
        case _Global(name), _:
            raise ValueError(f'it calls {name[:80]!r}, which the tensors of a state dict do not')
    raise ValueError('it calls what is no function')


def _state_dict(value: object) -> dict[str, _Tensor]:
    if not isinstance(value, dict):
        raise ValueError('it holds no dict; save model.state_dict()')
    for name, tensor in value.items():
        if not isinstance(tensor, _Tensor):
            raise ValueError(f'its {name[:80]!r} is no tensor; save model.state_dict() alone')
    return value


def _numbers(storage: _Storage, data: bytes) -> np.ndarray:
    if len(data) != storage.length * np.dtype(storage.dtype).itemsize:
        raise ValueError(f'storage {storage.key[:80]!r} is cut off')
    return np.frombuffer(data, storage.dtype)


def _array(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    """The view of `numbers`; none that would be larger, or reach outside."""
    _, offset, shape, strides = tensor
    if any(type(n) is not int or n < 0 for n in (offset, *shape, *strides)):
        raise ValueError('a tensor has sizes that are no natural numbers')
    if not (size := math.prod(shape)):
        return np.zeros(shape, numbers.dtype)
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if last >= len(numbers) or size > len(numbers):
        raise ValueError('a tensor is larger than its storage')
    return np.lib.stride_tricks.as_strided(
        numbers[offset:], shape, [stride * numbers.itemsize for stride in strides],
        writeable=False)
