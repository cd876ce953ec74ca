"""The pickle in a PyTorch file: which tensors a state dict has, and where their numbers are.

A pickle may call any function of any module. Here the few opcodes that a state dict needs are
interpreted one by one: nothing is imported, and the only calls are those of `_call`.
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
# Where training scripts keep the state dict in a checkpoint, averaged weights first.
_STATE_DICT_KEYS = (
    'state_dict_ema',
    'model_ema',
    'state_dict',
    'model_state_dict',
    'model',
)
# Values that checkpoints hold beside the state dict. Nobody looks at them.
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
    """Numbers in a file, which several tensors may share.

    Attributes:
        key: name of the storage in the file.
        dtype: of the numbers.
        length: how many numbers the storage has, as the pickle says.
    """

    key: str
    dtype: np.dtype
    length: int

    @property
    def nbytes(self) -> int:
        return self.length * self.dtype.itemsize


class StoredTensor(NamedTuple):
    """A tensor as a strided view of a storage, unchecked: any object may be in the tuples.

    Attributes:
        storage: the numbers.
        offset: position of the first element, numbers.
        shape: length of each axis.
        strides: step along each axis, numbers.
    """

    storage: Storage
    offset: int
    shape: tuple[object, ...]
    strides: tuple[object, ...]


class _Global(NamedTuple):
    name: str  # 'module name'


class _Ignored:
    """A value that nobody looks at."""


# Opcodes that put their argument on the stack.
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
# Opcodes that put a new object on the stack.
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
        file: stands at the pickle, and then after it.
        storages: filled with {key: storage} of the storages that the pickle names.

    Returns:
        Dicts, lists, tuples, text, numbers and `StoredTensor`s.

    Raises:
        ValueError: The pickle uses opcodes or functions that no state dict needs.
        LookupError, AttributeError, TypeError: The pickle is damaged.
    """
    stack = []
    marks = []
    memo = {}
    if storages is None:
        storages = {}

    def pop(number: int | None = None) -> list:
        """Remove the topmost values, or those since the last mark."""
        start = marks.pop() if number is None else len(stack) - number
        values = stack[start:]
        del stack[start:]
        return values

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
                stack.pop()  # Attributes: of an OrderedDict, the versions of modules.
            case name:
                raise ValueError(f'its pickle uses {name}')


def _key(value: object) -> str:
    """A key of a dict as text; optimizers name their parameters by numbers."""
    if not isinstance(value, str | int | float):
        raise ValueError('a key of a dict is no text')
    return str(value)


def _storage(identity: object) -> Storage:
    match identity:
        case ('storage', _Global(kind), str(key), _, int(length), *_) if (
            kind in _DTYPES
        ):
            return Storage(key, _DTYPES[kind], length)
        case ('storage', _Global(kind), *_):
            raise ValueError(f'it holds {kind[:80]!r}, not one of {", ".join(_DTYPES)}')
    raise ValueError('it refers to something else than a storage')


def _call(function: object, arguments: object) -> object:
    """The result of one of the few functions that a state dict calls."""
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
    raise ValueError('it calls what is no function')


def state_dict(value: object) -> dict[str, StoredTensor]:
    """The state dict that a pickle is, or that a checkpoint holds.

    Raises:
        ValueError: The value is no dict, or the dict holds something else than tensors.
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
