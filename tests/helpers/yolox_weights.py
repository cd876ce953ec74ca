"""Random weights of a YOLOX, pictures for it, and the comparison of its detections.

Both sides draw the weights anew (tests/bench/yolox_reference.py in PyTorch, the tests here), so
that only the last layers and the detections are stored.
"""

import json
from pathlib import Path

import numpy as np

from helpers.reference_weights import draw

DATA = Path(__file__).parents[1] / 'pretrained' / 'data' / 'yolox.npz'
CLASSES = 10  # of the batch whose loss is compared
TRAINING_SIZE = (96, 128)  # height and width of its images
# (height, width) of each picture, as fractions of the side of the network's images
SHAPES = ((0.6, 1.0), (1.3, 0.8), (0.45, 0.5), (1.0, 1.0), (0.7, 1.9))


def drawn(shapes):
    """Random tensors by their PyTorch names; the stem takes pixels of 0 to 255."""
    tensors = {}
    for name, shape in shapes.items():
        if name.endswith('num_batches_tracked'):
            continue
        tensor = draw(name, tuple(shape)).astype(np.float32)
        if name == 'backbone.backbone.stem.conv.conv.weight':
            tensor = tensor / 128
        tensors[name] = tensor
    return tensors


def narrow():
    """The narrow network's tensors, the seeds of the pictures, and their detections."""
    stored = dict(np.load(DATA))
    tensors = drawn(json.loads(stored.pop('names').tobytes()))
    seeds = stored.pop('seeds').tolist()
    stored.pop('losses')
    detections = [stored.pop(f'detections{number}') for number in range(len(SHAPES))]
    return {**tensors, **stored}, seeds, detections


def picture(number, seed, side):
    """A picture [H, W, 3] of coloured tiles with noise, in BGR."""
    rng = np.random.default_rng(seed)
    height, width = (int(side * fraction) for fraction in SHAPES[number])
    tile = max(side // 12, 1)
    rows, columns = height // tile + 1, width // tile + 1
    tiles = rng.integers(0, 200, (rows, columns, 3))
    pixels = tiles.repeat(tile, axis=0).repeat(tile, axis=1)[:height, :width]
    noise = rng.integers(0, 56, pixels.shape)
    return (pixels + noise).astype(np.uint8)


def training_batch():
    """Raw outputs of a network and ground truth, to compare the loss.

    Returns:
        (outputs [3, N, 5 + CLASSES]: y, x, height, width, objectness and classes of each cell;
        truth [3, 8, 5]: class, x and y of the centre, width and height, zeros for padding).
    """
    rng = np.random.default_rng(7)
    height, width = TRAINING_SIZE
    cells = sum(height // stride * (width // stride) for stride in (8, 16, 32))
    outputs = rng.normal(size=(3, cells, 5 + CLASSES))
    outputs[..., 2:4] = 0.7 + 0.5 * outputs[..., 2:4]
    outputs[..., 4:] = 2 * outputs[..., 4:] - 2
    truth = np.zeros((3, 8, 5))
    for image, objects in enumerate((8, 3, 1)):
        side = rng.uniform(10, 60, (objects, 2))
        center = rng.uniform(0.1, 0.9, (objects, 2)) * (width, height)
        classes = rng.integers(0, CLASSES, (objects, 1))
        truth[image, :objects] = np.concatenate([classes, center, side], axis=1)
    return outputs.astype(np.float32), truth.astype(np.float32)


def rows_of(answer):
    """Rows of xmin, ymin, xmax, ymax, score and class of an answer of `jaxvision predict`."""
    from jaxvision.pretrained import coco_classes

    classes = [category.name for category in coco_classes.categories()]
    rows = []
    for detection in answer:
        x, y, width, height = detection['bbox']
        number = classes.index(detection['class'])
        rows.append([x, y, x + width, y + height, detection['score'], number])
    return np.array(rows).reshape(-1, 6)


def differences(found, expected):
    """The largest differences of detections, matched as sets within each class.

    Args:
        found: rows of xmin, ymin, xmax, ymax, score and class.
        expected: likewise.

    Returns:
        {'detections': their number, 'unmatched': detections without a counterpart, 'box': pixels,
        'score': of the counterparts}.
    """
    free = set(range(len(found)))
    worst_box = worst_score = 0.0
    unmatched = 0
    for row in expected:
        distance = np.abs(found[:, :4] - row[:4]).max(axis=1)
        of_class = [i for i in free if found[i, 5] == row[5]]
        if not of_class:
            unmatched += 1
            continue
        best = min(of_class, key=lambda i: distance[i])
        free.remove(best)
        worst_box = max(worst_box, float(distance[best]))
        worst_score = max(worst_score, float(abs(found[best, 4] - row[4])))
    return {
        'detections': len(expected),
        'unmatched': unmatched + len(free),
        'box': worst_box,
        'score': worst_score,
    }
