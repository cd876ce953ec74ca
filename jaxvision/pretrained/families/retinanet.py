"""Formats of torchvision's RetinaNet: retinanet_resnet50_fpn and its v2.

The files of the first one have older names than those of the second,
'head.classification_head.conv.2.weight' for 'head.classification_head.conv.1.0.weight'. Both are
read.
"""

import re

import numpy as np

from jaxvision.pretrained import convert
from jaxvision.pretrained.convert import Format, Leaves, OutputClasses, Tensors
from jaxvision.pretrained.families import torchvision_detectors as detectors

_BRANCHES = {'classification_head': 'class', 'regression_head': 'box'}
_OUTPUTS = {
    'head.classification_head.cls_logits': 'head/scores',
    'head.regression_head.bbox_reg': 'head/deltas',
}
_ANCHORS = 9  # of a cell


def _module(module: str) -> str:
    if module.startswith('backbone.'):
        return detectors.features_module(module)
    match = re.fullmatch(r'head\.(\w+_head)\.conv\.(\d)(?:\.([01]))?', module)
    if not match:
        return _OUTPUTS[module]
    head, layer, part = match.groups()
    # Older names count the ReLU after each convolution too.
    number = int(layer) + 1 if part else int(layer) // 2 + 1
    kind = 'norm' if part == '1' else 'conv'
    return f'head/{_BRANCHES[head]}_{kind}{number}'


def from_torch(tensors: Tensors) -> Leaves:
    """Convert tensors of torchvision to leaves of our RetinaNet.

    The deltas change from (x, y) to (y, x). An unknown tensor keeps its name.

    Raises:
        KeyError: A tensor of the outputs is missing.
    """
    leaves = convert.from_torch(tensors, _module)
    for name in ('head/scores/kernel', 'head/scores/bias'):
        leaves[name] = _by_anchor(leaves[name])
    for name in ('head/deltas/kernel', 'head/deltas/bias'):
        leaves[name] = _by_anchor(detectors.swapped(leaves[name]))
    return leaves


def _by_anchor(leaf: np.ndarray) -> np.ndarray:
    """Give the anchors of a cell an axis of their own."""
    return leaf.reshape(*leaf.shape[:-1], _ANCHORS, -1)


def _trained_norm_options(leaves: Leaves) -> dict:
    """Options of a model that was trained with batch norm, which the v2 has anyway."""
    if 'head/class_norm1/scale' in leaves:
        return {}
    return {'backbone': detectors.TRAINED_NORM_OPTIONS}


def _classes(leaves: Leaves) -> OutputClasses:
    """Name the outputs. The first one would be the background, and is never an answer."""
    return detectors.classes(leaves['head/scores/bias'].shape[-1])


_PREDICTION = {**detectors.PREDICTION, 'most_detections': 300}

FORMATS = (
    Format(
        publisher='torchvision, trained batch norm',
        marker=detectors.TRAINED_NORM,
        convert=from_torch,
        recipe=detectors.RECIPE,
        options=_trained_norm_options,
        classes=_classes,
        task=_PREDICTION,
    ),
    Format(
        publisher='torchvision',
        marker='head.classification_head.cls_logits.weight',
        convert=from_torch,
        recipe=detectors.RECIPE,
        classes=_classes,
        task=_PREDICTION,
    ),
)
