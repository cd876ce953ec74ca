"""Random weights of an RT-DETR, pictures for it, and outputs whose loss is compared.

Both sides draw the weights anew (tests/bench/rt_detr_reference.py in PyTorch, the tests here), so
that only the last layers and the detections are stored.
"""

import json
import re
from pathlib import Path

import numpy as np

from helpers.reference_weights import draw
from helpers.yolox_weights import SHAPES, differences, rows_of

__all__ = ['DATA', 'SHAPES', 'SIDE', 'differences', 'picture', 'rows_of']

DATA = Path(__file__).parents[1] / 'pretrained' / 'data' / 'rt_detr.npz'
SIDE = 96  # of the narrow network's images
CLASSES = 10  # of the batch whose loss is compared
# What a trained branch adds is small. Large branches amplify rounding, those of the boxes and of
# the points that a query attends to most of all.
BRANCH_SCALE = np.float32(0.3)
_NORM_OF_BRANCH = re.compile(r'(.+\.layer\.)(\d)\.normalization\.(weight|bias)')
_END_OF_BRANCH = re.compile(
    r'.+\.(bottlenecks\.\d\.conv\d\.norm'
    r'|encoder_attn\.(output_proj|sampling_offsets)'
    r'|(bbox_embed\.\d|enc_bbox_head)\.layers\.2)\.(weight|bias)'
)


def drawn(shapes):
    """Random tensors by their PyTorch names, without counters and constants.

    The last layer of these branches is scaled by `BRANCH_SCALE`: residual blocks, the two
    convolutions of RepVGG, deformable attention with its offsets, and the layers of boxes.
    """
    tensors = {}
    for name, shape in shapes.items():
        if name.endswith(('num_batches_tracked', 'n_points_scale')):
            continue
        tensor = draw(name, tuple(shape)).astype(np.float32)
        if _ends_branch(name, shapes):
            tensor = BRANCH_SCALE * tensor
        tensors[name] = tensor
    return tensors


def _ends_branch(name, shapes):
    """Whether a tensor is of the last layer of a branch."""
    match = _NORM_OF_BRANCH.fullmatch(name)
    if not match:
        return bool(_END_OF_BRANCH.fullmatch(name))
    branch, number, part = match.groups()
    following = f'{branch}{int(number) + 1}.normalization.{part}'
    return following not in shapes


def narrow():
    """The narrow network's tensors, and the detections of each picture."""
    stored = dict(np.load(DATA))
    tensors = drawn(json.loads(stored.pop('names').tobytes()))
    stored.pop('losses')
    detections = [stored.pop(f'detections{number}') for number in range(len(SHAPES))]
    return {**tensors, **stored}, detections


def picture(number, side):
    """A picture [H, W, 3] of coloured tiles with noise."""
    rng = np.random.default_rng(number)
    height, width = (int(side * fraction) for fraction in SHAPES[number])
    tile = max(side // 12, 1)
    tiles = rng.integers(0, 200, (height // tile + 1, width // tile + 1, 3))
    pixels = tiles.repeat(tile, axis=0).repeat(tile, axis=1)[:height, :width]
    noise = rng.integers(0, 56, pixels.shape)
    return (pixels + noise).astype(np.uint8)


def training_batch():
    """Outputs of a network and ground truth, to compare the loss.

    Returns:
        (logits [3, 2, 30, CLASSES] of two layers; boxes [3, 2, 30, 4]: x, y, width and height,
        fractions; truth [3, 8, 5]: class, x, y, width and height, zeros for padding).
    """
    rng = np.random.default_rng(7)
    logits = 2 * rng.normal(size=(3, 2, 30, CLASSES)) - 2
    centers = rng.uniform(0.1, 0.9, (3, 2, 30, 2))
    boxes = np.concatenate([centers, rng.uniform(0.05, 0.5, centers.shape)], axis=-1)
    truth = np.zeros((3, 8, 5))
    for image, objects in enumerate((8, 3, 1)):
        rows = [rng.integers(0, CLASSES, (objects, 1))]
        rows += [
            rng.uniform(0.2, 0.8, (objects, 2)),
            rng.uniform(0.1, 0.4, (objects, 2)),
        ]
        truth[image, :objects] = np.concatenate(rows, axis=1)
    return tuple(array.astype(np.float32) for array in (logits, boxes, truth))
