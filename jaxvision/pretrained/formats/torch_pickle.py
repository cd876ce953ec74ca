"""Read the pickle in a PyTorch file: the tensors of a state dict, and their storages.

A pickle may call any function of any module. This file interprets only the few opcodes that a
state dict needs. It imports nothing, and calls only the functions in `_call`.
"""

import io
import pickletools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

_DTYPES = {
    'torch HalfStorage': np.dtype('<f2'),
    'torch BFloat16Storage': np.dtype(jnp.bfloat16),
    'torch FloatStorage': np.dtype('<f4'),
    'torch DoubleStorage': np.dtype('<f8'),
    'torch LongStorage': np.dtype('<i8'),
    'torch IntStorage': np.dtype('<i4'),
    'torch ShortStorage': np.dtype('<i2'),
    'torch CharStorage': np.dtype('i1'),
    'torch ByteStorage': np.dtype('u1'),
    'torch BoolStorage': np.dtype('?'),
}
# Keys of the state dict in checkpoints of training scripts, averaged weights first.
_STATE_DICT_KEYS = (
    'state_dict_ema',
    'model_ema',
    'state_dict',
    'model_state_dict',
    'model',
)
# Values that checkpoints hold beside the state dict, and that nothing reads.
_IGNORED = {
    'argparse Namespace',
    'torch device',
    'torch Size',
    'numpy dtype',
    '_codecs encode',
    'numpy.core.multiarray scalar',
    'numpy._core.multiarray scalar',
}


class Storage(NamedTuple):
    """An array of numbers in a file, which several tensors may share.

    Attributes:
        key: name of the storage in the file.
        dtype: dtype of the numbers.
        length: number of the numbers, according to the pickle.
    """

    key: str
    dtype: np.dtype
    length: int

    @property
    def nbytes(self) -> int:
        """Size of the storage in bytes."""
        return self.length * self.dtype.itemsize


class StoredTensor(NamedTuple):
    """A tensor as a strided view of a storage.

    Nothing is checked, so the tuples may hold any objects.

    Attributes:
        storage: the storage.
        offset: index of the first element in the storage.
        shape: length of each axis.
        strides: distance in the storage between neighbours along each axis.
    """

    storage: Storage
    offset: int
    shape: tuple[object, ...]
    strides: tuple[object, ...]


class _Global(NamedTuple):
    """A function or class that the pickle refers to.

    Attributes:
        name: 'module name'.
    """

    name: str


class _Ignored:
    """A value that nothing reads."""


# Opcodes that push their argument to the stack.
_CONSTANTS = {
    'BININT',
    'BININT1',
    'BININT2',
    'LONG1',
    'BINFLOAT',
    'BINUNICODE',
    'SHORT_BINUNICODE',
    'BINBYTES',
    'SHORT_BINBYTES',
}
# Opcodes that push a new object to the stack.
_NEW = {
    'EMPTY_DICT': dict,
    'EMPTY_LIST': list,
    'EMPTY_TUPLE': tuple,
    'EMPTY_SET': list,
    'NONE': lambda: None,
    'NEWTRUE': lambda: True,
    'NEWFALSE': lambda: False,
}


def load(file: io.BytesIO, storages: dict[str, Storage] | None = None) -> object:
    """Read the next pickle of a file.

    Args:
        file: the file, at the position of the pickle. The position moves behind the pickle.
        storages: filled in place with {key: storage} of the storages in the pickle.

    Returns:
        The pickled value: dicts, lists, tuples, text, numbers and `StoredTensor`s. Keys
        of dicts become text, and objects that nothing reads become placeholders.

    Raises:
        ValueError: The pickle uses opcodes or functions that no state dict needs.
        LookupError, AttributeError, TypeError: The pickle is damaged.
    """
    stack = []
    marks = []
    memo = {}
    if storages is None:
        storages = {}

    def pop(number: int) -> list:
        return _cut(stack, len(stack) - number)

    def pop_to_mark() -> list:
        return _cut(stack, marks.pop())

    for opcode, argument, _ in pickletools.genops(file):
        match opcode.name:
            case 'PROTO' | 'FRAME':
                pass
            case 'STOP':
                return stack.pop()
            case name if name in _CONSTANTS:
                stack.append(argument)
            case name if name in _NEW:
                stack.append(_NEW[name]())
            case 'GLOBAL':
                stack.append(_Global(argument))
            case 'STACK_GLOBAL':
                module, name = map(_key, pop(2))
                stack.append(_Global(f'{module} {name}'))
            case 'BINPUT' | 'LONG_BINPUT':
                memo[argument] = stack[-1]
            case 'MEMOIZE':
                memo[len(memo)] = stack[-1]
            case 'BINGET' | 'LONG_BINGET':
                stack.append(memo[argument])
            case 'MARK':
                marks.append(len(stack))
            case 'TUPLE':
                stack.append(tuple(pop_to_mark()))
            case 'TUPLE1' | 'TUPLE2' | 'TUPLE3' as name:
                stack.append(tuple(pop(int(name[-1]))))
            case 'APPEND':
                values = pop(1)
                stack[-1].extend(values)
            case 'APPENDS' | 'ADDITEMS':
                values = pop_to_mark()
                stack[-1].extend(values)
            case 'SETITEM':
                key, value = pop(2)
                stack[-1].update({_key(key): value})
            case 'SETITEMS':
                values = pop_to_mark()
                keys = map(_key, values[::2])
                stack[-1].update(zip(keys, values[1::2], strict=True))
            case 'BINPERSID':
                storage = _storage(stack.pop())
                stack.append(storage)
                storages[storage.key] = storage
            case 'REDUCE' | 'NEWOBJ':
                stack.append(_call(*pop(2)))
            case 'BUILD':
                # Attributes, such as the versions of modules in an OrderedDict.
                stack.pop()
            case name:
                raise ValueError(f'its pickle uses {name}')


def _cut(stack: list, start: int) -> list:
    """Remove the values from `start` on, and return them."""
    values = stack[start:]
    del stack[start:]
    return values


def _key(value: object) -> str:
    """Convert a key of a dict to text; keys of optimizer states are numbers."""
    if not isinstance(value, str | int | float):
        raise ValueError('a key of a dict is no text')
    return str(value)


def _storage(identity: object) -> Storage:
    """Read the persistent id of a storage."""
    match identity:
        case ('storage', _Global(kind), str(key), _, int(length), *_) if (
            kind in _DTYPES
        ):
            return Storage(key, _DTYPES[kind], length)
        case ('storage', _Global(kind), *_):
            known = ', '.join(_DTYPES)
            raise ValueError(f'it holds {kind[:80]!r}, not one of {known}')
    raise ValueError('it refers to an object that is no storage')


def _call(function: object, arguments: object) -> object:
    """Evaluate one of the few functions that a state dict calls."""
    match function, arguments:
        case _Global('collections OrderedDict' | 'collections defaultdict'), _:
            return {}
        case (
            _Global('torch._utils _rebuild_tensor_v2'),
            (Storage() as storage, int(offset), tuple(shape), tuple(strides), *_),
        ):
            return StoredTensor(storage, offset, shape, strides)
        case (
            _Global('torch._utils _rebuild_parameter'),
            (StoredTensor() as tensor, *_),
        ):
            return tensor
        case _Global(name), _ if name in _IGNORED:
            return _Ignored()
        case _Global(name), _:
            raise ValueError(
                f'it calls {name[:80]!r}, which the tensors of a state dict do not'
            )
    raise ValueError('it calls an object that is no function')


def state_dict(value: object) -> dict[str, StoredTensor]:
    """Find the state dict in a pickled value, which may be a checkpoint.

    A checkpoint is a dict with the state dict under a key such as 'state_dict' or
    'model'. Averaged weights, such as 'model_ema', come first.

    Args:
        value: a result of `load`.

    Returns:
        {name: tensor}. Without such a key, the value itself is the state dict.

    Raises:
        ValueError: The value is no dict, or the state dict holds other values than tensors.
    """
    if not isinstance(value, dict):
        raise ValueError('it holds no dict; save model.state_dict()')
    tensors = value
    for name in _STATE_DICT_KEYS:
        if isinstance(value.get(name), dict) and value[name]:
            tensors = value[name]
            break
    for name, tensor in tensors.items():
        if not isinstance(tensor, StoredTensor):
            raise ValueError(
                f'its {name[:80]!r} is no tensor; save model.state_dict() alone'
            )
    return tensors
