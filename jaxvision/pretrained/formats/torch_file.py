"""Reads the tensors of a PyTorch file without PyTorch, and runs nothing that the file says.

Beside its numbers a PyTorch file is a pickle, which may call any function of any module. Here the
few opcodes that a state dict needs are interpreted one by one: nothing is imported, and the only
calls are those of `_call`.
"""

import io
import math
import mmap
import pickletools
import zipfile
from typing import NamedTuple

import numpy as np

from jaxvision.pretrained.formats.numbers import from_bytes

_DTYPES = {
    'torch HalfStorage': '<f2',
    'torch BFloat16Storage': 'bfloat16',
    'torch FloatStorage': '<f4',
    'torch DoubleStorage': '<f8',
    'torch LongStorage': '<i8',
    'torch IntStorage': '<i4',
    'torch ShortStorage': '<i2',
    'torch CharStorage': 'i1',
    'torch ByteStorage': 'u1',
    'torch BoolStorage': '?',
}
_LEGACY_MAGIC = (
    0x1950A86A20F9469CFC6C  # the first of the pickles of a file before PyTorch 1.6
)
_LONGEST_PICKLE = (
    2**21
)  # bytes, of thousands of tensors; its objects take some hundred times that
# Where training scripts keep the state dict, the averaged weights first.
_KEPT_AS = ('state_dict_ema', 'model_ema', 'state_dict', 'model_state_dict', 'model')
# What checkpoints hold beside it: its values, which are not looked at, are made of nothing.
_DATA = {
    'argparse Namespace',
    'torch device',
    'torch Size',
    'numpy dtype',
    '_codecs encode',
    'numpy.core.multiarray scalar',
    'numpy._core.multiarray scalar',
}


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


def read_zip(archive: zipfile.ZipFile, size: int) -> dict[str, np.ndarray]:
    """The tensors of what `torch.save` writes of a state dict, alone or in a checkpoint, into a
    file of `size` bytes; raises what its parts raise where they are damaged."""
    # Stored as they are, its files cannot be larger than itself, whatever it says.
    files = archive.infolist()
    if (
        any(file.compress_type != zipfile.ZIP_STORED for file in files)
        or sum(file.file_size for file in files) > size
    ):
        raise ValueError('its parts are compressed, or overlap')
    (folder,) = (
        file.filename.removesuffix('data.pkl')
        for file in files
        if file.filename.endswith('/data.pkl')
    )
    if f'{folder}byteorder' in archive.namelist():
        _require_little_endian(archive.read(f'{folder}byteorder') == b'little')
    if archive.getinfo(f'{folder}data.pkl').file_size > _LONGEST_PICKLE:
        raise ValueError(f'its pickle is longer than {_LONGEST_PICKLE} bytes')
    tensors = _state_dict(_unpickle(io.BytesIO(archive.read(f'{folder}data.pkl'))))
    numbers = {
        storage: _numbers(storage, archive.read(f'{folder}data/{storage.key}'))
        for storage in {tensor.storage for tensor in tensors.values()}
    }
    return {
        name: _array(tensor, numbers[tensor.storage])
        for name, tensor in tensors.items()
    }


def read_legacy(content: mmap.mmap) -> dict[str, np.ndarray]:
    """The same of a file from before PyTorch 1.6: five pickles (magic number, version, machine,
    state dict, the storages' keys), then of each storage its length and its numbers."""
    pickles, storages = io.BytesIO(content[:_LONGEST_PICKLE]), {}
    if content[:1] != b'\x80' or _unpickle(pickles) != _LEGACY_MAGIC:
        raise ValueError('it does not begin as files of weights do')
    _, machine = _unpickle(pickles), _unpickle(pickles)
    _require_little_endian(machine['little_endian'])
    tensors, keys = _state_dict(_unpickle(pickles, storages)), _unpickle(pickles)

    content.seek(pickles.tell())
    wanted, numbers = {tensor.storage for tensor in tensors.values()}, {}
    for storage in [storages[str(key)] for key in keys]:
        if content.read(8) != storage.length.to_bytes(8, 'little'):
            raise ValueError('a storage has another length than its tensors')
        data = content.read(
            storage.length
            * (2 if storage.dtype == 'bfloat16' else np.dtype(storage.dtype).itemsize)
        )
        if storage in wanted:
            numbers[storage] = _numbers(storage, data)
    return {
        name: _array(tensor, numbers[tensor.storage])
        for name, tensor in tensors.items()
    }


def _require_little_endian(little: bool) -> None:
    if not little:
        raise ValueError('it was written on a big-endian machine')


class _Inert:
    """A value that is not looked at."""


_NEW = {
    'EMPTY_DICT': dict,
    'EMPTY_LIST': list,
    'EMPTY_TUPLE': tuple,
    'EMPTY_SET': list,
    'NONE': lambda: None,
    'NEWTRUE': lambda: True,
    'NEWFALSE': lambda: False,
}


def _unpickle(file: io.BytesIO, storages: dict[str, _Storage] | None = None) -> object:
    """The value of the next pickle: dicts, lists, tuples, text, numbers, tensors; `storages` are
    filled with those that it names."""
    stack, marks, memo, storages = [], [], {}, {} if storages is None else storages

    def pop(number: int | None = None) -> list:
        """The topmost values, or those since the last mark."""
        start = marks.pop() if number is None else len(stack) - number
        values, stack[start:] = stack[start:], []
        return values

    for opcode, argument, _ in pickletools.genops(file):
        match opcode.name:
            case 'PROTO' | 'FRAME':
                pass
            case 'STOP':
                return stack.pop()
            case (
                'BININT'
                | 'BININT1'
                | 'BININT2'
                | 'LONG1'
                | 'BINFLOAT'
                | 'BINUNICODE'
                | 'SHORT_BINUNICODE'
                | 'BINBYTES'
                | 'SHORT_BINBYTES'
            ):
                stack.append(argument)
            case name if name in _NEW:
                stack.append(_NEW[name]())
            case 'GLOBAL':
                stack.append(_Global(argument))
            case 'STACK_GLOBAL':
                stack.append(_Global(' '.join(map(_key, pop(2)))))
            case 'BINPUT' | 'LONG_BINPUT':
                memo[argument] = stack[-1]
            case 'MEMOIZE':
                memo[len(memo)] = stack[-1]
            case 'BINGET' | 'LONG_BINGET':
                stack.append(memo[argument])
            case 'MARK':
                marks.append(len(stack))
            case 'TUPLE':
                stack.append(tuple(pop()))
            case 'TUPLE1' | 'TUPLE2' | 'TUPLE3' as name:
                stack.append(tuple(pop(int(name[-1]))))
            case 'APPEND' | 'APPENDS' | 'ADDITEMS' as name:
                values = pop(1 if name == 'APPEND' else None)
                stack[-1].extend(values)
            case 'SETITEM' | 'SETITEMS' as name:
                values = pop(2 if name == 'SETITEM' else None)
                stack[-1].update(zip(map(_key, values[::2]), values[1::2], strict=True))
            case 'BINPERSID':
                storage = _storage(stack.pop())
                stack.append(storage)
                storages[storage.key] = storage
            case 'REDUCE' | 'NEWOBJ':
                stack.append(_call(*pop(2)))
            case 'BUILD':
                stack.pop()  # attributes, of an OrderedDict the versions of its modules
            case name:
                raise ValueError(f'its pickle uses {name}')


def _key(value: object) -> str:
    """Numbers, as optimizers name their parameters, become text."""
    if not isinstance(value, str | int | float):
        raise ValueError('a key of a dict is no text')
    return str(value)


def _storage(identity: object) -> _Storage:
    match identity:
        case ('storage', _Global(kind), str(key), _, int(length), *_) if (
            kind in _DTYPES
        ):
            return _Storage(key, _DTYPES[kind], length)
        case ('storage', _Global(kind), *_):
            raise ValueError(f'it holds {kind[:80]!r}, not one of {", ".join(_DTYPES)}')
    raise ValueError('it refers to something else than a storage')


def _call(function: object, arguments: object) -> object:
    match function, arguments:
        case _Global('collections OrderedDict' | 'collections defaultdict'), _:
            return {}
        case (
            _Global('torch._utils _rebuild_tensor_v2'),
            (_Storage() as storage, int(offset), tuple(shape), tuple(strides), *_),
        ):
            return _Tensor(storage, offset, shape, strides)
        case _Global('torch._utils _rebuild_parameter'), (_Tensor() as tensor, *_):
            return tensor
        case _Global(name), _ if name in _DATA:
            return _Inert()
        case _Global(name), _:
            raise ValueError(
                f'it calls {name[:80]!r}, which the tensors of a state dict do not'
            )
    raise ValueError('it calls what is no function')


def _state_dict(value: object) -> dict[str, _Tensor]:
    """The tensors of a dict of nothing else, or of the one that a checkpoint keeps."""
    if not isinstance(value, dict):
        raise ValueError('it holds no dict; save model.state_dict()')
    kept = [
        value[name]
        for name in _KEPT_AS
        if isinstance(value.get(name), dict) and value[name]
    ]
    tensors = kept[0] if kept else value
    for name, tensor in tensors.items():
        if not isinstance(tensor, _Tensor):
            raise ValueError(
                f'its {name[:80]!r} is no tensor; save model.state_dict() alone'
            )
    return tensors


def _numbers(storage: _Storage, data: bytes) -> np.ndarray:
    return from_bytes(data, storage.dtype, storage.length)


def _array(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    """The view of `numbers`; none that would be larger, or reach outside."""
    _, offset, shape, strides = tensor
    if any(type(n) is not int or n < 0 for n in (offset, *shape, *strides)):
        raise ValueError('a tensor has sizes that are no natural numbers')
    if not (size := math.prod(shape)):
        return np.zeros(shape, numbers.dtype)
    last = offset + sum(
        (n - 1) * stride for n, stride in zip(shape, strides, strict=True)
    )
    if last >= len(numbers) or size > len(numbers):
        raise ValueError('a tensor is larger than its storage')
    return np.lib.stride_tricks.as_strided(
        numbers[offset:],
        shape,
        [stride * numbers.itemsize for stride in strides],
        writeable=False,
    )
