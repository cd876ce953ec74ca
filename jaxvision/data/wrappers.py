"""Sources made of another source: some of its rows, all numbered, or all of it in memory."""

import dataclasses
import threading
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int, UInt8

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.data import decode
from jaxvision.data.protocol import (
    Example,
    Labels,
    Rows,
    Source,
    Unreadable,
    fingerprint,
)

Chosen = Int[np.ndarray, 'm']

# Splits are the same in every run, whatever its seed: results of two seeds are comparable.
_SPLIT_SEED = 0

_LARGEST_IN_MEMORY = 2**30  # bytes


class Subset:
    """The given rows of a source, in the given order."""

    def __init__(self, source: Source, rows: Chosen, split: str):
        self._source = source
        self._rows = rows
        listing = fingerprint(source.info.fingerprint, rows.tolist())
        self.info = dataclasses.replace(source.info, split=split, fingerprint=listing)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Example:
        return self._source[int(self._rows[row])]

    def read(self, rows: Rows) -> list[Example]:
        return self._source.read(self._rows[np.asarray(rows)])

    def labels(self) -> Labels:
        return self._source.labels()[self._rows]

    def where(self, row: int) -> str:
        return self._source.where(int(self._rows[row]))


class Numbered:
    """A source whose examples know their 'row': of which an evaluation draws what it needs."""

    def __init__(self, source: Source):
        self._source = source
        self.info = dataclasses.replace(source.info, holds=(*source.info.holds, 'row'))

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, row: int) -> Example:
        return {**self._source[row], 'row': np.int32(row)}

    def read(self, rows: Rows) -> list[Example]:
        return [
            {**example, 'row': np.int32(row)}
            for row, example in zip(rows, self._source.read(rows))
        ]

    def labels(self) -> Labels:
        return self._source.labels()

    def where(self, row: int) -> str:
        return self._source.where(row)


class Converted:
    """A source each of whose examples is changed by a function when it is read."""

    def __init__(self, source: Source, convert: Callable[[Example], Example]):
        self._source, self._convert = source, convert
        self.info = source.info

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, row: int) -> Example:
        return self._convert(self._source[row])

    def read(self, rows: Rows) -> list[Example]:
        return [self._convert(example) for example in self._source.read(rows)]

    def labels(self) -> Labels:
        return self._source.labels()

    def where(self, row: int) -> str:
        return self._source.where(row)


class Decoded:
    """A source of images of one size, decoded."""

    def __init__(self, source: Source):
        self._source = source
        self.info = source.info

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, row: int) -> Example:
        return self._decoded(self._source[row])

    def read(self, rows: Rows) -> list[Example]:
        return [self._decoded(example) for example in self._source.read(rows)]

    def labels(self) -> Labels:
        return self._source.labels()

    def where(self, row: int) -> str:
        return self._source.where(row)

    def _decoded(self, example: Example) -> Example:
        shape = self.info.image_shape
        image = decode.decode(example['image'], shape[-1])
        if image.shape != shape:
            raise Unreadable(
                f'its image is {image.shape}, where the data set says {shape}'
            )
        return example | {'image': image}


class InMemory:
    """A source of fixed-shape arrays that keeps each example once it has been read."""

    def __init__(self, source: Source):
        self._source = source
        self._ready = np.zeros(len(source), bool)
        self._arrays: dict[str, np.ndarray] = {}
        self._allocating = threading.Lock()
        self.info = source.info

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, row: int) -> Example:
        return {name: array[0] for name, array in self.batch([row]).items()}

    def read(self, rows: Rows) -> list[Example]:
        batch = self.batch(rows)
        return [
            {name: array[place] for name, array in batch.items()}
            for place in range(len(rows))
        ]

    def batch(self, rows: Rows) -> dict[str, np.ndarray]:
        """The rows, stacked: one copy an array once they have been read."""
        rows = np.asarray(rows)
        ready = self._ready[rows]
        if not ready.all():
            self._fill(rows[~ready])
        return {name: array[rows] for name, array in self._arrays.items()}

    def labels(self) -> Labels:
        return self._source.labels()

    def where(self, row: int) -> str:
        return self._source.where(row)

    def _fill(self, rows: Chosen) -> None:
        for row, example in zip(rows, self._source.read(rows)):
            self._allocate(example)
            for name, value in example.items():
                self._arrays[name][row] = value
            # Only now: another thread may read this row as soon as it is marked.
            self._ready[row] = True

    def _allocate(self, example: Example) -> None:
        with self._allocating:
            if not self._arrays:
                self._arrays = {
                    name: np.empty(
                        (len(self), *np.shape(value)), np.asarray(value).dtype
                    )
                    for name, value in example.items()
                }


def in_memory_if_small(source: Source, example_bytes: int) -> Source:
    """Keep a source's examples in memory if all of them take at most 1 GiB.

    Args:
        source: its examples are arrays of one shape. Captions differ in number and length, so
            a source that holds them is returned as it is.
        example_bytes: the bytes of one example's image or video.

    Returns:
        The source, wrapped in `InMemory` if it is small.
    """
    is_small = len(source) * example_bytes <= _LARGEST_IN_MEMORY
    if is_small and 'captions' not in source.info.holds:
        return InMemory(source)
    return source


class Mixed:
    """A source's images, over and over, and then others that were made to be like them."""

    def __init__(
        self,
        real: Source,
        images: UInt8[np.ndarray, 'm h w c'],
        labels: Int[np.ndarray, 'm'],
        share: float,
        origin: str,
    ):
        """`share` of all examples are the made ones; `origin` tells where they are from."""
        self._real, self._images, self._labels = real, images, labels
        self._first = max(
            1, round(len(images) * (1 - share) / share)
        )  # of the made ones
        self.info = dataclasses.replace(
            real.info,
            holds=('image', 'label'),
            fingerprint=fingerprint(real.info.fingerprint, origin, len(images), share),
        )

    def __len__(self) -> int:
        return self._first + len(self._images)

    def __getitem__(self, row: int) -> Example:
        if row < self._first:
            return self._real[row % len(self._real)]
        made = row - self._first
        return {'image': self._images[made], 'label': self._labels[made]}

    def read(self, rows: Rows) -> list[Example]:
        return [self[int(row)] for row in rows]

    def labels(self) -> Labels:
        return np.concatenate(
            [np.resize(self._real.labels(), self._first), self._labels]
        )

    def where(self, row: int) -> str:
        if row < self._first:
            return self._real.where(row % len(self._real))
        return f'generated image {row - self._first}'


def held_out(
    labels: Labels, fraction: float = 0.2
) -> tuple[Chosen, Int[np.ndarray, 'held']]:
    """Rows to train on and rows held out, a fixed random `fraction` of each class.

    A class of one example stays in training. Rows with several labels are split without strata.
    """
    held = []
    for stratum, rows in _strata(labels):
        order = keys.host(_SPLIT_SEED, 'held_out', stratum).permutation(rows)
        held.append(order[: round(fraction * len(rows))])
    test = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), test), test


def few_per_class(labels: Labels, number: int, class_names: Sequence[str]) -> Chosen:
    """A fixed random `number` of rows of each class, in their order."""
    if labels.ndim > 1:
        raise UserError(
            'data.per_class needs one label an image; this data set has several'
        )
    chosen = []
    for label, name in enumerate(class_names):
        rows = np.flatnonzero(labels == label)
        if len(rows) < number:
            raise UserError(
                f'data.per_class={number}, but class {name!r} has only {len(rows)} '
                'training examples'
            )
        chosen.append(
            keys.host(_SPLIT_SEED, 'per_class', label).permutation(rows)[:number]
        )
    return np.sort(np.concatenate(chosen))


def _strata(labels: Labels) -> list[tuple[int, Chosen]]:
    if labels.ndim > 1:
        return [(0, np.arange(len(labels)))]
    return [
        (int(label), np.flatnonzero(labels == label)) for label in np.unique(labels)
    ]
