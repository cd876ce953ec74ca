"""From the names and layouts of publishers to those of our models.

A leaf is named by its path in Flax's tree, as 'stage1_block1/conv1/kernel'. A tensor without a
counterpart keeps its name, so that `flax_variables.fit` finds and lists it.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from jaxvision.core.types import Values

Tensors = Mapping[str, np.ndarray]
Leaves = dict[str, np.ndarray]
# The publisher's name of a module -> ours; KeyError where there is none.
ModuleNames = Callable[[str], str]

_TORCH = {'bias': 'bias', 'running_mean': 'mean', 'running_var': 'var'}
_KERAS = {
    'kernel': 'kernel',
    'depthwise_kernel': 'kernel',
    'bias': 'bias',
    'gamma': 'scale',
    'beta': 'bias',
    'moving_mean': 'mean',
    'moving_variance': 'var',
}
_FLAX = {'kernel': 'kernel', 'scale': 'scale', 'bias': 'bias'}


def _no_options(leaves: Leaves) -> dict:
    return {}


def _size_of_recipe(leaves: Leaves) -> int:
    return 0


class Format(NamedTuple):
    """One way in which the weights of a family are published.

    All functions but the numbers of `convert` depend on names and shapes alone.

    Attributes:
        publisher: for messages.
        marker: a tensor that every file of this format has, and no file of the others.
        convert: the tensors of the file -> leaves of our model.
        recipe: name of the preprocessing in recipes.py, or leaves -> name.
        options: leaves -> the options of our model that compute the same as the publisher's.
        image_size: leaves -> side of the images that the weights are for, pixels; 0: any.
    """

    publisher: str
    marker: str
    convert: Callable[[Tensors], Leaves]
    recipe: str | Callable[[Leaves], str]
    options: Callable[[Leaves], Values] = _no_options
    image_size: Callable[[Leaves], int] = _size_of_recipe


def from_torch(tensors: Tensors, modules: ModuleNames) -> Leaves:
    """Convert PyTorch's names and layouts.

    'layer1.0.conv1.weight' [out, in, *window] becomes 'stage1_block1/conv1/kernel'
    [*window, in, out]. A parameter that belongs to no module, as a class token, is
    renamed by its whole name.

    Args:
        tensors: {name: tensor} as PyTorch has them.
        modules: 'layer1.0.conv1' -> 'stage1_block1/conv1'.

    Returns:
        {name: leaf} as Flax has them.
    """
    leaves = {}
    for name, tensor in tensors.items():
        module, _, parameter = name.rpartition('.')
        if parameter == 'num_batches_tracked':
            continue
        leaf = _TORCH.get(parameter)
        if parameter == 'weight':
            leaf = 'kernel' if tensor.ndim > 1 else 'scale'
        if leaf == 'kernel':
            tensor = np.moveaxis(tensor, (0, 1), (-1, -2))
        _add(leaves, name, tensor, _renamed(modules, name, module, leaf))
    return leaves


def from_keras(tensors: Tensors, modules: ModuleNames) -> Leaves:
    """Convert Keras' names, as 'conv2_block1_1_bn/gamma' to 'stage1_block1/norm1/scale'.

    Keras' layouts are Flax's, except for depthwise kernels, which stay [*window, C, 1].

    Args:
        tensors: {'LAYER/WEIGHT': tensor}.
        modules: 'conv2_block1_1_bn' -> 'stage1_block1/norm1'.

    Returns:
        {name: leaf}.
    """
    leaves = {}
    for name, tensor in tensors.items():
        layer, _, weight = name.rpartition('/')
        _add(leaves, name, tensor, _renamed(modules, name, layer, _KERAS.get(weight)))
    return leaves


def from_flax(tensors: Tensors, modules: ModuleNames) -> Leaves:
    """Convert the module names of another Flax model, whose layouts are ours.

    Args:
        tensors: {name: tensor}, as 'Transformer/encoder_norm/scale'.
        modules: 'Transformer/encoder_norm' -> 'norm'.

    Returns:
        {name: leaf}.
    """
    leaves = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition('/')
        _add(leaves, name, tensor, _renamed(modules, name, module, _FLAX.get(leaf)))
    return leaves


def _renamed(modules: ModuleNames, name: str, module: str, leaf: str | None) -> str:
    """Our name of a tensor: its module's, and `leaf`, or of its whole name without a leaf."""
    try:
        return f'{modules(module)}/{leaf}' if leaf else modules(name)
    except KeyError:
        return name


def _add(leaves: Leaves, name: str, tensor: np.ndarray, renamed: str) -> None:
    """Add a tensor as float32 or float64; the second of one name keeps its own name."""
    if tensor.dtype not in (np.float32, np.float64):
        tensor = tensor.astype(np.float32)
    leaves[name if renamed in leaves else renamed] = tensor


def fold_biases(leaves: Leaves) -> Leaves:
    """Fold the bias of each convolution into the running mean of the batch norm after it.

    (x + b) - m = x - (m - b). Our convolutions before batch norm have no bias: it would
    have no gradient.
    """
    folded = dict(leaves)
    for name in leaves:
        if not name.endswith('/bias'):
            continue
        path, _, layer = name.removesuffix('/bias').rpartition('/')
        mean = f'{path}/{layer.replace("conv", "norm")}/mean'.lstrip('/')
        if 'conv' in layer and mean in folded:
            folded[mean] = folded[mean] - folded.pop(name)
    return folded


def bgr_to_rgb(leaves: Leaves, kernel: str) -> Leaves:
    """Reverse the input channels of the first kernel, [*window, 3, out], trained on BGR."""
    if kernel not in leaves:
        return leaves
    return {**leaves, kernel: leaves[kernel][..., ::-1, :]}
