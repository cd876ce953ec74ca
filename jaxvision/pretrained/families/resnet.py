"""ResNet as torchvision, timm and Keras applications publish it; timm's names are torchvision's."""

import re

from jaxvision.pretrained import convert
from jaxvision.pretrained.convert import Format, Leaves, Tensors

# A module within a block -> ours.
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
# The published files still call the head 'probs'.
_KERAS_AROUND = {
    'conv1_conv': 'stem_conv',
    'conv1_bn': 'stem_norm',
    'predictions': 'head',
    'probs': 'head',
}
_KERAS_KINDS = {'conv': 'conv', 'bn': 'norm'}


def _torch_module(module: str) -> str:
    """'layer1.0.conv1' -> 'stage1_block1/conv1'"""
    match = re.fullmatch(r'layer(\d)\.(\d+)\.(.+)', module)
    if not match:
        return _AROUND[module]
    stage, block, part = match.groups()
    return f'stage{stage}_block{int(block) + 1}/{_PARTS[part]}'


def _keras_module(module: str) -> str:
    """'conv2_block1_1_conv' -> 'stage1_block1/conv1'; layer 0 is the shortcut."""
    match = re.fullmatch(r'conv(\d)_block(\d+)_(\d)_(conv|bn)', module)
    if not match:
        return _KERAS_AROUND[module]
    stage, block, layer, keras_kind = match.groups()
    kind = _KERAS_KINDS[keras_kind]
    part = f'shortcut_{kind}' if layer == '0' else kind + layer
    return f'stage{int(stage) - 1}_block{block}/{part}'


def from_torch(tensors: Tensors) -> Leaves:
    """Convert torchvision's and timm's tensors."""
    return convert.from_torch(tensors, _torch_module)


def from_keras(tensors: Tensors) -> Leaves:
    """Convert Keras' tensors, trained on BGR, with biases before batch norm."""
    leaves = convert.fold_biases(convert.from_keras(tensors, _keras_module))
    return convert.bgr_to_rgb(_with_our_epsilon(leaves), 'stem_conv/kernel')


def _with_our_epsilon(leaves: Leaves) -> Leaves:
    """Add the difference to variances: Keras' epsilon is 1.001e-5, ours 1e-5."""
    return {
        name: leaf + leaf.dtype.type(1e-8) if name.endswith('/var') else leaf
        for name, leaf in leaves.items()
    }


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
