"""ResNet as torchvision, timm (whose names are the same) and Keras applications publish it."""

import re

from jaxvision.pretrained import convert
from jaxvision.pretrained.convert import Format

_LAYERS = {
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
_KERAS_AROUND = {
    'conv1_conv': 'stem_conv',
    'conv1_bn': 'stem_norm',
    'predictions': 'head',
    'probs': 'head',
}  # as the published files have kept it


def torchvision(module: str) -> str:
    """'layer1.0.conv1' -> 'stage1_block1/conv1'"""
    if found := re.fullmatch(r'layer(\d)\.(\d+)\.(.+)', module):
        stage, block, layer = found.groups()
        return f'stage{stage}_block{int(block) + 1}/{_LAYERS[layer]}'
    return _AROUND[module]


def keras(module: str) -> str:
    """'conv2_block1_1_conv' -> 'stage1_block1/conv1'; layer 0 is the shortcut"""
    if found := re.fullmatch(r'conv(\d)_block(\d+)_(\d)_(conv|bn)', module):
        stage, block, layer, kind = found.groups()
        kind = {'conv': 'conv', 'bn': 'norm'}[kind]
        name = f'shortcut_{kind}' if layer == '0' else kind + layer
        return f'stage{int(stage) - 1}_block{block}/{name}'
    return _KERAS_AROUND[module]


def from_keras(tensors: convert.Tensors) -> convert.Leaves:
    leaves = convert.without_bias(convert.from_keras(tensors, keras))
    return convert.from_bgr(_of_our_epsilon(leaves), 'stem_conv/kernel')


def _of_our_epsilon(leaves: convert.Leaves) -> convert.Leaves:
    """Keras' batch norm adds 1.001e-5 to the variance, ours 1e-5."""
    return {
        name: leaf + leaf.dtype.type(1e-8) if name.endswith('/var') else leaf
        for name, leaf in leaves.items()
    }


FORMATS = (
    Format(
        'torchvision or timm',
        'layer1.0.conv1.weight',
        lambda tensors: convert.from_torch(tensors, torchvision),
        'torchvision',
        lambda leaves: {'version': 'v1.5'},
    ),
    Format(
        'Keras',
        'conv1_conv/kernel',
        from_keras,
        'keras_caffe',
        lambda leaves: {'version': 'v1'},
    ),
)
