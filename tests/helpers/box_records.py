"""Records of detections that were drawn at random."""

import numpy as np


def random_records(seed, images=6, most=4, detections=12):
    """Images with crowds, ties, empty images, far detections, and objects of all sizes."""
    rng = np.random.default_rng(seed)
    sizes = rng.choice([8.0, 50.0, 200.0], (images, most, 1))
    corners = rng.uniform(0, 300, (images, most, 2))
    truth = np.concatenate([corners, corners + sizes * rng.uniform(0.5, 1.5)], -1)
    source = rng.integers(0, most, (images, detections))
    moved = np.take_along_axis(truth, source[..., None], 1)
    moved = moved + rng.normal(0, 4, moved.shape)
    moved[..., 2:] = np.maximum(moved[..., 2:], moved[..., :2] + 1)
    classes = rng.integers(0, 3, (images, most)).astype(np.int32)
    guesses = np.take_along_axis(classes, source, 1)
    is_wrong = rng.uniform(size=guesses.shape) < 0.2
    mask = rng.uniform(size=(images, most)) < 0.8
    mask[0] = False
    return {
        'truth_boxes': truth.astype(np.float32),
        'truth_classes': classes,
        'truth_mask': mask,
        'crowd': rng.uniform(size=(images, most)) < 0.2,
        'area': (sizes[..., 0] ** 2 * 0.8).astype(np.float32),
        'boxes': moved.astype(np.float32),
        'scores': (rng.integers(1, 8, guesses.shape) / 8).astype(np.float32),  # ties
        'classes': np.where(is_wrong, (guesses + 1) % 3, guesses).astype(np.int32),
        'valid': rng.uniform(size=guesses.shape) < 0.9,
        'index': np.arange(images, dtype=np.int32),
    }
