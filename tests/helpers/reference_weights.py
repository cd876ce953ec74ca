"""Weights and pictures of the reference networks: a function of a tensor's PyTorch name and shape.

Both sides draw them anew (torch_references.py in PyTorch, test_references.py here), so that only
the outputs need storing.
"""

import zlib

import numpy as np


def draw(name, shape):
    """The tensor called `name`, in PyTorch's layout; scaled so that activations stay near 1."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    noise = rng.standard_normal(shape, np.float32)
    if name.endswith('running_var'):
        return 1 + 0.5 * np.tanh(noise)
    if name.endswith('weight') and len(shape) == 1:
        return 1 + 0.2 * noise
    if name.endswith('weight'):
        return noise * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    return 0.1 * noise


def pictures(size, channels=3):
    """Two pictures of normalised noise [2, size, size, channels]."""
    return draw(f'pictures {size}', (2, size, size, channels)) * 10


def photographs(size):
    """The middle of a cat and of a cup of coffee [2, size, size, 3], in [-1, 1]."""
    from skimage import data

    def middle(image):
        top, left = ((side - size) // 2 for side in image.shape[:2])
        return image[top : top + size, left : left + size]

    return (
        np.stack([middle(data.chelsea()), middle(data.coffee())]) / np.float32(127.5)
        - 1
    )


def excerpt(tensor):
    """What is stored of a tensor [B, ..., C]: its mean over all places and its middle place."""
    places = np.asarray(tensor, np.float32).reshape(len(tensor), -1, tensor.shape[-1])[
        ..., :32
    ]
    return np.stack([places.mean(1), places[:, places.shape[1] // 2]])
