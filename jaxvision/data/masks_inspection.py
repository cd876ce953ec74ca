"""A close look at the label maps of a split: the pixels of each class, and pictures of them."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from jaxvision.core.types import IGNORED, Example
from jaxvision.data import decode, labelled_files
from jaxvision.data.boxes_inspection import SIDE, Picture
from jaxvision.data.protocol import Source
from jaxvision.viz import boxes as box_drawing
from jaxvision.viz import segmentation as drawing


@dataclasses.dataclass(frozen=True)
class LabelCounts:
    """The label map of one image.

    Attributes:
        size: 'WIDTHxHEIGHT'.
        pixels: {label: number of pixels}.
    """

    size: str
    pixels: Mapping[int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskReport:
    """The label maps of the readable images of a split.

    Attributes:
        pixels: their number.
        ignored: the fraction of the pixels that are ignored.
        fractions: {class: fraction of the other pixels}.
        images: {class: number of images with a pixel of it}.
        empty: images whose pixels are all ignored, or all of the first class.
        other_sizes: the images of another size than their label map, with both sizes.
    """

    pixels: int
    ignored: float
    fractions: dict[str, float]
    images: dict[str, int]
    empty: int
    other_sizes: list[str]


def count(label_map: UInt8[np.ndarray, 'h w'] | None) -> LabelCounts | None:
    """Count the labels of a map; None if there is no map."""
    if label_map is None:
        return None
    pixels = np.bincount(label_map.reshape(-1), minlength=1)
    present = np.flatnonzero(pixels).tolist()
    height, width = label_map.shape
    counts = {label: int(pixels[label]) for label in present}
    return LabelCounts(f'{width}x{height}', counts)


def report_on(
    source: Source, sizes: Sequence[str], counts: Sequence[LabelCounts | None]
) -> MaskReport | None:
    """Report on the label maps of a split.

    Args:
        source: the split.
        sizes: 'WIDTHxHEIGHT' of each image; '': it cannot be read.
        counts: the labels of each image; None: it cannot be read.

    Returns:
        The report; None if the examples have no label maps.
    """
    if 'semantic' not in source.info.holds:
        return None
    names = source.info.semantic_names
    totals = np.zeros(256, np.int64)
    images = np.zeros(256, np.int64)
    empty = 0
    other_sizes = []
    for row, (size, item) in enumerate(zip(sizes, counts, strict=True)):
        if item is None:
            continue
        for label, pixels in item.pixels.items():
            totals[label] += pixels
            images[label] += 1
        empty += set(item.pixels) <= {0, IGNORED}
        if item.size != size:
            other_sizes.append(f'{source.where(row)}: {size}, label map {item.size}')
    counted = max(int(totals[:IGNORED].sum()), 1)
    return MaskReport(
        pixels=int(totals.sum()),
        ignored=float(totals[IGNORED] / max(totals.sum(), 1)),
        fractions={name: totals[row] / counted for row, name in enumerate(names)},
        images={name: int(images[row]) for row, name in enumerate(names)},
        empty=empty,
        other_sizes=other_sizes,
    )


def lines(report: MaskReport, most: int) -> list[str]:
    """The report as lines of text.

    Args:
        report: the report.
        most: the most classes that are listed, from the largest on.
    """
    number = labelled_files.count(report.empty, 'image')
    by_size = sorted(report.fractions, key=report.fractions.__getitem__, reverse=True)
    classes = [
        f'{name} {report.fractions[name]:.2%} ({report.images[name]:,})'
        for name in by_size[:most]
    ]
    text = ', '.join(classes)
    if len(by_size) > most:
        text += f' and {len(by_size) - most:,} more'
    return [
        f'label maps: {report.pixels:,} pixels, {report.ignored:.2%} of them ignored; the '
        f'first class alone in {number}',
        f'pixels of each class (images): {text}',
    ]


def warnings(report: MaskReport, split: str) -> list[str]:
    """What looks wrong in the label maps of a split, a sentence each."""
    found = []
    if report.other_sizes:
        number = labelled_files.count(len(report.other_sizes), f'{split} image')
        found.append(f'{number} of another size than their label map')
    missing = [name for name, images in report.images.items() if not images]
    if missing:
        found.append(
            f'classes without a {split} pixel: {len(missing):,}, such as {missing[0]!r}'
        )
    return found


def pictures(
    source: Source, chosen: Mapping[str, Sequence[int]]
) -> dict[str, list[Picture]]:
    """Paint classes or objects on some images, of at most 320 pixels a side before a legend.

    Args:
        source: the split.
        chosen: {group: numbers of readable images}.

    Returns:
        {group: pictures}.
    """
    drawn = {}
    for group, rows in chosen.items():
        drawn[group] = [_drawn(source, source[row]) for row in rows]
    return drawn


def _drawn(source: Source, example: Example) -> Picture:
    image = decode.decode(example['image'], 3)
    small = decode.thumbnail(image, 3, SIDE)
    rows = _nearest(image.shape[0], small.shape[0])[:, None]
    columns = _nearest(image.shape[1], small.shape[1])
    if 'instances' in example:
        return drawing.overlay_instances(small, example['instances'][rows, columns])
    if 'masks' not in example:
        labels = example['semantic'][rows, columns]
        return drawing.overlay(small, labels, source.info.semantic_names)
    shown = example.get('box_mask', slice(None))
    masks = np.asarray(example['masks'])[shown][:, rows, columns]
    classes = example['box_classes'][shown]
    names = [source.info.class_names[label] for label in classes.tolist()]
    painted = drawing.overlay_masks(small, masks, classes)
    scale = small.shape[0] / image.shape[0]
    return box_drawing.draw(painted, scale * example['boxes'][shown], names, classes)


def _nearest(length: int, small: int) -> np.ndarray:
    """The pixels of a side nearest to those of a smaller one."""
    places = (np.arange(small) + 0.5) * length / small
    return places.astype(int)
