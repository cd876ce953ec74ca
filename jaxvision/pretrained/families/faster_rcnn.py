"""Formats of torchvision's Faster R-CNN: fasterrcnn_resnet50_fpn and its v2.

The files of the first one have older names than those of the second, 'rpn.head.conv.weight' for
'rpn.head.conv.0.0.weight'. Both are read.
"""

import math
import re

from jaxvision.pretrained import convert
from jaxvision.pretrained.convert import (
    Format,
    Leaves,
    ModuleNames,
    OutputClasses,
    Tensors,
)
from jaxvision.pretrained.families import torchvision_detectors as detectors

_MODULES = {
    'rpn.head.conv': 'first/conv',
    'rpn.head.conv.0.0': 'first/conv',
    'rpn.head.conv.1.0': 'first/conv2',
    'rpn.head.cls_logits': 'first/objectness',
    'rpn.head.bbox_pred': 'first/deltas',
    'roi_heads.box_head.fc6': 'second/dense1',
    'roi_heads.box_head.fc7': 'second/dense2',
    # After four convolutions and one layer that flattens.
    'roi_heads.box_head.5': 'second/dense1',
    'roi_heads.box_predictor.cls_score': 'second/scores',
    'roi_heads.box_predictor.bbox_pred': 'second/deltas',
}
_DELTAS = ('first/deltas/kernel', 'first/deltas/bias')


def torch_module(module: str) -> str:
    """Rename a module of torchvision.

    Raises:
        KeyError: There is no such module.
    """
    if module.startswith('backbone.'):
        return detectors.features_module(module)
    match = re.fullmatch(r'roi_heads\.box_head\.(\d)\.([01])', module)
    if match:
        layer, part = match.groups()
        name = f'second/conv{int(layer) + 1}'
        return f'{name}_norm' if part == '1' else name
    return _MODULES[module]


def from_torch(tensors: Tensors, modules: ModuleNames = torch_module) -> Leaves:
    """Convert tensors of torchvision to leaves of our Faster R-CNN.

    The deltas change from (x, y) to (y, x). An unknown tensor keeps its name.

    Args:
        tensors: {name: tensor} of a PyTorch state dict.
        modules: renames a module, or raises KeyError.

    Raises:
        KeyError: A tensor of the heads is missing.
    """
    leaves = convert.from_torch(tensors, modules)
    for name in _DELTAS:
        leaves[name] = detectors.swapped(leaves[name])
    for name in ('second/deltas/kernel', 'second/deltas/bias'):
        leaf = detectors.swapped(leaves[name])
        leaves[name] = leaf.reshape(*leaf.shape[:-1], -1, 4)
    kernel = leaves['second/dense1/kernel']
    channels = leaves['first/conv/bias'].shape[0]
    side = math.isqrt(len(kernel) // channels)
    # torchvision flattens channels first.
    cells = kernel.reshape(channels, side, side, -1).transpose(1, 2, 0, 3)
    leaves['second/dense1/kernel'] = cells.reshape(kernel.shape)
    return leaves


def _trained_norm_options(leaves: Leaves) -> dict:
    """Options of a model that was trained with batch norm, which the v2 has anyway."""
    if 'second/conv1/kernel' in leaves:
        return {}
    return {'backbone': detectors.TRAINED_NORM_OPTIONS}


def _classes(leaves: Leaves) -> OutputClasses:
    outputs = detectors.classes(len(leaves['second/scores/bias']))
    # The background is no class of our model.
    return OutputClasses(outputs.names[1:], outputs.numbers[1:])


FORMATS = (
    Format(
        publisher='torchvision, trained batch norm',
        marker=detectors.TRAINED_NORM,
        convert=from_torch,
        recipe=detectors.RECIPE,
        options=_trained_norm_options,
        classes=_classes,
        task=detectors.PREDICTION,
    ),
    Format(
        publisher='torchvision',
        marker='roi_heads.box_predictor.cls_score.weight',
        convert=from_torch,
        recipe=detectors.RECIPE,
        classes=_classes,
        task=detectors.PREDICTION,
    ),
)
