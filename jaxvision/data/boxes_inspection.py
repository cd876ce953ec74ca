"""A close look at the boxes of a split: their number, their sizes, and pictures of them."""

import collections
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from jaxvision.data import decode
from jaxvision.data.protocol import Source, boxes_of
from jaxvision.viz import boxes as drawing

SIDE = 320  # longest side of a picture, pixels

Boxes = Float[np.ndarray, '_ 4']
Size = tuple[int, int]
Picture = UInt8[np.ndarray, '_ _ 3']
# `(the boxes and the size of each image) -> {sentence: fraction of the boxes}`
Cover = Callable[[list[tuple[Boxes, Size]]], dict[str, float]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoxReport:
    """Counts and sizes of the boxes of a split. Crowd regions count in `crowds` alone.

    Attributes:
        boxes: number of boxes.
        crowds: number of crowd regions.
        images_without: number of images without a box, even if they have crowd regions.
        most: the largest number of boxes of an image.
        class_counts: {class: its boxes}.
        sides: {'8-16': number} of the boxes by the square root of their area, in pixels
            of the original image. Each bin ends at twice its beginning; the first one
            is 'below 2'.
        coverage: {sentence: fraction of the boxes} of how a detector can see them; empty if it
            was not computed.
    """

    boxes: int
    crowds: int
    images_without: int
    most: int
    class_counts: dict[str, int]
    sides: dict[str, int]
    coverage: dict[str, float] = dataclasses.field(default_factory=dict)


def report_on(
    source: Source, sizes: Sequence[str], cover: Cover | None
) -> BoxReport | None:
    """Report on the boxes of a split.

    Args:
        source: the split.
        sizes: 'WIDTHxHEIGHT' of each image; '': it cannot be read.
        cover: `([(boxes [N, 4], (height, width)) of each image]) -> {sentence: fraction
            of the boxes}`, how a detector covers them; None: not measured.

    Returns:
        The report; None if the examples have no boxes.
    """
    if 'boxes' not in source.info.holds:
        return None
    counts = report(source)
    if cover is None:
        return counts
    pairs = []
    for size in sizes:
        width, _, height = size.partition('x')
        pairs.append((int(height), int(width)) if size else None)
    return dataclasses.replace(counts, coverage=cover(with_sizes(source, pairs)))


def report(source: Source) -> BoxReport:
    """Count the boxes of a split. Images are not read if the source has `boxes_of`."""
    names = source.info.class_names
    class_counts = dict.fromkeys(names, 0)
    sides: collections.Counter[int] = collections.Counter()
    numbers = []
    crowds = 0
    for row in range(len(source)):
        boxes, classes, crowd = _of_row(source, row)
        crowds += int(crowd.sum())
        numbers.append(int((~crowd).sum()))
        for label in classes[~crowd].tolist():
            class_counts[names[label]] += 1
        lengths = boxes[~crowd, 2:] - boxes[~crowd, :2]
        for height, width in lengths.tolist():
            sides[_bin(math.sqrt(height * width))] += 1
    return BoxReport(
        boxes=sum(numbers),
        crowds=crowds,
        images_without=numbers.count(0),
        most=max(numbers, default=0),
        class_counts=class_counts,
        sides={_bin_name(number): sides[number] for number in sorted(sides)},
    )


def with_sizes(
    source: Source, sizes: Sequence[Size | None]
) -> list[tuple[Boxes, Size]]:
    """List (boxes [N, 4], size) of each readable image, without crowd regions.

    Args:
        source: the split.
        sizes: (height, width) of each image; None: it cannot be read and is left out.
    """
    boxes_and_sizes = []
    for row, size in enumerate(sizes):
        if size is not None:
            boxes, _, crowd = _of_row(source, row)
            boxes_and_sizes.append((boxes[~crowd], size))
    return boxes_and_sizes


def pictures(
    source: Source, chosen: Mapping[str, Sequence[int]]
) -> dict[str, list[Picture]]:
    """Draw some images with their boxes and class names, of at most 320 pixels a side.

    Args:
        source: the split.
        chosen: {group: numbers of readable images}.

    Returns:
        {group: pictures}.
    """
    return {group: _drawn(source, rows) for group, rows in chosen.items()}


def _drawn(source: Source, rows: Sequence[int]) -> list[Picture]:
    """Draw some images with their boxes."""
    drawn = []
    for row in rows:
        image = decode.decode(source[row]['image'], 3)
        boxes, classes, crowd = _of_row(source, row)
        small = decode.thumbnail(image, 3, SIDE)
        captions = []
        for label, is_crowd in zip(classes.tolist(), crowd.tolist(), strict=True):
            name = source.info.class_names[label]
            captions.append(f'{name} (crowd)' if is_crowd else name)
        scale = small.shape[0] / image.shape[0]
        drawn.append(drawing.draw(small, scale * boxes, captions, classes))
    return drawn


def _of_row(source: Source, row: int) -> tuple[Boxes, np.ndarray, np.ndarray]:
    """(The boxes of an image, their classes, whether each is a crowd), without padding."""
    example = boxes_of(source, row)
    mask = example.get('box_mask', slice(None))
    return (
        np.asarray(example['boxes'], np.float64)[mask],
        np.asarray(example['box_classes'])[mask],
        np.asarray(example['crowd'], bool)[mask],
    )


def _bin(side: float) -> int:
    """The power of two below a length; 0 for less than 2 pixels."""
    return max(int(math.log2(max(side, 1.0))), 0)


def _bin_name(number: int) -> str:
    if not number:
        return 'below 2'
    return f'{2**number}-{2 ** (number + 1)}'
