"""Data sets that are composed, at each reading, from the real digits of `mnist5k`."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.data.protocol import Example, Labels, Rows, SourceInfo, fingerprint

SPLITS = ('train', 'test')
INK = 96  # the least value of a pixel that counts as ink

# Raised whenever the same row becomes another example: a run goes on only with the data it had.
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Digits:
    """Handwritten digits, and where the ink of each is: ymin, xmin, ymax, xmax in pixels."""

    images: UInt8[np.ndarray, 'n 28 28']
    labels: Int[np.ndarray, 'n']
    boxes: Int[np.ndarray, 'n 4']

    @classmethod
    def of(
        cls, images: UInt8[np.ndarray, 'n 28 28'], labels: Int[np.ndarray, 'n']
    ) -> 'Digits':
        return cls(images, labels, _ink_boxes(images))

    @functools.cached_property
    def aspects(self) -> Float[np.ndarray, 'n']:
        """The width of the ink by its height."""
        top, left, bottom, right = self.boxes.T
        return (right - left) / (bottom - top)

    def ink(self, row: int) -> UInt8[np.ndarray, 'h w']:
        """One digit, cropped to its ink."""
        top, left, bottom, right = self.boxes[row]
        return self.images[row, top:bottom, left:right]


def _ink_boxes(images: UInt8[np.ndarray, 'n h w']) -> Int[np.ndarray, 'n 4']:
    ink = images >= INK
    ends = []
    for axis in (2, 1):
        there = ink.any(axis)
        ends.append((there.argmax(1), there.shape[1] - there[:, ::-1].argmax(1)))
    (top, bottom), (left, right) = ends
    return np.stack([top, left, bottom, right], 1)


def read_digits(split: str, data_dir: str = '') -> Digits:
    """The digits of a split of `mnist5k`, which is prepared in `data_dir` if it is not there."""
    # Imports a library that drawing from digits in hand does not need.
    from jaxvision.data import embedded, tfds_source

    source = tfds_source.Catalogue(embedded.prepare('mnist5k', data_dir)).open(split)
    examples = source.read(range(len(source)))
    return Digits.of(
        np.stack([example['image'][..., 0] for example in examples]),
        np.stack([example['label'] for example in examples]),
    )


class Composed:
    """A data set of one configuration: each example a function of its split and row alone."""

    splits = SPLITS

    def __init__(
        self,
        info: SourceInfo,
        lengths: tuple[int, int],
        compose: Callable[[np.random.Generator, Digits], Example],
        label: Callable[[np.random.Generator], int] | None = None,
        data_dir: str = '',
    ):
        """`info` is of both splits, `lengths` of train and test; `label` makes the first draws of
        `compose`, those of an example's label."""
        self._info, self._lengths, self._data_dir = info, lengths, data_dir
        self._compose, self._label = compose, label

    def open(self, split: str) -> 'ComposedSource':
        if split not in SPLITS:
            raise UserError(
                f'{self._info.name} has no split {split!r}; it has {", ".join(SPLITS)}'
            )
        length = self._lengths[SPLITS.index(split)]
        info = dataclasses.replace(
            self._info,
            split=split,
            fingerprint=fingerprint(self._info.name, _VERSION, split, length),
        )
        return ComposedSource(
            info, length, read_digits(split, self._data_dir), self._compose, self._label
        )

    def overlap(self, split: str, other: str) -> bool:
        return split == other


class ComposedSource:
    """A split of a `Composed`; nothing is stored but the digits."""

    def __init__(self, info: SourceInfo, length: int, digits: Digits, compose, label):
        self.info = info
        self._length, self._digits = length, digits
        self._compose, self._label = compose, label

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, row: int) -> Example:
        return self._compose(self._rng(row), self._digits)

    def read(self, rows: Rows) -> list[Example]:
        return [self[int(row)] for row in rows]

    def labels(self) -> Labels:
        self.info.check_holds('label')
        return np.array(
            [self._label(self._rng(row)) for row in range(len(self))], np.int32
        )

    def where(self, row: int) -> str:
        return f'{self.info.name} {self.info.split}, row {row}'

    def _rng(self, row: int) -> np.random.Generator:
        if not 0 <= row < self._length:
            raise IndexError(
                f'{self.info.name} {self.info.split} has {self._length} rows, not {row}'
            )
        return keys.host(0, self.info.name, SPLITS.index(self.info.split), row)
