"""The contract of data: a source is a random-access list of examples, each a dict.

Keys of an example (N objects or latents' size Z, K classes, T frames; pixels are uint8):

    image         encoded bytes, a path, or uint8 [H, W, C]
    label         int32, or float32 [K] of zeros and ones if `info.multi_label`
    captions      list of texts, of any number and length
    video         a file's path, encoded frames, or uint8 [T, H, W, C]
    video_mask    uint8 [T], 0 for the padding behind a short video
    importance    float32 [T], how important each frame of the video is
    boxes         float32 [N, 4], each ymin, xmin, ymax, xmax in pixels of the upright image
    box_classes   int32 [N], the class of each box
    crowd         bool [N], whether a box is a region of many objects
    area          float32 [N], in square pixels, as the annotation has it
    box_mask      bool [N], False for padding; only where N is the same for all images
    masks         bool [N, H, W], the visible pixels of each of `boxes`; they may overlap
    semantic      uint8 [H, W], the class of each pixel of the upright image, a row of
                  `info.semantic_names`; 255 = ignore
    instances     int32 [H, W], the object of each pixel of the upright image: 1 to N, or 0 for none
    instance_classes  int32 [N], the class of each object in `instances`
    spacing       float32 [2], the height and the width of a pixel in millimetres
    volume        int32, which volume of the split a slice belongs to
    slice         int32, the number of a slice in its volume
    scene         int32 [N, 5], see `digit_captions`
    row           int32, which example of the source it is (see `wrappers.Numbered`)
    others        {name: list of examples}, read beside it (see `other_examples.WithOthers`)

Few-shot episodes hold `support`, `support_mask`, `query`, `query_label` and `classes` (see
`episodes.Episodes`). The evaluation of a generator holds `latent` float32 [Z] beside real images
(see `tasks.gan.samples`). `SourceInfo.holds` names the keys of a source.

The pipeline stacks the examples of a batch and adds `index` int32 [B], their rows. In evaluation it
also adds `present` bool [B], False for rows that pad the last batch or cannot be read.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from jaxvision.core.errors import UserError
from jaxvision.core.types import Example

# `(paths) -> what identifies the content of each file`, as `content.identify`.
Identify = Callable[[Sequence[Path]], list[str]]
# The keys of an example that are arrays with one row for each box.
BOX_KEYS = ('boxes', 'box_classes', 'crowd', 'area')
Rows = Sequence[int] | Int[np.ndarray, 'm']
Labels = Int[np.ndarray, 'n'] | Float[np.ndarray, 'n k']


class Unreadable(Exception):
    """An example that cannot be read or decoded. Its text is the reason without the file's name.

    With data.on_corrupt='stop' the pipeline raises a `UserError` that names the example. With
    'replace', training takes the next readable row, and evaluation leaves the example out.
    """


@dataclasses.dataclass(frozen=True)
class SourceInfo:
    """What is known of a split without reading its examples.

    Attributes:
        name: the dataset, in messages.
        split: the split, in messages.
        class_names: the name of each class, in the order of the labels.
        image_shape: (height, width, channels) of images, or of a video's frames. None stands for
            a side in which they differ.
        multi_label: whether an example belongs to any number of classes.
        fingerprint: a hash of the content of the data. Runs with the same fingerprint saw the
            same examples in the same rows.
        holds: the keys of an example.
        frames: the frames of each video, None if their number differs, 0 without videos.
        new_classes: whether no example belongs to a class of the training split.
        category_ids: the number of each class in the annotation file, in the order of
            `class_names`; empty: none is given.
        semantic_names: the name of each value of 'semantic' but 255, in the order of the
            values; empty: examples do not hold 'semantic'.
        notes: what a user should know of how the data were read: short sentences.
        doubts: what looks wrong in the data: short sentences.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    image_shape: tuple[int | None, int | None, int]
    multi_label: bool
    fingerprint: str
    holds: tuple[str, ...] = ('image', 'label')
    frames: int | None = 0
    new_classes: bool = False
    category_ids: tuple[int, ...] = ()
    semantic_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def has_labels(self) -> bool:
        """Whether examples hold 'label', so that the source has a method `labels`."""
        return 'label' in self.holds

    def without(self, keys: Sequence[str]) -> 'SourceInfo':
        """The description of a source whose examples lack some keys."""
        holds = tuple(key for key in self.holds if key not in keys)
        names = self.semantic_names if 'semantic' in holds else ()
        return dataclasses.replace(self, holds=holds, semantic_names=names)

    def check_holds(self, *names: str) -> None:
        """Check that an example has all of these keys.

        Raises:
            UserError: A key is missing.
        """
        missing = [name for name in names if name not in self.holds]
        if missing:
            raise UserError(
                f'{self.name} holds {", ".join(self.holds)}: this task needs '
                f'{", ".join(missing)}'
            )


@runtime_checkable
class Source(Protocol):
    """A split of a dataset, by row. Several threads may read it at once."""

    info: SourceInfo

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Example:
        """Read one example.

        Raises:
            Unreadable: The example is damaged or missing.
        """

    def read(self, rows: Rows) -> list[Example]:
        """Read several examples, in the order of `rows`. Some formats do it faster.

        Raises:
            Unreadable: One of them is damaged or missing.
        """

    def where(self, row: int) -> str:
        """An example's name in messages: a file's path, or 'cifar10 test, row 17'."""


@runtime_checkable
class LabelledSource(Source, Protocol):
    """A source whose `info.has_labels`. Use `labels_of` to ask any source for its labels."""

    def labels(self) -> Labels:
        """The label of every row, without decoding images.

        Returns:
            int [N], the class of each row, -1 where it is not known; or float [N, K] of
            zeros and ones if `info.multi_label`.
        """


@runtime_checkable
class Dataset(Protocol):
    """A dataset: named splits, each of which opens as a `Source`.

    It may also have a method `has_answers(split)`: whether there are examples, and
    their labels are known.
    """

    splits: tuple[str, ...]

    def open(self, split: str) -> Source:
        """Open one of `splits`.

        Raises:
            UserError: There is no such split.
        """
        ...

    def overlap(self, split: str, other: str) -> bool:
        """Whether some example is in both splits."""


class RowSource:
    """Base of a source that is read row by row. A subclass has `info`, `__len__`, `__getitem__`."""

    info: SourceInfo

    def contents(self) -> Sequence[str]:
        """A text for each row that identifies the content of its file, such as a hash.

        It is empty if rows are not files.
        """
        return ()

    def read(self, rows: Rows) -> list[Example]:
        """Read several examples, in the order of `rows`."""
        return [self[int(row)] for row in rows]

    def where(self, row: int) -> str:
        """The name of an example in messages, such as 'cifar10 test, row 17'."""
        return f'{self.info.name} {self.info.split}, row {row}'


def labels_of(source: Source, needed_by: str) -> Labels:
    """The label of every row.

    Args:
        source: any source.
        needed_by: the config field or the feature that needs labels, for the message.

    Returns:
        int [N], the class of each row, -1 where it is not known; or float [N, K] of
        zeros and ones if `info.multi_label`.

    Raises:
        UserError: The source has no labels.
    """
    if not source.info.has_labels:
        raise UserError(
            f'{source.info.name} has no labels, but {needed_by} needs them: it holds '
            f'{", ".join(source.info.holds)}'
        )
    return cast(LabelledSource, source).labels()


def captions_of(source: Source, row: int) -> Sequence[str]:
    """The captions of a row, any number of texts.

    Args:
        source: its examples have to hold 'captions'. If it has a method
            `captions(row)`, the image is not read.
        row: the number of the example, from 0.

    Raises:
        Unreadable: The example is damaged or missing.
    """
    read = getattr(source, 'captions', None)
    return read(row) if read else source[row]['captions']


def boxes_of(source: Source, row: int) -> Example:
    """The boxes of a row with their classes.

    Args:
        source: its examples have to hold boxes. If it has a method `boxes_of(row)`, the
            image is not read.
        row: the number of the example, from 0.

    Returns:
        The arrays 'boxes', 'box_classes', 'crowd' and 'area' of the example, and
        'box_mask' if the example has it.

    Raises:
        Unreadable: The example is damaged or missing.
    """
    read = getattr(source, 'boxes_of', None)
    example = read(row) if read else source[row]
    return {key: example[key] for key in (*BOX_KEYS, 'box_mask') if key in example}


def annotation_of(source: Source, row: int) -> Example:
    """The example of a row, without its image if the source can leave that out.

    Args:
        source: any source. If it has a method `annotation_of(row)`, the image is not read.
        row: the number of the example, from 0.

    Raises:
        Unreadable: The example is damaged or missing.
    """
    read = getattr(source, 'annotation_of', None)
    return read(row) if read else source[row]


def groups_of(source: Source) -> Sequence[int] | Int[np.ndarray, 'n']:
    """The group of each row, such as its volume: rows of a group are held out together.

    It is empty if each row stands alone, or if the source has no method `groups`.
    """
    groups = getattr(source, 'groups', None)
    if groups is None:
        return ()
    return groups()


def without(source: Source, keys: Sequence[str]) -> Source:
    """The source whose examples lack some keys, so that reading costs less.

    Args:
        source: any source; it may have a method `without(keys)`.
        keys: of an example that are not needed, such as 'masks'.

    Returns:
        A source of the same rows. `source` itself if it cannot leave keys out.
    """
    change = getattr(source, 'without', None)
    return change(keys) if change else source


def at_step(source: Source, step: int) -> Source:
    """The source whose rows are the examples of a training step.

    Args:
        source: any source; it may have a method `at_step(step)`.
        step: number of the step, from 0.

    Returns:
        A source with as many rows: `source` itself if its examples do not depend on the step.
    """
    change = getattr(source, 'at_step', None)
    return change(step) if change else source


def contents_of(source: Source) -> Sequence[str]:
    """A text for each row that identifies the content of its file, such as a digest.

    It is empty if rows are not files, or if the source has no method `contents`.
    """
    contents = getattr(source, 'contents', None)
    if contents is None:
        return ()
    return contents()


def check_split(name: str, split: str, splits: Iterable[str]) -> None:
    """Check that a dataset has a split of exactly this name.

    Args:
        name: the dataset, for the message.
        split: the split to check.
        splits: the splits of the dataset.

    Raises:
        UserError: There is no such split.
    """
    if split not in splits:
        raise UserError(f'{name} has no split {split!r}; it has {", ".join(splits)}')


def fingerprint(*parts: Any) -> str:
    """A hash of the parts' `repr`: 16 hexadecimal digits, equal for equal texts."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
