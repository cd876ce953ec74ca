"""Formats of MobileNetV2 by torchvision, timm and Keras applications."""

import re

from jaxvision.pretrained.convert import Format, Leaves, Tensors
from jaxvision.pretrained.families.inverted_residual import (
    OPTIONS,
    TIMM,
    TIMM_AROUND,
    Around,
    Parts,
    keras_converter,
    torch_converter,
)

_TORCHVISION = Parts(
    expanding={
        'conv.0.0': 'expand_conv',
        'conv.0.1': 'expand_norm',
        'conv.1.0': 'depthwise_conv',
        'conv.1.1': 'depthwise_norm',
        'conv.2': 'project_conv',
        'conv.3': 'project_norm',
    },
    plain={
        'conv.0.0': 'depthwise_conv',
        'conv.0.1': 'depthwise_norm',
        'conv.1': 'project_conv',
        'conv.2': 'project_norm',
    },
)
_KERAS = {
    '_expand': 'expand_conv',
    '_expand_BN': 'expand_norm',
    '_depthwise': 'depthwise_conv',
    '_depthwise_BN': 'depthwise_norm',
    '_project': 'project_conv',
    '_project_BN': 'project_norm',
}
_from_modern_keras = keras_converter(
    r'(?:expanded_conv|block_(\d+))(?=_)',
    Parts(_KERAS, _KERAS),
    Around('Conv1', 'bn_Conv1', 'Conv_1', 'Conv_1_bn', 'predictions', 'Logits'),
)


def from_keras(tensors: Tensors) -> Leaves:
    """Convert Keras tensors with names of today or of 2018.

    The published files have the old names: 'mobl3_conv_3_expand' for 'block_3_expand',
    'bn3_conv_3_bn_expand' for 'block_3_expand_BN', and 'Logits' for 'predictions'.

    Args:
        tensors: {'LAYER/WEIGHT': array}.

    Returns:
        {parameter path: array} of our MobileNetV2. An unknown tensor keeps its name.
    """

    def modern(match: re.Match) -> str:
        end = '_BN' if match[1] == 'bn' else ''
        return f'block_{match[2]}_{match[3]}{end}'

    old = re.compile(r'^(mobl|bn)(\d+)_conv_\d+_(?:bn_)?([a-z]+)(?=/)')
    renamed = {old.sub(modern, name): tensor for name, tensor in tensors.items()}
    return _from_modern_keras(renamed)


FORMATS = (
    Format(
        publisher='torchvision',
        marker='features.1.conv.0.0.weight',
        convert=torch_converter(
            r'features\.(\d+)\.(?=conv)',
            _TORCHVISION,
            Around(
                'features.0.0',
                'features.0.1',
                'features.18.0',
                'features.18.1',
                'classifier.1',
            ),
        ),
        recipe='torchvision',
        options=OPTIONS['torch'],
    ),
    Format(
        publisher='timm',
        marker='blocks.0.0.conv_dw.weight',
        convert=torch_converter(r'blocks\.(\d)\.(\d+)\.', TIMM, TIMM_AROUND),
        recipe='efficientnet_224',
        options=OPTIONS['torch'],
    ),
    Format(
        publisher='Keras',
        marker='bn_Conv1/gamma',
        convert=from_keras,
        recipe='keras_tf',
        options=OPTIONS['tensorflow'],
    ),
)
