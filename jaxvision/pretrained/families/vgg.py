"""VGG as torchvision, timm and Keras applications publish it."""

import math
import re

import numpy as np

from jaxvision.pretrained import convert
from jaxvision.pretrained.convert import Format, Leaves, Tensors

_CLASSIFIER = {
    'classifier.0': 'fc6',
    'classifier.3': 'fc7',
    'classifier.6': 'head',
    'pre_logits.fc1': 'fc6',
    'pre_logits.fc2': 'fc7',
    'head.fc': 'head',
}  # timm's


def torchvision(tensors: Tensors) -> dict[str, str]:
    """{'features.7': 'conv2_2', 'features.8': 'norm2_2', ...}

    Its layers are numbered through: convolution, (norm,) ReLU, and at a block's end a pool. So
    from the last convolution of a block to the next it is one more than within.
    """
    numbers = sorted(
        int(name.split('.')[1])
        for name, tensor in tensors.items()
        if re.fullmatch(r'features\.\d{1,3}\.weight', name) and tensor.ndim == 4
    )
    step = min(np.diff(numbers), default=0)
    modules, block, layer = dict(_CLASSIFIER), 1, 0
    for number, last in zip(numbers, [numbers[0] - step, *numbers]):
        block, layer = (block, layer + 1) if number - last == step else (block + 1, 1)
        modules[f'features.{number}'] = f'conv{block}_{layer}'
        modules[f'features.{number + 1}'] = f'norm{block}_{layer}'
    return modules


def keras(module: str) -> str:
    """'block1_conv2' -> 'conv1_2'"""
    if found := re.fullmatch(r'block(\d)_conv(\d)', module):
        return f'conv{found[1]}_{found[2]}'
    return {'fc1': 'fc6', 'fc2': 'fc7', 'predictions': 'head'}[module]


def from_torch(tensors: Tensors) -> Leaves:
    leaves = convert.from_torch(tensors, torchvision(tensors).__getitem__)
    return {
        name: _dense(leaf, name) if name in ('fc6/kernel', 'fc7/kernel') else leaf
        for name, leaf in leaves.items()
    }


def _dense(kernel: np.ndarray, name: str) -> np.ndarray:
    """[in, out]; `fc6` sees a square map, which PyTorch flattens as [512, H, W], Flax as
    [H, W, 512]. timm's are convolutions over the whole map."""
    if kernel.ndim == 4:
        return kernel.reshape(-1, kernel.shape[-1])
    side = math.isqrt(len(kernel) // 512)
    if name == 'fc7/kernel' or len(kernel) != 512 * side**2:
        return kernel
    return (
        kernel.reshape(512, side, side, -1)
        .transpose(1, 2, 0, 3)
        .reshape(len(kernel), -1)
    )


def from_keras(tensors: Tensors) -> Leaves:
    return convert.from_bgr(convert.from_keras(tensors, keras), 'conv1_1/kernel')


def _options(leaves: Leaves) -> dict:
    batch_norm = 'norm1_1/scale' in leaves
    return {
        'batch_norm': batch_norm,
        'bias': batch_norm and 'conv1_1/bias' in leaves,
        'head': 'fc',
    }


FORMATS = (
    Format(
        'torchvision or timm', 'features.0.weight', from_torch, 'torchvision', _options
    ),
    Format('Keras', 'block1_conv1/kernel', from_keras, 'keras_caffe', _options),
)
