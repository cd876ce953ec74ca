"""Records of detections that were drawn at random."""

import numpy as np


def random_records(seed, images=6, most=4, detections=12, classes=3):
    """Images with crowds, ties, empty images, far detections, and objects of all sizes."""
    rng = np.random.default_rng(seed)
    sizes = rng.choice([8.0, 50.0, 200.0], (images, most, 1))
    corners = rng.uniform(0, 300, (images, most, 2))
    truth = np.concatenate([corners, corners + sizes * rng.uniform(0.5, 1.5)], -1)
    source = rng.integers(0, most, (images, detections))
    moved = np.take_along_axis(truth, source[..., None], 1)
    moved = moved + rng.normal(0, 4, moved.shape)
    moved[..., 2:] = np.maximum(moved[..., 2:], moved[..., :2] + 1)
    numbers = rng.integers(0, classes, (images, most)).astype(np.int32)
    guesses = np.take_along_axis(numbers, source, 1)
    is_wrong = rng.uniform(size=guesses.shape) < 0.2
    mask = rng.uniform(size=(images, most)) < 0.8
    mask[0] = False
    return {
        'truth_boxes': truth.astype(np.float32),
        'truth_classes': numbers,
        'truth_mask': mask,
        'crowd': rng.uniform(size=(images, most)) < 0.2,
        'area': (sizes[..., 0] ** 2 * 0.8).astype(np.float32),
        'boxes': moved.astype(np.float32),
        'scores': (rng.integers(1, 8, guesses.shape) / 8).astype(np.float32),  # ties
        'classes': np.where(is_wrong, (guesses + 1) % classes, guesses).astype(
            np.int32
        ),
        'valid': rng.uniform(size=guesses.shape) < 0.9,
        'index': np.arange(images, dtype=np.int32),
    }


def random_dataset(seed):
    """Records as several hosts gather them, and the id of each class.

    Some classes have no objects, some have no detections, and the numbers of the images and of the
    categories have gaps. Every tenth dataset has 300 detections of an image. The images are in any
    order.

    Returns:
        (records, category ids in rising order).
    """
    rng = np.random.default_rng((seed, 1))
    images = int(rng.integers(2, 9))
    present = int(rng.integers(1, 6))
    records = random_records(
        seed,
        images,
        most=int(rng.integers(1, 8)),
        detections=300 if seed % 10 == 0 else int(rng.integers(1, 40)),
        classes=present,
    )
    total = present + int(rng.integers(0, 3))
    numbers = rng.permutation(total).astype(np.int32)[:present]
    records['truth_classes'] = numbers[records['truth_classes']]
    records['classes'] = numbers[records['classes']]
    if rng.uniform() < 0.3:
        records['valid'] &= records['classes'] != rng.choice(numbers)
    # pycocotools does not load an empty list of detections.
    records['valid'][-1, 0] = True
    records['index'] = np.sort(rng.choice(10_000, images, replace=False))
    order = rng.permutation(images)
    records = {name: values[order] for name, values in records.items()}
    category_ids = np.sort(rng.choice(np.arange(1, 1000), total, replace=False))
    return records, category_ids.tolist()
