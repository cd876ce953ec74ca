"""Random weights of a YOLOX, pictures for it, and the comparison of its detections.

Both sides draw the weights anew (tests/bench/yolox_reference.py in PyTorch, the tests here), so
that only the last layers and the detections are stored.
"""

import json
from pathlib import Path

import numpy as np

from helpers.reference_weights import draw

DATA = Path(__file__).parents[1] / 'cli' / 'predict' / 'yolox.npz'
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


def differences(answer, expected):
    """The largest differences of detections, matched as sets.

    Args:
        answer: detections in COCO's form, with an index of the class as 'number'.
        expected: rows of xmin, ymin, xmax, ymax, score and class.

    Returns:
        {'detections': their number, 'unmatched': detections without a counterpart of the same
        class, 'box': pixels, 'score': of the counterparts}.
    """
    edges = np.array([row['bbox'] for row in answer]).reshape(-1, 4)
    edges[:, 2:] += edges[:, :2]
    scores = np.array([row['score'] for row in answer])
    names = [row['class'] for row in answer]
    free = set(range(len(answer)))
    worst_box = worst_score = 0.0
    unmatched = 0
    for row in expected:
        distance = np.abs(edges - row[:4]).max(axis=1)
        same = [i for i in free if names[i] == CLASSES[int(row[5])]]
        if not same:
            unmatched += 1
            continue
        best = min(same, key=lambda i: distance[i])
        free.remove(best)
        worst_box = max(worst_box, float(distance[best]))
        worst_score = max(worst_score, float(abs(scores[best] - row[4])))
    return {
        'detections': len(expected),
        'unmatched': unmatched + len(free),
        'box': worst_box,
        'score': worst_score,
    }
