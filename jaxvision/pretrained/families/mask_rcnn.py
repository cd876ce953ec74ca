"""Formats of torchvision's Mask R-CNN: maskrcnn_resnet50_fpn.

Published files have older names than torchvision's model, 'mask_head.mask_fcn1.weight' for
'mask_head.0.0.weight'. Both are read.
"""

import re

from jaxvision.pretrained.convert import Leaves, Tensors
from jaxvision.pretrained.families import faster_rcnn

_MODULES = {
    'roi_heads.mask_predictor.conv5_mask': 'third/enlarge',
    'roi_heads.mask_predictor.mask_fcn_logits': 'third/masks',
}
_ENLARGE = 'third/enlarge/kernel'


def _module(module: str) -> str:
    old = re.fullmatch(r'roi_heads\.mask_head\.mask_fcn(\d+)', module)
    if old:
        return f'third/conv{old[1]}'
    new = re.fullmatch(r'roi_heads\.mask_head\.(\d+)\.0', module)
    if new:
        return f'third/conv{int(new[1]) + 1}'
    return _MODULES.get(module) or faster_rcnn.torch_module(module)


def from_torch(tensors: Tensors) -> Leaves:
    """Convert tensors of torchvision to leaves of our Mask R-CNN.

    The deltas change from (x, y) to (y, x). An unknown tensor keeps its name.

    Raises:
        KeyError: A tensor of the heads is missing.
    """
    leaves = faster_rcnn.from_torch(tensors, _module)
    # A transposed convolution has its inputs first, and Flax mirrors its window.
    kernel = leaves[_ENLARGE].swapaxes(-1, -2)
    leaves[_ENLARGE] = kernel[::-1, ::-1]
    return leaves


_TRAINED, _FROZEN = (
    format._replace(convert=from_torch, task={**format.task, 'paste': 'torchvision'})
    for format in faster_rcnn.FORMATS
)
FORMATS = (
    _TRAINED,
    _FROZEN._replace(marker='roi_heads.mask_predictor.mask_fcn_logits.weight'),
)
