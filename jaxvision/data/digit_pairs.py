"""`digit_pairs`: two-digit numbers written with real digits, each of the 100 numbers a class.

A small stand-in for Omniglot: many classes, and the test classes are new. 70 numbers train,
10 validate and 20 test. No digit's image is in two splits.
"""

import numpy as np
from jaxtyping import Int

from jaxvision.core import keys
from jaxvision.core.types import Example
from jaxvision.data.composed import Digits, read_digits
from jaxvision.data.protocol import (
    Labels,
    RowSource,
    SourceInfo,
    check_split,
    fingerprint,
)
from jaxvision.data.wrappers import held_out

NAMES = tuple(f'{number:02}' for number in range(100))
NUMBERS = {'train': 70, 'validation': 10, 'test': 20}  # classes of each split
PER_CLASS = {'train': 400, 'validation': 100, 'test': 100}

# Raise it whenever a row becomes another example: a run only resumes on the data it had.
_VERSION = 1


class DigitPairs:
    """Images of two-digit numbers, uint8 [28, 56, 1], and the number as label.

    `data_dir` is the folder where the dataset `mnist5k` is prepared if it is missing
    there; '': the user's cache.
    """

    splits = tuple(NUMBERS)

    def __init__(self, data_dir: str = ''):
        self._data_dir = data_dir

    def open(self, split: str) -> 'PairSource':
        """Open 'train', 'validation' or 'test'. A missing `mnist5k` is prepared first.

        Raises:
            UserError: `split` is none of these exact names.
        """
        check_split('digit_pairs', split, self.splits)
        return PairSource(split, digits_of(split, self._data_dir))

    def has_answers(self, split: str) -> bool:
        """Whether there is such a split. All its labels are known."""
        return split in self.splits

    def overlap(self, split: str, other: str) -> bool:
        """Whether some example is in both splits: only if they are the same split."""
        return split == other


class PairSource(RowSource):
    """Pairs of digits: 'image' uint8 [28, 56, 1] and 'label' int32, from 0 to 99.

    The split and the row alone decide which pair is drawn.
    """

    def __init__(self, split: str, digits: Digits):
        self.info = SourceInfo(
            name='digit_pairs',
            split=split,
            class_names=NAMES,
            image_shape=(28, 56, 1),
            multi_label=False,
            fingerprint=fingerprint('digit_pairs', _VERSION, split, digits.content),
            new_classes=split != 'train',
        )
        self._numbers = numbers_of(split)
        self._images = digits.images
        self._rows = [np.flatnonzero(digits.labels == digit) for digit in range(10)]

    def __len__(self) -> int:
        return len(self._numbers) * PER_CLASS[self.info.split]

    def __getitem__(self, row: int) -> Example:
        split = self.info.split
        if not 0 <= row < len(self):
            raise IndexError(f'digit_pairs {split} has {len(self)} rows, not {row}')
        number = self._numbers[row % len(self._numbers)]
        rng = keys.host(0, 'digit_pairs', tuple(NUMBERS).index(split), row)
        tens, ones = divmod(number, 10)
        left = self._images[rng.choice(self._rows[tens])]
        right = self._images[rng.choice(self._rows[ones])]
        image = np.concatenate([left, right], 1)
        return {'image': image[..., None], 'label': np.int32(number)}

    def labels(self) -> Labels:
        """int32 [N], the number from 0 to 99 of each row."""
        return np.resize(self._numbers, len(self)).astype(np.int32)


def numbers_of(split: str) -> Int[np.ndarray, 'n']:
    """The numbers, 0 to 99, that are the classes of a split, in ascending order."""
    order = keys.host(0, 'digit_pairs').permutation(len(NAMES))
    ends = np.cumsum(list(NUMBERS.values()))
    parts = np.split(order, ends[:-1])
    return np.sort(parts[tuple(NUMBERS).index(split)])


def digits_of(split: str, data_dir: str = '') -> Digits:
    """The digits that a split is written with.

    The test split has the digits of the test split of `mnist5k`. Validation has a fixed
    random eighth of each digit of its training split, and training the rest.

    Args:
        split: 'train', 'validation' or 'test'.
        data_dir: the folder where `mnist5k` is prepared if it is missing there; '': the
            user's cache.
    """
    if split == 'test':
        return read_digits('test', data_dir)
    digits = read_digits('train', data_dir)
    rows, held = held_out(digits.labels, 1 / 8)
    if split != 'train':
        rows = held
    return Digits(digits.images[rows], digits.labels[rows], digits.boxes[rows])
