"""`digit_pairs`: the 100 two-digit numbers, each a class, written with the real digits of `mnist5k`.

A small stand-in for Omniglot: many classes, few of which training sees. 70 numbers are trained on,
10 validate and 20 test, and no digit's image is in two of the splits.
"""

import numpy as np
from jaxtyping import Int

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.data.composed import Digits, read_digits
from jaxvision.data.protocol import Example, Labels, Rows, SourceInfo, fingerprint
from jaxvision.data.wrappers import held_out

NAMES = tuple(f'{number:02}' for number in range(100))
NUMBERS = {'train': 70, 'validation': 10, 'test': 20}  # classes of each split
PER_CLASS = {'train': 400, 'validation': 100, 'test': 100}

# Raised whenever the same row becomes another example: a run goes on only with the data it had.
_VERSION = 1


class DigitPairs:
    """The data set; `data_dir` is where `mnist5k` is prepared."""

    splits = tuple(NUMBERS)

    def __init__(self, data_dir: str = ''):
        self._data_dir = data_dir

    def open(self, split: str) -> 'PairSource':
        if split not in NUMBERS:
            raise UserError(
                f'digit_pairs has no split {split!r}; it has {", ".join(NUMBERS)}'
            )
        return PairSource(split, digits_of(split, self._data_dir))

    def overlap(self, split: str, other: str) -> bool:
        return split == other


class PairSource:
    """Pairs of digits: which are drawn is a function of the split and the row alone."""

    def __init__(self, split: str, digits: Digits):
        self.info = SourceInfo(
            name='digit_pairs',
            split=split,
            class_names=NAMES,
            image_shape=(28, 56, 1),
            multi_label=False,
            fingerprint=fingerprint('digit_pairs', _VERSION, split),
            new_classes=split != 'train',
        )
        self._numbers, self._images = numbers_of(split), digits.images
        self._rows = [np.flatnonzero(digits.labels == digit) for digit in range(10)]

    def __len__(self) -> int:
        return len(self._numbers) * PER_CLASS[self.info.split]

    def __getitem__(self, row: int) -> Example:
        if not 0 <= row < len(self):
            raise IndexError(
                f'digit_pairs {self.info.split} has {len(self)} rows, not {row}'
            )
        number = self._numbers[row % len(self._numbers)]
        rng = keys.host(0, 'digit_pairs', tuple(NUMBERS).index(self.info.split), row)
        pair = [
            self._images[rng.choice(self._rows[digit])] for digit in divmod(number, 10)
        ]
        return {'image': np.concatenate(pair, 1)[..., None], 'label': np.int32(number)}

    def read(self, rows: Rows) -> list[Example]:
        return [self[int(row)] for row in rows]

    def labels(self) -> Labels:
        return np.resize(self._numbers, len(self)).astype(np.int32)

    def where(self, row: int) -> str:
        return f'digit_pairs {self.info.split}, row {row}'


def numbers_of(split: str) -> Int[np.ndarray, 'n']:
    """The numbers, 0 to 99, that are this split's classes."""
    order = keys.host(0, 'digit_pairs').permutation(len(NAMES))
    parts = np.split(order, np.cumsum(list(NUMBERS.values()))[:-1])
    return np.sort(dict(zip(NUMBERS, parts))[split])


def digits_of(split: str, data_dir: str = '') -> Digits:
    """The digits that a split writes with: of `mnist5k` those of its test, or an eighth of its
    training, or the rest."""
    if split == 'test':
        return read_digits('test', data_dir)
    digits = read_digits('train', data_dir)
    kept, held = held_out(digits.labels, 1 / 8)
    rows = kept if split == 'train' else held
    return Digits(digits.images[rows], digits.labels[rows], digits.boxes[rows])
