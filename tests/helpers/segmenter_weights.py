"""Random weights of segmenters by their PyTorch names, and pictures for them.

Both sides draw the weights anew (tests/bench/segmenter_references.py in PyTorch, the tests here),
so that only logits are stored.
"""

import numpy as np

from helpers.reference_weights import draw

# Heights and widths of the pictures: unequal, and no multiples of a stride.
SIZES = ((67, 98), (90, 45))


def drawn(shapes, factors):
    """Random tensors of these shapes, without counters.

    The branches of a block add little, as in trained networks: large ones amplify
    rounding. `factors` scale the last layers, {name of the module: factor}.
    """
    tensors = {}
    for name, shape in shapes.items():
        module, _, parameter = name.rpartition('.')
        if parameter == 'num_batches_tracked':
            continue
        tensor = draw(name, tuple(shape)).astype(np.float32)
        if module.endswith(('bn3', 'o_proj', 'mlp.fc2')):
            tensor = tensor * np.float32(0.3)
        tensors[name] = tensor * np.float32(factors.get(module, 1))
    return tensors


def picture(number):
    """A normalised picture [H, W, 3] of coloured tiles with noise."""
    rng = np.random.default_rng(number)
    height, width = SIZES[number]
    tiles = rng.normal(size=(height // 8 + 1, width // 8 + 1, 3))
    pixels = tiles.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    return (pixels + 0.3 * rng.normal(size=pixels.shape)).astype(np.float32)
