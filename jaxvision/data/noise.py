"""Noise in the shapes of a dataset, for measuring speed where the dataset is missing."""

import numpy as np

from jaxvision.core import keys
from jaxvision.core.types import Example
from jaxvision.data.protocol import (
    Labels,
    RowSource,
    SourceInfo,
)


class Noise(RowSource):
    """Square RGB images of uniform noise, uint8, with random labels.

    The row decides both. The images are not black, because a GPU multiplies zeros with
    less power and thus faster.
    """

    def __init__(self, size: int, classes: int, examples: int):
        """Describe the noise.

        Args:
            size: side of the images in pixels.
            classes: number of classes.
            examples: number of examples.
        """
        self._examples = examples
        self.info = SourceInfo(
            name='noise',
            split='train',
            class_names=tuple(map(str, range(classes))),
            image_shape=(size, size, 3),
            multi_label=False,
            fingerprint='',
        )

    def __len__(self) -> int:
        return self._examples

    def __getitem__(self, row: int) -> Example:
        rng = keys.host(0, 'noise', row)
        return {
            'image': rng.integers(0, 256, self.info.image_shape, np.uint8),
            'label': np.int32(rng.integers(len(self.info.class_names))),
        }

    def labels(self) -> Labels:
        """The label of every row. Each call generates the images, too."""
        labels = [self[row]['label'] for row in range(len(self))]
        return np.array(labels, np.int32)
