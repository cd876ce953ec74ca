"""Figures of generated images."""

from collections.abc import Sequence

import numpy as np

from jaxvision.core.task import Pictures, ReadExample
from jaxvision.core.types import Records
from jaxvision.metrics import generative
from jaxvision.tasks.gan.metrics import CLASSIFIER
from jaxvision.tasks.gan.samples import WALK_STEPS
from jaxvision.viz import figures

# Images with a smaller side, in pixels, are enlarged.
SMALLEST = 96
# Number of samples that are drawn beside training images.
COMPARED = 12


def draw(
    records: Records,
    example: ReadExample,
    *,
    samples: int,
    class_names: Sequence[str],
) -> Pictures:
    """Draw generated images, interpolations between latents, and the nearest training images.

    Args:
        records: records of an evaluation, ordered by row: 'sample' and 'train_image' (uint8
            images), and the features 'fake_cnn' and 'trained_cnn'.
        example: not used, because the records hold the images.
        samples: number of records before the interpolations.
        class_names: names of the classes, in the order of the labels; empty without classes.

    Returns:
        'samples': up to 10 rows of generated images, one class per column. With more than 20
            classes, or fewer than 2, there are 10 columns.
        'walks': interpolations, one per row.
        'nearest': 12 generated images, each above the training image with the nearest features.
            Only the training images in the records are compared, not the whole split.
    """
    images = records['sample']
    columns = 10
    if 1 < len(class_names) <= 20:
        columns = len(class_names)
    rows = np.linspace(0, samples - 1, COMPARED).astype(int)
    nearest = generative.nearest(
        records[f'fake{CLASSIFIER}'][rows], records[f'trained{CLASSIFIER}'][:samples]
    )
    pairs = [*images[rows], *records['train_image'][nearest]]
    shown = list(images[: min(samples, 10 * columns)])
    walks = list(images[samples:])
    times = max(1, SMALLEST // images.shape[1])
    return {
        'samples': figures.grid(shown, columns, times),
        'walks': figures.grid(walks, WALK_STEPS, times),
        'nearest': figures.grid(pairs, COMPARED, times),
    }
