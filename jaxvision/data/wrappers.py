"""Sources made of another source: some of its rows, changed examples, all of it in memory."""

import copy
import dataclasses
import threading
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int, UInt8

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.types import Example
from jaxvision.data import decode
from jaxvision.data.protocol import (
    LabelledSource,
    Labels,
    Rows,
    RowSource,
    Source,
    SourceInfo,
    Unreadable,
    annotation_of,
    boxes_of,
    captions_of,
    contents_of,
    fingerprint,
    groups_of,
    without,
)

Chosen = Int[np.ndarray, 'm']

# Splits are equal in every run, whatever its seed: results of two seeds are comparable.
_SPLIT_SEED = 0

_LARGEST_IN_MEMORY = 2**30  # bytes


class Wrapper:
    """Base of a source with the rows of another one. A subclass states only what differs."""

    def __init__(self, source: Source, info: SourceInfo | None = None):
        """Wrap a source. `info` describes the wrapper; None: it is that of `source`."""
        self._source = source
        self.info = info or source.info

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, row: int) -> Example:
        return self._source[row]

    def read(self, rows: Rows) -> list[Example]:
        """Read several examples, in the order of `rows`."""
        return self._source.read(rows)

    def labels(self) -> Labels:
        """The labels of the other source. It has to have some: `info.has_labels`."""
        return self._source.labels()

    def captions(self, row: int) -> Sequence[str]:
        """The captions of a row. The other source has to have some."""
        return captions_of(self._source, row)

    def boxes_of(self, row: int) -> Example:
        """The boxes of a row. The other source has to have some."""
        return boxes_of(self._source, row)

    def annotation_of(self, row: int) -> Example:
        """The example of a row, without its image if the other source can leave that out."""
        return annotation_of(self._source, row)

    def groups(self) -> Sequence[int] | Int[np.ndarray, 'n']:
        """The group of each row, see `protocol.groups_of`."""
        return groups_of(self._source)

    def without(self, keys: Sequence[str]) -> 'Wrapper':
        """A wrapper of the other source without some keys, see `protocol.without`."""
        source = without(self._source, keys)
        left_out = set(self._source.info.holds) - set(source.info.holds)
        wrapper = copy.copy(self)
        wrapper._source = source
        wrapper.info = self.info.without(list(left_out))
        return wrapper

    def where(self, row: int) -> str:
        """The name of a row in messages, as the other source gives it."""
        return self._source.where(row)

    def contents(self) -> Sequence[str]:
        """The digest of each row's file, or what else `identify` gave for it.

        It is empty if rows are not files.
        """
        return contents_of(self._source)


class Subset(Wrapper):
    """The given rows of a source, in the given order."""

    def __init__(self, source: Source, rows: Chosen, split: str):
        """Choose rows.

        Args:
            source: the source.
            rows: row i of the subset is row `rows[i]` of the source.
            split: what messages call the subset.
        """
        listing = fingerprint(source.info.fingerprint, rows.tolist())
        info = dataclasses.replace(source.info, split=split, fingerprint=listing)
        super().__init__(source, info)
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Example:
        return self._source[int(self._rows[row])]

    def read(self, rows: Rows) -> list[Example]:
        """Read several examples, in the order of `rows`."""
        return self._source.read(self._rows[np.asarray(rows, int)])

    def labels(self) -> Labels:
        """The label of every row."""
        return self._source.labels()[self._rows]

    def captions(self, row: int) -> Sequence[str]:
        """The captions of a row."""
        return captions_of(self._source, int(self._rows[row]))

    def boxes_of(self, row: int) -> Example:
        """The boxes of a row."""
        return boxes_of(self._source, int(self._rows[row]))

    def annotation_of(self, row: int) -> Example:
        """The example of a row, without its image if the other source can leave that out."""
        return annotation_of(self._source, int(self._rows[row]))

    def groups(self) -> Sequence[int] | Int[np.ndarray, 'n']:
        """The group of each row."""
        groups = groups_of(self._source)
        if not len(groups):
            return ()
        return np.asarray(groups)[self._rows]

    def where(self, row: int) -> str:
        """The name of a row in messages, as the other source gives it."""
        return self._source.where(int(self._rows[row]))

    def contents(self) -> Sequence[str]:
        """The digest of each row's file, or what else `identify` gave for it.

        It is empty if rows are not files.
        """
        contents = contents_of(self._source)
        if not contents:
            return ()
        return [contents[row] for row in self._rows]


class Numbered(Wrapper):
    """A source whose examples also hold 'row', int32, their number in the source.

    An evaluation may seed random numbers with it.
    """

    def __init__(self, source: Source):
        holds = (*source.info.holds, 'row')
        super().__init__(source, dataclasses.replace(source.info, holds=holds))

    def __getitem__(self, row: int) -> Example:
        return _numbered(self._source[row], row)

    def read(self, rows: Rows) -> list[Example]:
        """Read several examples, each with its 'row', in the order of `rows`."""
        return list(map(_numbered, self._source.read(rows), map(int, rows)))


def _numbered(example: Example, row: int) -> Example:
    return {**example, 'row': np.int32(row)}


class Converted(Wrapper):
    """A source whose examples `convert(example)` replaces whenever they are read.

    It must not change labels, captions or boxes, nor add keys: `info` and the methods
    for these stay those of the other source.
    """

    def __init__(self, source: Source, convert: Callable[[Example], Example]):
        super().__init__(source)
        self._convert = convert

    def __getitem__(self, row: int) -> Example:
        return self._convert(self._source[row])

    def read(self, rows: Rows) -> list[Example]:
        """Read several examples, in the order of `rows`."""
        return list(map(self._convert, self._source.read(rows)))


def decoded(source: Source) -> Converted:
    """Wrap a source of images of one size: reading it decodes them to uint8 [H, W, C].

    Reading raises `Unreadable` for an image whose shape is not `info.image_shape`.
    """
    shape = source.info.image_shape

    def decode_image(example: Example) -> Example:
        image = decode.decode(example['image'], shape[-1])
        if image.shape != shape:
            raise Unreadable(
                f'its image is {image.shape}, where the data set says {shape}'
            )
        return {**example, 'image': image}

    return Converted(source, decode_image)


class InMemory(Wrapper):
    """A source of arrays of one shape, which keeps examples in memory once read.

    All examples need the same keys, shapes and dtypes. Several threads may read at
    once.
    """

    def __init__(self, source: Source):
        super().__init__(source)
        self._is_ready = np.zeros(len(source), bool)
        self._arrays: dict[str, np.ndarray] = {}
        self._allocating = threading.Lock()

    def __getitem__(self, row: int) -> Example:
        return self.read([row])[0]

    def read(self, rows: Rows) -> list[Example]:
        """Read several examples, in the order of `rows`."""
        batch = self.batch(rows)
        examples = zip(*batch.values(), strict=True)
        return [dict(zip(batch, values, strict=True)) for values in examples]

    def without(self, keys: Sequence[str]) -> 'InMemory':
        """The source itself: its arrays are in memory already."""
        return self

    def batch(self, rows: Rows) -> dict[str, np.ndarray]:
        """Arrays [len(rows), ...] by key, copied, in the order of `rows`.

        Asked for no rows before anything is in memory, it reads row 0 for the shapes.

        Raises:
            Unreadable: An example that is not in memory yet is damaged or missing.
        """
        rows = np.asarray(rows, int)
        missing = rows[~self._is_ready[rows]]
        if not len(rows) and not self._arrays:
            missing = np.arange(1)
        if len(missing):
            self._fill(missing)
        return {name: array[rows] for name, array in self._arrays.items()}

    def _fill(self, rows: Chosen) -> None:
        for row, example in zip(rows, self._source.read(rows), strict=True):
            with self._allocating:
                if not self._arrays:
                    self._arrays = self._allocate(example)
            for name, value in example.items():
                self._arrays[name][row] = value
            # Only now: another thread may read this row as soon as it is marked.
            self._is_ready[row] = True

    def _allocate(self, example: Example) -> dict[str, np.ndarray]:
        values = {name: np.asarray(value) for name, value in example.items()}
        return {
            name: np.empty((len(self), *value.shape), value.dtype)
            for name, value in values.items()
        }


def in_memory_if_small(source: Source, example_bytes: int) -> Source:
    """Keep a source's examples in memory if all of them take at most 1 GiB.

    Args:
        source: its examples are arrays of one shape. A source of captions, or of any number of
            boxes or objects, is returned as it is.
        example_bytes: the bytes of one example's image or video.

    Returns:
        The source, wrapped in `InMemory` if it is small.
    """
    is_small = len(source) * example_bytes <= _LARGEST_IN_MEMORY
    holds = source.info.holds
    is_ragged = 'captions' in holds or 'instance_classes' in holds
    is_ragged |= 'boxes' in holds and 'box_mask' not in holds
    if is_small and not is_ragged:
        return InMemory(source)
    return source


class Mixed(RowSource):
    """Real examples, repeated or cut to the number needed, then generated images."""

    def __init__(
        self,
        real: LabelledSource,
        images: UInt8[np.ndarray, 'm h w c'],
        labels: Int[np.ndarray, 'm'],
        fraction: float,
        origin: str,
    ):
        """Mix real and generated examples.

        Args:
            real: the real examples, with one label each.
            images: the generated images. All of them are used.
            labels: the class of each generated image.
            fraction: of all examples, the generated ones: above 0, at most 1. At least
                one real example stays.
            origin: what made the images, such as a hash of the generator. It is a part of the
                fingerprint.
        """
        self._real = real
        self._images = images
        self._labels = labels
        real_rows = len(images) * (1 - fraction) / fraction
        self._real_rows = max(1, round(real_rows))
        self.info = dataclasses.replace(
            real.info,
            holds=('image', 'label'),
            fingerprint=fingerprint(
                real.info.fingerprint, origin, len(images), fraction
            ),
        )

    def __len__(self) -> int:
        return self._real_rows + len(self._images)

    def __getitem__(self, row: int) -> Example:
        if row < self._real_rows:
            return self._real[row % len(self._real)]
        number = row - self._real_rows
        return {'image': self._images[number], 'label': self._labels[number]}

    def labels(self) -> Labels:
        """The label of every row."""
        real = np.resize(self._real.labels(), self._real_rows)
        return np.concatenate([real, self._labels])

    def where(self, row: int) -> str:
        """The name of a row in messages: that of a real row, or 'generated image 0'."""
        if row < self._real_rows:
            return self._real.where(row % len(self._real))
        return f'generated image {row - self._real_rows}'


def held_out(
    labels: Labels, fraction: float = 0.2, stream: str = 'held_out'
) -> tuple[Chosen, Int[np.ndarray, 'held']]:
    """Hold out a fixed random part of each class.

    Args:
        labels: the label of each row. Rows with several labels are held out without regard to
            them.
        fraction: the part of each class to hold out, rounded to whole examples. With
            0.2, a class of one or two examples stays in training.
        stream: names the random choice. The same name and labels always give the same
            rows.

    Returns:
        The rows to train on and the rows held out, both in ascending order.
    """
    held = []
    for label, rows in _rows_by_class(labels):
        order = keys.host(_SPLIT_SEED, stream, label).permutation(rows)
        held.append(order[: round(fraction * len(rows))])
    test = np.sort(np.concatenate(held))
    train = np.setdiff1d(np.arange(len(labels)), test)
    return train, test


def few_per_class(labels: Labels, number: int, class_names: Sequence[str]) -> Chosen:
    """Choose a fixed random number of rows of each class.

    Args:
        labels: the label of each row.
        number: how many rows of each class.
        class_names: the name of each class, in the order of the labels.

    Returns:
        The rows, in ascending order.

    Raises:
        UserError: The labels are multi-label [N, K], or a class has fewer rows.
    """
    if labels.ndim > 1:
        raise UserError(
            'data.per_class needs one label an image; this data set has several. Set '
            'data.per_class=0'
        )
    chosen = []
    for label, name in enumerate(class_names):
        rows = np.flatnonzero(labels == label)
        if len(rows) < number:
            raise UserError(
                f'data.per_class={number}, but class {name!r} has only {len(rows)} '
                'training examples. Choose a smaller number'
            )
        order = keys.host(_SPLIT_SEED, 'per_class', label).permutation(rows)
        chosen.append(order[:number])
    return np.sort(np.concatenate(chosen))


def _rows_by_class(labels: Labels) -> list[tuple[int, Chosen]]:
    """(label, its rows) of each class, or all rows as one class if they have several labels."""
    if labels.ndim > 1:
        return [(0, np.arange(len(labels)))]
    return [
        (int(label), np.flatnonzero(labels == label)) for label in np.unique(labels)
    ]
