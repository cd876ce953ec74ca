"""Read .h5 files of `keras.applications`, `model.save` and `model.save_weights`."""

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

# Filters of HDF5 that Keras may use.
_FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
}
# Largest ratio of unpacked to packed size. Trained weights have less than 2.
_MOST_COMPRESSED = 20
# {kind of layer: its weights in the order in which Keras 3 numbers them}
_WEIGHTS = {
    'conv2d': ('kernel', 'bias'),
    'depthwise_conv2d': ('kernel', 'bias'),
    'dense': ('kernel', 'bias'),
    'batch_normalization': ('gamma', 'beta', 'moving_mean', 'moving_variance'),
    'layer_normalization': ('gamma', 'beta'),
    'layer_scale': ('variable',),
    'normalization': ('mean', 'variance', 'count'),
}
# Names of 2017, which some files of keras.applications still have.
_OLD_NAMES = {'W_1': 'kernel', 'W': 'kernel', 'b_1': 'bias', 'b': 'bias'}
# Largest attribute with names, in bytes.
_LONGEST_LIST = 2**22


class _Place(NamedTuple):
    """The place of an array.

    Attributes:
        name: 'LAYER/WEIGHT', such as 'conv1_conv/kernel'.
        group: the HDF5 group that holds the array.
        path: name of the array within the group.
    """

    name: str
    group: h5py.Group
    path: str


@contextlib.contextmanager
def open_tensors(path: Path) -> Iterator[dict[str, LazyTensor]]:
    """Open a file as {'LAYER/WEIGHT': tensor}, with names such as 'conv1_conv/kernel'.

    The tensors can be read inside the block only.

    Raises:
        ValueError: The file is damaged, is not of Keras, or would unpack to far more than
            its size.
        LookupError, RuntimeError: HDF5 cannot read a damaged part.
    """
    most = _MOST_COMPRESSED * path.stat().st_size
    try:
        with h5py.File(path, 'r') as file:
            tensors = {}
            for place in _places(file):
                if place.name in tensors:
                    raise ValueError(f'it has two weights {place.name[:80]!r}')
                shape = _dataset(place, most).shape
                read = functools.partial(_read, place, most)
                tensors[place.name] = LazyTensor(shape, read)
            yield tensors
    except OSError as error:  # HDF5 raises it for damaged contents.
        raise ValueError(str(error)) from None


def _places(file: h5py.File) -> Iterator[_Place]:
    if 'layers' in file:
        return _keras3_places(file)
    return _legacy_places(file)


def _read(place: _Place, most: int) -> np.ndarray:
    """Read an array, and close its dataset, since an open dataset keeps a cache."""
    return _dataset(place, most)[...]


def _legacy_places(file: h5py.File) -> Iterator[_Place]:
    """Yield the arrays of a file of Keras 2 or keras.applications."""
    root = file
    if 'model_weights' in file:
        root = _group(file, 'model_weights')
    if 'layer_names' not in root.attrs:
        raise ValueError(
            "it has no attribute 'layer_names', which lists the layers in files of Keras"
        )
    for layer in _names(root, 'layer_names'):
        group = _group(root, layer)
        weights = _names(group, 'weight_names')
        modules = {weight.rpartition('/')[0] for weight in weights}
        is_sequential = len(modules) > 1
        for weight in weights:
            module = layer
            if is_sequential:
                module = weight.split('/')[-2]
            name = _modern_name(weight, module)
            yield _Place(f'{module}/{name}', group, weight)


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
    """List the paths of all layers, then of the layers within a Sequential."""
    outer = [f'layers/{layer}' for layer in _group(file, 'layers')]
    inner = []
    for layer in outer:
        if 'layers' in _group(file, layer):
            parts = _group(file, f'{layer}/layers')
            inner += [f'{layer}/layers/{part}' for part in parts]
    return outer + inner


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Read the names in an attribute; a long list has parts such as 'layer_names0'."""

    def number(part):
        return int(part.removeprefix(attribute) or 0)

    parts = [name for name in group.attrs if name.rstrip('0123456789') == attribute]
    names = []
    for part in sorted(parts, key=number):
        stored = group.attrs.get_id(part)
        if math.prod(stored.shape) * stored.dtype.itemsize > _LONGEST_LIST:
            raise ValueError(f'its {part!r} is too large for a list of names')
        for name in np.ravel(group.attrs[part]):
            if isinstance(name, bytes):
                name = name.decode()
            names.append(str(name))
    return names


def _modern_name(weight: str, layer: str) -> str:
    """Convert 'conv1/kernel:0', and the older 'conv1_W_1:0', to 'kernel'."""
    last, _, _ = weight.rpartition('/')[2].partition(':')
    name = last.removeprefix(f'{layer}_')
    return _OLD_NAMES.get(name, name)


def _group(parent: h5py.Group, path: str) -> h5py.Group:
    group = _inside(parent, path)
    if not isinstance(group, h5py.Group):
        raise ValueError(f'its {path[:80]!r} is no group')
    return group


def _inside(parent: h5py.Group, path: str) -> h5py.Group | h5py.Dataset:
    """Look up a path in this file; links into other files are refused."""
    for part in path.split('/'):
        link = None
        if isinstance(parent, h5py.Group):
            link = parent.get(part, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f'it does not contain {path[:80]!r}')
        parent = parent[part]
    return parent


def _dataset(place: _Place, most: int) -> h5py.Dataset:
    """Open the dataset of an array, after checks of its size, filters and storage.

    Args:
        place: the place of the array.
        most: size of the largest array in bytes.

    Raises:
        ValueError: There is no such array, or it cannot be read safely.
    """
    data = _inside(place.group, place.path)
    name = repr(place.path[:80])
    if not isinstance(data, h5py.Dataset) or data.dtype.kind not in 'fiub':
        raise ValueError(f'its {name} holds no numbers')
    if data.external or data.is_virtual:
        raise ValueError(f'its {name} is stored in another file')
    plist = data.id.get_create_plist()
    filters = {plist.get_filter(i)[0] for i in range(plist.get_nfilters())}
    if not filters <= _FILTERS:
        raise ValueError(f'its {name} is compressed by another method than gzip')
    if data.shape is None or data.nbytes > most:
        raise ValueError(f'its {name} would be larger than the file')
    if data.nbytes and not data.id.get_storage_size():
        raise ValueError(f'its {name} has no numbers in the file')
    return data
