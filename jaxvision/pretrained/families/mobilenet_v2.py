"""MobileNetV2 as torchvision, timm and Keras applications publish it."""

import re

from jaxvision.pretrained.convert import Format, Leaves, Tensors
from jaxvision.pretrained.families.inverted_residual import (
    OPTIONS,
    TIMM,
    TIMM_AROUND,
    keras,
    torch,
)

_TORCHVISION = (
    {
        'conv.0.0': 'expand_conv',
        'conv.0.1': 'expand_norm',
        'conv.1.0': 'depthwise_conv',
        'conv.1.1': 'depthwise_norm',
        'conv.2': 'project_conv',
        'conv.3': 'project_norm',
    },
    {
        'conv.0.0': 'depthwise_conv',
        'conv.0.1': 'depthwise_norm',
        'conv.1': 'project_conv',
        'conv.2': 'project_norm',
    },
)
_KERAS = (
    {
        '_expand': 'expand_conv',
        '_expand_BN': 'expand_norm',
        '_depthwise': 'depthwise_conv',
        '_depthwise_BN': 'depthwise_norm',
        '_project': 'project_conv',
        '_project_BN': 'project_norm',
    },
) * 2


def from_keras(tensors: Tensors) -> Leaves:
    """The published files have kept the names of 2018: 'mobl3_conv_3_expand' for 'block_3_expand',
    'bn3_conv_3_bn_expand' for 'block_3_expand_BN', and 'Logits' for 'predictions'."""

    def now(old: re.Match) -> str:
        return f'block_{old[2]}_{old[3]}' + ('_BN' if old[1] == 'bn' else '')

    named = {
        re.sub(r'^(mobl|bn)(\d+)_conv_\d+_(?:bn_)?([a-z]+)(?=/)', now, name): tensor
        for name, tensor in tensors.items()
    }
    return keras(
        r'(?:expanded_conv|block_(\d+))(?=_)',
        _KERAS,
        'Conv1',
        'bn_Conv1',
        'Conv_1',
        'Conv_1_bn',
        'predictions',
        'Logits',
    )(named)


FORMATS = (
    Format(
        'torchvision',
        'features.1.conv.0.0.weight',
        torch(
            r'features\.(\d+)\.(?=conv)',
            _TORCHVISION,
            'features.0.0',
            'features.0.1',
            'features.18.0',
            'features.18.1',
            'classifier.1',
        ),
        'torchvision',
        OPTIONS['torch'],
    ),
    Format(
        'timm',
        'blocks.0.0.conv_dw.weight',
        torch(r'blocks\.(\d)\.(\d+)\.', TIMM, *TIMM_AROUND),
        'efficientnet_224',
        OPTIONS['torch'],
    ),
    Format('Keras', 'bn_Conv1/gamma', from_keras, 'keras_tf', OPTIONS['tensorflow']),
)
