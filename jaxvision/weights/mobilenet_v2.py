"""MobileNetV2 as torchvision, timm and Keras applications publish it."""

from jaxvision.weights.convert import Format
from jaxvision.weights.inverted_residual import OPTIONS, TIMM, TIMM_AROUND, keras, torch

_TORCHVISION = (
    {'conv.0.0': 'expand_conv', 'conv.0.1': 'expand_norm', 'conv.1.0': 'depthwise_conv',
     'conv.1.1': 'depthwise_norm', 'conv.2': 'project_conv', 'conv.3': 'project_norm'},
    {'conv.0.0': 'depthwise_conv', 'conv.0.1': 'depthwise_norm', 'conv.1': 'project_conv',
     'conv.2': 'project_norm'})
_KERAS = ({
    '_expand': 'expand_conv', '_expand_BN': 'expand_norm', '_depthwise': 'depthwise_conv',
    '_depthwise_BN': 'depthwise_norm', '_project': 'project_conv', '_project_BN': 'project_norm'},) * 2

FORMATS = (
    Format('torchvision', 'features.1.conv.0.0.weight',
           torch(r'features\.(\d+)\.(?=conv)', _TORCHVISION, 'features.0.0', 'features.0.1',
                 'features.18.0', 'features.18.1', 'classifier.1'),
           'torchvision', OPTIONS['torch']),
    Format('timm', 'blocks.0.0.conv_dw.weight',
           torch(r'blocks\.(\d)\.(\d+)\.', TIMM, *TIMM_AROUND),
           'efficientnet', OPTIONS['torch']),
    Format('Keras', 'expanded_conv_depthwise/depthwise_kernel',
           keras(r'(?:expanded_conv|block_(\d+))(?=_)', _KERAS, 'Conv1', 'bn_Conv1', 'Conv_1',
                 'Conv_1_bn', 'predictions'),
           'keras_tf', OPTIONS['tensorflow']))
