"""Formats of VGG by torchvision, timm and Keras applications."""

import math
import re

import numpy as np

from jaxvision.pretrained import convert
from jaxvision.pretrained.convert import Format, Leaves, Tensors

_CLASSIFIER = {
    # torchvision
    'classifier.0': 'fc6',
    'classifier.3': 'fc7',
    'classifier.6': 'head',
    # timm
    'pre_logits.fc1': 'fc6',
    'pre_logits.fc2': 'fc7',
    'head.fc': 'head',
}
_KERAS_CLASSIFIER = {'fc1': 'fc6', 'fc2': 'fc7', 'predictions': 'head'}
# Channels of the last feature map.
_CHANNELS = 512


def _torch_modules(tensors: Tensors) -> dict[str, str]:
    """Name the modules of a file, such as {'features.7': 'conv2_2', 'features.8': 'norm2_2'}.

    The layers are numbered in one sequence: convolution, (norm,) ReLU, and a pool after each
    block. So the numbers of neighbouring convolutions differ by one more across a pool.
    """
    numbers = sorted(
        int(name.split('.')[1])
        for name, tensor in tensors.items()
        if re.fullmatch(r'features\.\d{1,3}\.weight', name) and tensor.ndim == 4
    )
    step = min(np.diff(numbers), default=0)
    modules = dict(_CLASSIFIER)
    block = 1
    layer = 0
    previous = numbers[0] - step
    for number in numbers:
        if number - previous == step:
            layer += 1
        else:
            block += 1
            layer = 1
        modules[f'features.{number}'] = f'conv{block}_{layer}'
        modules[f'features.{number + 1}'] = f'norm{block}_{layer}'
        previous = number
    return modules


def _keras_module(module: str) -> str:
    """Rename 'block1_conv2' to 'conv1_2'."""
    if match := re.fullmatch(r'block(\d)_conv(\d)', module):
        return f'conv{match[1]}_{match[2]}'
    return _KERAS_CLASSIFIER[module]


def from_torch(tensors: Tensors) -> Leaves:
    """Convert tensors of torchvision and timm to leaves of our VGG.

    Args:
        tensors: {PyTorch name: array}, with at least one kernel 'features.N.weight'.

    Returns:
        {parameter path: array}, with our names and axes. An unknown tensor keeps its
        name.

    Raises:
        IndexError: There is no such kernel.
    """
    leaves = convert.from_torch(tensors, _torch_modules(tensors).__getitem__)
    for name in ('fc6/kernel', 'fc7/kernel'):
        if name in leaves:
            leaves[name] = _dense(leaves[name], name)
    return leaves


def _dense(kernel: np.ndarray, name: str) -> np.ndarray:
    """Convert the kernel of a dense layer to [in, out].

    timm has convolutions over the whole feature map instead. The input of `fc6` is a square map,
    which PyTorch flattens as [512, H, W], and Flax as [H, W, 512].
    """
    if kernel.ndim == 4:
        return kernel.reshape(-1, kernel.shape[-1])
    side = math.isqrt(len(kernel) // _CHANNELS)
    if name == 'fc7/kernel' or len(kernel) != _CHANNELS * side**2:
        return kernel
    channels_first = kernel.reshape(_CHANNELS, side, side, -1)
    return channels_first.transpose(1, 2, 0, 3).reshape(len(kernel), -1)


def from_keras(tensors: Tensors) -> Leaves:
    """Convert Keras tensors, which were trained on BGR.

    Args:
        tensors: {'LAYER/WEIGHT': array}.

    Returns:
        {parameter path: array} of our VGG, for RGB. An unknown tensor keeps its name.
    """
    leaves = convert.from_keras(tensors, _keras_module)
    return convert.bgr_to_rgb(leaves, 'conv1_1/kernel')


def _options(leaves: Leaves) -> dict:
    batch_norm = 'norm1_1/scale' in leaves
    return {
        'batch_norm': batch_norm,
        'bias': batch_norm and 'conv1_1/bias' in leaves,
        'head': 'fc',
    }


FORMATS = (
    Format(
        publisher='torchvision or timm',
        marker='features.0.weight',
        convert=from_torch,
        recipe='torchvision',
        options=_options,
    ),
    Format(
        publisher='Keras',
        marker='block1_conv1/kernel',
        convert=from_keras,
        recipe='keras_caffe',
        options=_options,
    ),
)
