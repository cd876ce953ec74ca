"""Pictures of generated images."""

from collections.abc import Callable, Sequence

import numpy as np

from jaxvision.core.task import (
    Pictures,
)
from jaxvision.core.types import Example, Records
from jaxvision.metrics import generative
from jaxvision.tasks.gan.metrics import CLASSIFIER
from jaxvision.tasks.gan.samples import WALK_STEPS
from jaxvision.viz import figures

SMALLEST = 96  # pixels: smaller images are drawn larger
COMPARED = 12  # samples that are drawn beside training images


def draw(
    records: Records,
    example: Callable[[int], Example],
    *,
    samples: int,
    class_names: Sequence[str],
) -> Pictures:
    """Draw generated images, interpolations, and the nearest training images.

    Args:
        records: records of an evaluation, with features and images.
        example: not used, since the records hold the images.
        samples: number of records before the interpolations.
        class_names: names of the classes, in the order of the labels; empty without classes.

    Returns:
        'samples' with a class in each column, 'walks' with an interpolation in each line,
        and 'nearest': samples above the training images of the nearest features.
    """
    images = records['sample']
    columns = len(class_names) if 1 < len(class_names) <= 20 else 10
    rows = np.linspace(0, samples - 1, COMPARED).astype(int)
    nearest = generative.nearest(
        records[f'fake{CLASSIFIER}'][rows], records[f'trained{CLASSIFIER}'][:samples]
    )
    pairs = [*images[rows], *records['train_image'][nearest]]
    times = max(1, SMALLEST // images.shape[1])
    return {
        'samples': figures.grid(
            list(images[: min(samples, 10 * columns)]), columns, times
        ),
        'walks': figures.grid(list(images[samples:]), WALK_STEPS, times),
        'nearest': figures.grid(pairs, COMPARED, times),
    }
