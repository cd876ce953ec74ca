"""Datasets that are composed from the real digits of `mnist5k` at each reading."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxvision.core import keys
from jaxvision.core.types import Example
from jaxvision.data.protocol import (
    Labels,
    RowSource,
    SourceInfo,
    check_split,
    fingerprint,
)

# One whole number per digit.
Numbers = Int[np.ndarray, 'n']

SPLITS = ('train', 'test')
INK = 96  # the least value of a pixel that counts as ink

# Raise it whenever a row becomes another example: a run only resumes on the data it had.
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Digits:
    """Handwritten digits and the boxes of their ink: ymin, xmin, ymax, xmax in pixels."""

    images: UInt8[np.ndarray, 'n 28 28']
    labels: Numbers
    boxes: Int[np.ndarray, 'n 4']

    @classmethod
    def of(cls, images: UInt8[np.ndarray, 'n 28 28'], labels: Numbers) -> 'Digits':
        """Find the boxes of the ink, the pixels of 96 or more of 255, of each image."""
        return cls(images, labels, _ink_boxes(images))

    @functools.cached_property
    def aspects(self) -> Float[np.ndarray, 'n']:
        """The width over the height of the ink."""
        top, left, bottom, right = self.boxes.T
        return (right - left) / (bottom - top)

    @property
    def content(self) -> str:
        """A hash of the images and labels, 16 hexadecimal digits."""
        return fingerprint(self.images.tobytes(), self.labels.tolist())

    def ink(self, row: int) -> UInt8[np.ndarray, 'h w']:
        """One digit, cropped to its ink."""
        top, left, bottom, right = self.boxes[row]
        return self.images[row, top:bottom, left:right]


Compose = Callable[[np.random.Generator, Digits], Example]
DrawLabel = Callable[[np.random.Generator], int]


def _ink_boxes(images: UInt8[np.ndarray, 'n h w']) -> Int[np.ndarray, 'n 4']:
    ink = images >= INK
    top, bottom = _extent(ink.any(2))
    left, right = _extent(ink.any(1))
    return np.stack([top, left, bottom, right], 1)


def _extent(has_ink) -> tuple[Numbers, Numbers]:
    """The first True of each row of bool [N, L], and the end of the last one."""
    length = has_ink.shape[1]
    first = has_ink.argmax(1)
    from_end = has_ink[:, ::-1].argmax(1)
    return first, length - from_end


def read_digits(split: str, data_dir: str = '') -> Digits:
    """The digits of a split of `mnist5k`, 28x28 pixels, with labels 0 to 9.

    Args:
        split: 'train' or 'test', which are 4,000 and 1,000 digits.
        data_dir: the folder of datasets, '' for the user's cache. `mnist5k` is prepared there
            if it is missing.
    """
    # Lazy, because these import TFDS. Composing needs only the digits.
    from jaxvision.data import embedded

    return _read(embedded.prepare('mnist5k', data_dir), split)


@functools.lru_cache(maxsize=2)  # the two splits: a start opens them several times
def _read(folder: Path, split: str) -> Digits:
    """The digits of a split of the prepared `mnist5k`, which nobody may change."""
    from jaxvision.data import tfds_source

    source = tfds_source.TfdsDataset(folder).open(split)
    examples = source.read(range(len(source)))
    digits = Digits.of(
        np.stack([example['image'][..., 0] for example in examples]),
        np.stack([example['label'] for example in examples]),
    )
    for array in (digits.images, digits.labels, digits.boxes):
        array.flags.writeable = False
    return digits


class Composed:
    """A dataset of 'train' and 'test'. Split and row decide what an example is."""

    splits = SPLITS

    def __init__(
        self,
        info: SourceInfo,
        lengths: tuple[int, int],
        compose: Compose,
        label: DrawLabel | None = None,
        data_dir: str = '',
    ):
        """Describe a dataset.

        Args:
            info: what both splits have in common.
            lengths: the number of examples of 'train' and of 'test'.
            compose: `(generator of the row, digits) -> example`.
            label: `(generator of the row) -> label`, equal to the label that `compose`
                draws first from an equal generator. None if there are no labels.
            data_dir: the folder where `mnist5k` is prepared if it is missing there; '':
                the user's cache.
        """
        self._info = info
        self._lengths = lengths
        self._compose = compose
        self._label = label
        self._data_dir = data_dir

    def open(self, split: str) -> 'ComposedSource':
        """Open 'train' or 'test'. `mnist5k` is prepared on disk first if it is missing.

        Raises:
            UserError: There is no such split.
        """
        name = self._info.name
        check_split(name, split, SPLITS)
        length = self._lengths[SPLITS.index(split)]
        digits = read_digits(split, self._data_dir)
        info = dataclasses.replace(
            self._info,
            split=split,
            fingerprint=fingerprint(name, _VERSION, split, length, digits.content),
        )
        return ComposedSource(info, length, digits, self._compose, self._label)

    def has_answers(self, split: str) -> bool:
        """Whether there is such a split. Its labels, if there are any, are known."""
        return split in SPLITS

    def overlap(self, split: str, other: str) -> bool:
        """Whether some example is in both splits: only if they are the same split."""
        return split == other


class ComposedSource(RowSource):
    """A split of a `Composed`. It stores only the digits."""

    def __init__(
        self,
        info: SourceInfo,
        length: int,
        digits: Digits,
        compose: Compose,
        label: DrawLabel | None,
    ):
        self.info = info
        self._length = length
        self._digits = digits
        self._compose = compose
        self._label = label

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, row: int) -> Example:
        return self._compose(self._rng(row), self._digits)

    def labels(self) -> Labels:
        """int32 [N], the class of each row. The dataset has to have labels."""
        labels = [self._label(self._rng(row)) for row in range(len(self))]
        return np.array(labels, np.int32)

    def _rng(self, row: int) -> np.random.Generator:
        name = self.info.name
        split = self.info.split
        if not 0 <= row < self._length:
            raise IndexError(f'{name} {split} has {self._length} rows, not {row}')
        return keys.host(0, name, SPLITS.index(split), row)
