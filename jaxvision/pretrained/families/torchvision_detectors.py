"""The common parts of the formats of torchvision's detectors.

torchvision's boxes are [xmin, ymin, xmax, ymax], so that the two deltas of a pair change places.
Its outputs for COCO are the numbers of the categories, 0 (background) to 90. Eleven of them stand
for no class.
"""

import re

import numpy as np

from jaxvision.pretrained import coco_classes
from jaxvision.pretrained.convert import OutputClasses
from jaxvision.pretrained.families import resnet

# (dx, dy, dw, dh) to (dy, dx, dh, dw).
_SWAPPED = [1, 0, 3, 2]
_COCO_OUTPUTS = 91
_BLOCKS = {'inner_blocks': 'lateral', 'layer_blocks': 'output'}
_EXTRA = {'p6': 'extra1', 'p7': 'extra2'}
# The convolution and the norm of a block.
_PARTS = {None: '', '0': '', '1': '_norm'}

# torchvision's own settings of prediction.
PREDICTION = {'nms_iou': 0.5, 'least_score': 0.05}
RECIPE = 'torchvision_detection'
# Only batch norm that is trained counts its batches.
TRAINED_NORM = 'backbone.body.bn1.num_batches_tracked'
# Options of a backbone with such batch norm.
TRAINED_NORM_OPTIONS = {'norm': 'batch', 'epsilon': 1e-5}


def features_module(module: str) -> str:
    """Rename a module of 'backbone.': that of the ResNet or of the pyramid.

    Raises:
        KeyError: There is no such module.
    """
    if module.startswith('backbone.body.'):
        name = resnet.torch_module(module.removeprefix('backbone.body.'))
        return f'features/backbone/{name}'
    match = re.fullmatch(r'backbone\.fpn\.extra_blocks\.(p[67])', module)
    if match:
        return f'features/pyramid/{_EXTRA[match[1]]}'
    # Files before torchvision 0.13 have no number of the layer in its block.
    match = re.fullmatch(r'backbone\.fpn\.(\w+_blocks)\.(\d+)(?:\.([01]))?', module)
    if not match:
        raise KeyError(module)
    blocks, number, part = match.groups()
    level = int(number) + 1
    return f'features/pyramid/{_BLOCKS[blocks]}{level}{_PARTS[part]}'


def swapped(leaf: np.ndarray) -> np.ndarray:
    """Exchange x and y in the last axis, whose numbers are groups of four deltas."""
    groups = leaf.reshape(*leaf.shape[:-1], -1, 4)
    return groups[..., _SWAPPED].reshape(leaf.shape)


def classes(outputs: int) -> OutputClasses:
    """Name the outputs of a detector.

    Args:
        outputs: their number, with the background, which is the first one.

    Returns:
        The classes of COCO if there are 91 outputs, otherwise 'class 1', 'class 2', ...
        The name is '' for the background and for numbers without a class. The numbers
        are those of the outputs, from 0.
    """
    names = [f'class {number}' for number in range(1, outputs)]
    if outputs == _COCO_OUTPUTS:
        names = [''] * (outputs - 1)
        for category in coco_classes.categories():
            names[category.number - 1] = category.name
    return OutputClasses(('', *names), tuple(range(outputs)))
