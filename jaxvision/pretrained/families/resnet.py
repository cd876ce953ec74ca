"""Formats of ResNet by torchvision, timm and Keras applications.

timm and torchvision use the same names.
"""

import re

from jaxvision.pretrained import convert
from jaxvision.pretrained.convert import Format, Leaves, Tensors

# {module within a block: our name}
_PARTS = {
    'conv1': 'conv1',
    'bn1': 'norm1',
    'conv2': 'conv2',
    'bn2': 'norm2',
    'conv3': 'conv3',
    'bn3': 'norm3',
    'downsample.0': 'shortcut_conv',
    'downsample.1': 'shortcut_norm',
}
_AROUND = {'conv1': 'stem_conv', 'bn1': 'stem_norm', 'fc': 'head'}
# The head is called 'probs' in the published files.
_KERAS_AROUND = {
    'conv1_conv': 'stem_conv',
    'conv1_bn': 'stem_norm',
    'predictions': 'head',
    'probs': 'head',
}
_KERAS_KINDS = {'conv': 'conv', 'bn': 'norm'}


def torch_module(module: str) -> str:
    """Rename 'layer1.0.conv1' to 'stage1_block1/conv1'; KeyError if it is unknown."""
    match = re.fullmatch(r'layer(\d)\.(\d+)\.(.+)', module)
    if not match:
        return _AROUND[module]
    stage, block, part = match.groups()
    block_number = int(block) + 1
    return f'stage{stage}_block{block_number}/{_PARTS[part]}'


def _keras_module(module: str) -> str:
    """Rename 'conv2_block1_1_conv' to 'stage1_block1/conv1'; layer 0 is the shortcut."""
    match = re.fullmatch(r'conv(\d)_block(\d+)_(\d)_(conv|bn)', module)
    if not match:
        return _KERAS_AROUND[module]
    stage, block, layer, keras_kind = match.groups()
    kind = _KERAS_KINDS[keras_kind]
    part = f'{kind}{layer}'
    if layer == '0':
        part = f'shortcut_{kind}'
    stage_number = int(stage) - 1
    return f'stage{stage_number}_block{block}/{part}'


def from_torch(tensors: Tensors) -> Leaves:
    """Convert tensors of torchvision and timm to leaves of our ResNet.

    Args:
        tensors: {PyTorch name: array}.

    Returns:
        {parameter path: array}, with our names and axes. An unknown tensor keeps its
        name.
    """
    return convert.from_torch(tensors, torch_module)


def from_keras(tensors: Tensors) -> Leaves:
    """Convert Keras tensors, which were trained on BGR, with biases before batch norm.

    Variances get 1e-8 more, because the epsilon of Keras is larger than ours.

    Args:
        tensors: {'LAYER/WEIGHT': array}.

    Returns:
        {parameter path: array} of our ResNet, for RGB and without these biases. An
        unknown tensor keeps its name.
    """
    leaves = convert.fold_biases(convert.from_keras(tensors, _keras_module))
    return convert.bgr_to_rgb(_with_our_epsilon(leaves), 'stem_conv/kernel')


def _with_our_epsilon(leaves: Leaves) -> Leaves:
    """Add 1e-8 to variances, since epsilon is 1.001e-5 in Keras and 1e-5 in our model."""
    adapted = dict(leaves)
    for name, leaf in leaves.items():
        if name.endswith('/var'):
            adapted[name] = leaf + leaf.dtype.type(1e-8)
    return adapted


def _torch_options(leaves: Leaves) -> dict:
    return {'version': 'v1.5'}


def _keras_options(leaves: Leaves) -> dict:
    return {'version': 'v1'}


FORMATS = (
    Format(
        publisher='torchvision or timm',
        marker='layer1.0.conv1.weight',
        convert=from_torch,
        recipe='torchvision',
        options=_torch_options,
    ),
    Format(
        publisher='Keras',
        marker='conv1_conv/kernel',
        convert=from_keras,
        recipe='keras_caffe',
        options=_keras_options,
    ),
)
