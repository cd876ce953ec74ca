"""Convert names and layouts of published tensors to those of jaxvision's models.

A leaf is named by its path in the Flax tree, such as 'stage1_block1/conv1/kernel'. A tensor
without a counterpart keeps its name, so that `flax_variables.fit` finds and lists it.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from jaxvision.core.types import Values

Tensors = Mapping[str, np.ndarray]
Leaves = dict[str, np.ndarray]
# `(published name) -> our name` of a module. It raises KeyError for an unknown name.
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


class OutputClasses(NamedTuple):
    """The classes of the outputs of a published network.

    Attributes:
        names: name of each output's class; '' for an output without a class. Empty:
            the names are unknown.
        numbers: number of each output's category in the annotations of the dataset.
            Empty: the numbers are unknown.
    """

    names: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()


def _no_classes(leaves: Leaves) -> OutputClasses:
    return OutputClasses()


class Format(NamedTuple):
    """A format in which a publisher stores the weights of a family of models.

    The functions depend on names and shapes only, except for the numbers that `convert` returns.

    Attributes:
        publisher: name of the publisher, for messages.
        marker: name of a tensor in every file of this format. A file has the first
            format of its family whose marker it holds.
        convert: `(tensors of the file) -> leaves` of our model.
        recipe: name of the preprocessing in recipes.py, or `(leaves) -> name`.
        options: `(leaves) -> options`, with which our model computes the same outputs as the
            published model.
        image_size: `(leaves) -> side` of the images for the weights, in pixels; 0: any.
        classes: `(leaves) -> classes` of the outputs; empty: unknown.
        task: {field of the task: value} with which it predicts as the publisher does.
        license: a sentence about a restriction of the weights, for the screen; '': none.
    """

    publisher: str
    marker: str
    convert: Callable[[Tensors], Leaves]
    recipe: str | Callable[[Leaves], str]
    options: Callable[[Leaves], Values] = _no_options
    image_size: Callable[[Leaves], int] = _size_of_recipe
    classes: Callable[[Leaves], OutputClasses] = _no_classes
    task: Values = {}
    license: str = ''


def from_torch(tensors: Tensors, modules: ModuleNames) -> Leaves:
    """Convert names and layouts of PyTorch.

    'layer1.0.conv1.weight' [out, in, *window] becomes 'stage1_block1/conv1/kernel'
    [*window, in, out]. A parameter without a module, such as a class token, is renamed by its
    whole name.

    Args:
        tensors: {name: tensor} of a PyTorch state dict.
        modules: maps 'layer1.0.conv1' to 'stage1_block1/conv1'. It raises KeyError for
            an unknown name.

    Returns:
        {name: leaf} of our model, float32 or float64. An unknown tensor keeps its name.
        Counters of batches are left out.
    """
    leaves = {}
    for name, tensor in tensors.items():
        module, _, parameter = name.rpartition('.')
        if parameter == 'num_batches_tracked':
            continue
        leaf = _TORCH.get(parameter)
        if parameter == 'weight' and tensor.ndim > 1:
            leaf = 'kernel'
            tensor = np.moveaxis(tensor, (0, 1), (-1, -2))
        elif parameter == 'weight':
            leaf = 'scale'
        new_name = _renamed(modules, name, module, leaf)
        _add(leaves, name, tensor, new_name)
    return leaves


def from_keras(tensors: Tensors, modules: ModuleNames) -> Leaves:
    """Convert names of Keras: 'conv2_block1_1_bn/gamma' to 'stage1_block1/norm1/scale'.

    Keras and Flax have the same layouts, except for depthwise kernels, which stay
    [*window, C, 1].

    Args:
        tensors: {'LAYER/WEIGHT': tensor}.
        modules: maps 'conv2_block1_1_bn' to 'stage1_block1/norm1'. It raises KeyError
            for an unknown name.

    Returns:
        {name: leaf} of our model, float32 or float64. An unknown tensor keeps its name.
    """
    leaves = {}
    for name, tensor in tensors.items():
        layer, _, weight = name.rpartition('/')
        new_name = _renamed(modules, name, layer, _KERAS.get(weight))
        _add(leaves, name, tensor, new_name)
    return leaves


def from_flax(tensors: Tensors, modules: ModuleNames) -> Leaves:
    """Convert module names of another Flax model, which has our layouts.

    Args:
        tensors: {name: tensor}, with names such as 'Transformer/encoder_norm/scale'.
        modules: maps 'Transformer/encoder_norm' to 'norm'. It raises KeyError for an
            unknown name.

    Returns:
        {name: leaf} of our model, float32 or float64. An unknown tensor keeps its name.
    """
    leaves = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition('/')
        new_name = _renamed(modules, name, module, _FLAX.get(leaf))
        _add(leaves, name, tensor, new_name)
    return leaves


def _renamed(modules: ModuleNames, name: str, module: str, leaf: str | None) -> str:
    """Rename a tensor.

    Args:
        modules: maps published names to our names.
        name: the published name of the tensor.
        module: the published name of its module.
        leaf: our name of the leaf in the module; None: rename the tensor by its whole name.

    Returns:
        Our name, or the published name if there is no counterpart.
    """
    try:
        if leaf:
            return f'{modules(module)}/{leaf}'
        return modules(name)
    except KeyError:
        return name


def _add(leaves: Leaves, name: str, tensor: np.ndarray, new_name: str) -> None:
    """Add a tensor as float32 or float64; it keeps its name if the new one is taken."""
    if tensor.dtype not in (np.float32, np.float64):
        tensor = tensor.astype(np.float32)
    if new_name in leaves:
        new_name = name
    leaves[new_name] = tensor


def fold_biases(leaves: Leaves) -> Leaves:
    """Fold the bias of each convolution into the running mean of the batch norm after it.

    (x + b) - m = x - (m - b). Our convolutions before batch norm have no bias, since its
    gradient would be 0.

    Args:
        leaves: {name: leaf}. The norm after 'stem_conv' is called 'stem_norm'.

    Returns:
        A copy without the folded biases. A bias without such a norm stays.
    """
    folded = dict(leaves)
    for name in leaves:
        if not name.endswith('/bias'):
            continue
        path, _, layer = name.removesuffix('/bias').rpartition('/')
        norm = layer.replace('conv', 'norm')
        mean = f'{path}/{norm}/mean'.lstrip('/')
        if 'conv' in layer and mean in folded:
            folded[mean] = folded[mean] - folded.pop(name)
    return folded


def bgr_to_rgb(leaves: Leaves, kernel: str) -> Leaves:
    """Convert a model that was trained on BGR images to RGB images.

    Args:
        leaves: {name: leaf}.
        kernel: name of the first kernel, [*window, 3, out], whose input channels are reversed.

    Returns:
        A copy with the reversed kernel; `leaves` itself if it has no such kernel.
    """
    if kernel not in leaves:
        return leaves
    return {**leaves, kernel: leaves[kernel][..., ::-1, :]}
