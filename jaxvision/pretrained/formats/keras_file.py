"""Reads the weights of Keras' .h5 files: of `keras.applications`, `model.save` and
`model.save_weights`."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

_FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
}
_MOST_COMPRESSED = 20  # times; of trained weights less than 2
_WEIGHTS = {  # of a kind of layer, in the order in which Keras 3 numbers them
    **dict.fromkeys(('conv2d', 'depthwise_conv2d', 'dense'), ('kernel', 'bias')),
    'batch_normalization': ('gamma', 'beta', 'moving_mean', 'moving_variance'),
    'layer_normalization': ('gamma', 'beta'),
    'layer_scale': ('variable',),
    'normalization': ('mean', 'variance', 'count'),
}
_LONGEST_LIST = 2**22  # bytes of an attribute that lists names


def read(path: Path) -> dict[str, np.ndarray]:
    """{'LAYER/WEIGHT': array}, as 'conv1_conv/kernel'; raises what it meets where it is damaged."""
    try:
        with h5py.File(path, 'r') as file:
            budget = _MOST_COMPRESSED * path.stat().st_size
            tensors = {}
            for name, group, place in (_keras3 if 'layers' in file else _legacy)(file):
                if name in tensors:
                    raise ValueError(f'it has two weights {name[:80]!r}')
                tensors[name] = _array(group, place, budget)
                budget -= tensors[name].nbytes
            return tensors
    except OSError as error:  # of HDF5, about its content
        raise ValueError(error) from None


def _legacy(file: h5py.File) -> Iterator[tuple[str, h5py.Group, str]]:
    """(name, group, its name in there) of each array, as keras.applications' files list them."""
    root = _group(file, 'model_weights') if 'model_weights' in file else file
    if 'layer_names' not in root.attrs:
        raise ValueError(
            "it has no 'layer_names', by which Keras' files list their layers"
        )
    for layer in _names(root, 'layer_names'):
        group = _group(root, layer)
        weights = _names(group, 'weight_names')
        several = (
            len({weight.rpartition('/')[0] for weight in weights}) > 1
        )  # it is a Sequential
        for weight in weights:
            module = weight.split('/')[-2] if several else layer
            yield f'{module}/{_plain(weight, module)}', group, weight


def _keras3(file: h5py.File) -> Iterator[tuple[str, h5py.Group, str]]:
    """The same of `model.save_weights('x.weights.h5')`, where a layer's arrays are numbered."""
    outer = [f'layers/{layer}' for layer in _group(file, 'layers')]
    inner = [
        f'{layer}/layers/{part}'
        for layer in outer
        if 'layers' in _group(file, layer)
        for part in _group(file, f'{layer}/layers')
    ]  # of a Sequential
    for layer in outer + inner:
        variables = _group(file, f'{layer}/vars')
        kind = re.sub(r'_\d+$', '', layer.rpartition('/')[2])
        if (
            len(variables) > len(_WEIGHTS.get(kind, ()))
            or 'name' not in variables.attrs
        ):
            raise ValueError(
                f'its layer {layer[:80]!r} is of no kind that is known here'
            )
        (name,) = _names(variables, 'name')
        for weight, number in zip(_WEIGHTS.get(kind, ()), sorted(variables)):
            yield f'{name}/{weight}', variables, number


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """The names that an attribute lists, or, of many, its parts: 'layer_names0', ..."""
    parts = [name for name in group.attrs if name.rstrip('0123456789') == attribute]
    found = []
    for part in sorted(parts, key=lambda name: int(name.removeprefix(attribute) or 0)):
        stored = group.attrs.get_id(part)
        if math.prod(stored.shape) * stored.dtype.itemsize > _LONGEST_LIST:
            raise ValueError(f'its {part!r} would be larger than a list of names is')
        found += [
            name.decode() if isinstance(name, bytes) else str(name)
            for name in np.ravel(group.attrs[part])
        ]
    return found


def _plain(weight: str, layer: str) -> str:
    """'kernel' of 'conv1/kernel:0', and of the older 'conv1_W_1:0'."""
    last = weight.rpartition('/')[2].partition(':')[0].removeprefix(f'{layer}_')
    return {'W_1': 'kernel', 'W': 'kernel', 'b_1': 'bias', 'b': 'bias'}.get(last, last)


def _group(parent: h5py.Group, name: str) -> h5py.Group:
    found = _inside(parent, name)
    if not isinstance(found, h5py.Group):
        raise ValueError(f'its {name[:80]!r} is no group')
    return found


def _inside(parent: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """What has that name in this very file: a link may lead into any other."""
    for part in name.split('/'):
        if not isinstance(parent, h5py.Group) or not isinstance(
            parent.get(part, getlink=True), h5py.HardLink
        ):
            raise ValueError(f'it has no {name[:80]!r} of its own')
        parent = parent[part]
    return parent


def _array(group: h5py.Group, name: str, most: int) -> np.ndarray:
    """The numbers of a data set, which may claim any size, and be kept in any other file."""
    data = _inside(group, name)
    if not isinstance(data, h5py.Dataset) or data.dtype.kind not in 'fiub':
        raise ValueError(f'its {name[:80]!r} holds no numbers')
    if data.external or data.is_virtual:
        raise ValueError(f'its {name[:80]!r} is kept in another file')
    plist = data.id.get_create_plist()
    if any(plist.get_filter(i)[0] not in _FILTERS for i in range(plist.get_nfilters())):
        raise ValueError(f'its {name[:80]!r} is compressed by something else than gzip')
    if (
        data.shape is None
        or data.nbytes > most
        or (data.nbytes and not data.id.get_storage_size())
    ):
        raise ValueError(f'its {name[:80]!r} would be larger than it')
    return data[...]
