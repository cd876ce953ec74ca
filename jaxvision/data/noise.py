"""In the place of a data set that is not here: its shapes, filled with noise."""

import numpy as np

from jaxvision.core import keys
from jaxvision.data.protocol import Example, Labels, Rows, SourceInfo


class Noise:
    """Square RGB images of uniform noise, each of a class at random, as functions of their row.

    Not black ones: a GPU multiplies zeros with less power and so faster.
    """

    def __init__(self, size: int, classes: int, examples: int):
        names = tuple(map(str, range(classes)))
        self.info = SourceInfo('noise', 'train', names, (size, size, 3), False, '')
        self._examples = examples

    def __len__(self) -> int:
        return self._examples

    def __getitem__(self, row: int) -> Example:
        rng = keys.host(0, 'noise', row)
        return {
            'image': rng.integers(0, 256, self.info.image_shape, np.uint8),
            'label': np.int32(rng.integers(len(self.info.class_names))),
        }

    def read(self, rows: Rows) -> list[Example]:
        return [self[int(row)] for row in rows]

    def labels(self) -> Labels:
        return np.array([self[row]['label'] for row in range(len(self))], np.int32)

    def where(self, row: int) -> str:
        return f'noise, row {row}'
