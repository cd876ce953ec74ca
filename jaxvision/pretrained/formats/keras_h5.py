"""Tensors of Keras' .h5 files: of `keras.applications`, `model.save` and `model.save_weights`."""

import contextlib
import functools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from jaxvision.pretrained.formats.lazy_tensor import LazyTensor

_FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
}
_MOST_COMPRESSED = 20  # Times; trained weights are compressed less than 2 times.
# The weights of each kind of layer, in the order in which Keras 3 numbers them.
_WEIGHTS = {
    'conv2d': ('kernel', 'bias'),
    'depthwise_conv2d': ('kernel', 'bias'),
    'dense': ('kernel', 'bias'),
    'batch_normalization': ('gamma', 'beta', 'moving_mean', 'moving_variance'),
    'layer_normalization': ('gamma', 'beta'),
    'layer_scale': ('variable',),
    'normalization': ('mean', 'variance', 'count'),
}
# The names of 2017 that some of keras.applications' files still have.
_OLD_NAMES = {'W_1': 'kernel', 'W': 'kernel', 'b_1': 'bias', 'b': 'bias'}
_LONGEST_LIST = 2**22  # Bytes of an attribute that lists names.


class _Place(NamedTuple):
    """Where an array is.

    Attributes:
        name: 'LAYER/WEIGHT', as 'conv1_conv/kernel'.
        group: the HDF5 group that holds the array.
        path: name of the array within the group.
    """

    name: str
    group: h5py.Group
    path: str


@contextlib.contextmanager
def open_tensors(path: Path) -> Iterator[dict[str, LazyTensor]]:
    """Open a file as {'LAYER/WEIGHT': tensor}, as 'conv1_conv/kernel'.

    Raises:
        ValueError: The file is damaged, is not of Keras, or would unpack to far more than
            its size.
        LookupError, RuntimeError: HDF5 cannot read a damaged part.
    """
    most = _MOST_COMPRESSED * path.stat().st_size
    try:
        with h5py.File(path, 'r') as file:
            places = _keras3_places(file) if 'layers' in file else _legacy_places(file)
            tensors = {}
            for place in places:
                if place.name in tensors:
                    raise ValueError(f'it has two weights {place.name[:80]!r}')
                shape = _dataset(place, most).shape
                read = functools.partial(_read, place, most)
                tensors[place.name] = LazyTensor(shape, read)
            yield tensors
    except OSError as error:  # HDF5 raises these about the content of the file.
        raise ValueError(str(error)) from None


def _read(place: _Place, most: int) -> np.ndarray:
    """The numbers; a dataset that stayed open would keep its cache of chunks."""
    return _dataset(place, most)[...]


def _legacy_places(file: h5py.File) -> Iterator[_Place]:
    """Yield the arrays that Keras 2's files list, as those of keras.applications do."""
    root = _group(file, 'model_weights') if 'model_weights' in file else file
    if 'layer_names' not in root.attrs:
        raise ValueError(
            "it has no 'layer_names', by which Keras' files list their layers"
        )
    for layer in _names(root, 'layer_names'):
        group = _group(root, layer)
        weights = _names(group, 'weight_names')
        modules = {weight.rpartition('/')[0] for weight in weights}
        is_sequential = len(modules) > 1
        for weight in weights:
            module = weight.split('/')[-2] if is_sequential else layer
            yield _Place(f'{module}/{_modern_name(weight, module)}', group, weight)


def _keras3_places(file: h5py.File) -> Iterator[_Place]:
    """Yield the arrays of `model.save_weights('x.weights.h5')`, numbered within a layer."""
    for layer in _keras3_layers(file):
        variables = _group(file, f'{layer}/vars')
        kind = re.sub(r'_\d+$', '', layer.rpartition('/')[2])
        weights = _WEIGHTS.get(kind, ())
        if len(variables) > len(weights) or 'name' not in variables.attrs:
            raise ValueError(f'its layer {layer[:80]!r} is of an unknown kind')
        (name,) = _names(variables, 'name')
        # Layers without a bias have fewer arrays.
        for weight, number in zip(weights, sorted(variables), strict=False):
            yield _Place(f'{name}/{weight}', variables, number)


def _keras3_layers(file: h5py.File) -> list[str]:
    """The paths of all layers, and after them of the layers within a Sequential."""
    outer = [f'layers/{layer}' for layer in _group(file, 'layers')]
    inner = []
    for layer in outer:
        if 'layers' in _group(file, layer):
            parts = _group(file, f'{layer}/layers')
            inner += [f'{layer}/layers/{part}' for part in parts]
    return outer + inner


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """The names that an attribute lists; a long list has parts, 'layer_names0' and so on."""
    parts = [name for name in group.attrs if name.rstrip('0123456789') == attribute]
    names = []
    for part in sorted(parts, key=lambda name: int(name.removeprefix(attribute) or 0)):
        stored = group.attrs.get_id(part)
        if math.prod(stored.shape) * stored.dtype.itemsize > _LONGEST_LIST:
            raise ValueError(f'its {part!r} would be larger than a list of names is')
        for name in np.ravel(group.attrs[part]):
            names.append(name.decode() if isinstance(name, bytes) else str(name))
    return names


def _modern_name(weight: str, layer: str) -> str:
    """'kernel' of 'conv1/kernel:0', and of the older 'conv1_W_1:0'."""
    last = weight.rpartition('/')[2].partition(':')[0].removeprefix(f'{layer}_')
    return _OLD_NAMES.get(last, last)


def _group(parent: h5py.Group, path: str) -> h5py.Group:
    group = _inside(parent, path)
    if not isinstance(group, h5py.Group):
        raise ValueError(f'its {path[:80]!r} is no group')
    return group


def _inside(parent: h5py.Group, path: str) -> h5py.Group | h5py.Dataset:
    """What has this path in this very file; a link may lead into any other."""
    for part in path.split('/'):
        if not isinstance(parent, h5py.Group) or not isinstance(
            parent.get(part, getlink=True), h5py.HardLink
        ):
            raise ValueError(f'it has no {path[:80]!r} of its own')
        parent = parent[part]
    return parent


def _dataset(place: _Place, most: int) -> h5py.Dataset:
    """The dataset of an array, which may claim any size, and be kept in any other file.

    Args:
        place: where the array is.
        most: the largest array, bytes.

    Raises:
        ValueError: There is no such array, or it cannot be read safely.
    """
    data = _inside(place.group, place.path)
    shown = place.path[:80]
    if not isinstance(data, h5py.Dataset) or data.dtype.kind not in 'fiub':
        raise ValueError(f'its {shown!r} holds no numbers')
    if data.external or data.is_virtual:
        raise ValueError(f'its {shown!r} is kept in another file')
    plist = data.id.get_create_plist()
    if any(plist.get_filter(i)[0] not in _FILTERS for i in range(plist.get_nfilters())):
        raise ValueError(f'its {shown!r} is compressed by something else than gzip')
    if data.shape is None or data.nbytes > most:
        raise ValueError(f'its {shown!r} would be larger than the file')
    if data.nbytes and not data.id.get_storage_size():
        raise ValueError(f'its {shown!r} has no numbers in the file')
    return data
