"""Checks of boxes against their images. Every box that is dropped or changed is counted."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32

from jaxvision.core.errors import UserError
from jaxvision.core.types import Example
from jaxvision.data.headers import Size
from jaxvision.data.labelled_files import count
from jaxvision.data.segmentations import Segmentation, Shapes

# The class of a box in an annotation file, by name or by number.
Label = str | int
Boxes = Float[np.ndarray, 'n 4']

# Formats round coordinates to a hundredth of a pixel, or to 1e-6 of the side.
_ROUNDING = 0.1  # pixels


@dataclasses.dataclass(frozen=True)
class AnnotatedImage:
    """An image and its objects, as an annotation file has them.

    Attributes:
        path: the image.
        size: (height, width) of the image in the annotation; None: it gives none.
        labels: the class of each object.
        boxes: ymin, xmin, ymax, xmax of each object, in pixels or as fractions of the
            image.
        crowd: whether each box is a region of many objects.
        area: of each object in square pixels; NaN: not given.
        outlines: of each object, None for objects with a box alone; empty: the format has none.
    """

    path: Path
    size: tuple[int, int] | None
    labels: tuple[Label, ...]
    boxes: Boxes
    crowd: Bool[np.ndarray, 'n']
    area: Float[np.ndarray, 'n']
    outlines: tuple[Segmentation | None, ...] = ()


@dataclasses.dataclass(frozen=True)
class Checked:
    """The objects of the images of a split that can be used.

    Attributes:
        objects: the read-only arrays 'boxes', 'box_classes', 'crowd' and 'area' of each image, a
            row for each box that remains.
        shapes: the outlines of these boxes in each image; None for an image without a header.
        notes: of what was dropped or changed.
    """

    objects: list[Example]
    shapes: list[Shapes | None]
    notes: list[str]


class Findings:
    """Counts of boxes or images that were dropped or are odd, by kind.

    For each kind it also stores the file name of the first image.
    """

    def __init__(self):
        self._counts: dict[str, int] = {}
        self._first: dict[str, str] = {}

    def add(self, kind: str, number: int, path: Path) -> None:
        """Add to the count of a kind.

        Args:
            kind: the rest of a sentence after '3 boxes' or '3 images', such as 'without
                area dropped'.
            number: how many; 0: nothing is counted.
            path: the image.
        """
        if number:
            self._counts[kind] = self._counts.get(kind, 0) + number
            self._first.setdefault(kind, path.name)

    def notes(self) -> list[str]:
        """A sentence for each kind: '3 boxes without area dropped, the first in a.png'.

        Kinds are in the order in which they were first added.
        """
        sentences = []
        for kind, number in self._counts.items():
            counted = _count_boxes(number)
            if kind in _OF_IMAGES:
                counted = count(number, 'image')
            sentences.append(f'{counted} {kind}, the first in {self._first[kind]}')
        return sentences


_NOT_FINITE = 'with a coordinate that is not finite dropped'
_UNKNOWN = 'of an unknown class dropped'
_NO_AREA = 'without area dropped'
_OUTSIDE = 'outside of the image dropped'
_CLIPPED = 'partly outside of the image clipped to it'
_REPEATED = 'equal to another one of its class kept'
_ODD_AREA = "with an area that is no positive number: the box's area is used"
_OTHER_SIZE = 'with run lengths of another size than the image: the box is the mask'
_NO_HEADER = 'whose header cannot be read, without boxes'
_ROTATED = 'with boxes of the image as stored: they are turned as EXIF says'
_UNSURE = (
    'that EXIF turns or mirrors: the boxes are taken as those of the upright image'
)
_EMPTY = 'without a box kept'
_OF_IMAGES = (_NO_HEADER, _ROTATED, _UNSURE, _EMPTY)


def checked(
    images: Sequence[AnnotatedImage],
    sizes: Sequence[Size | None],
    classes: Mapping[Label, int],
    is_relative: bool = False,
) -> Checked:
    """Check the boxes of a split, and express them in pixels of the upright images.

    Boxes are clipped to their image. A box is dropped if it has no area, lies outside,
    or has a coordinate that is not finite. If the annotation has the size of the stored
    image, and the upright image has another size, its boxes are turned as EXIF says.
    All others are taken as upright. The area of the clipped box replaces an
    area that is missing or not a positive number.

    Args:
        images: the images with their annotations.
        sizes: what the header of each image tells. Boxes of an image with None are
            dropped.
        classes: the number of each class by its label. Boxes of another label are
            dropped.
        is_relative: whether coordinates are fractions of the upright image.

    Raises:
        UserError: An annotation gives a size that its image has neither upright nor as
            stored.
    """
    _check_sizes(images, sizes)
    findings = Findings()
    objects = []
    shapes = []
    for image, size in zip(images, sizes, strict=True):
        if size is None:
            findings.add(_NO_HEADER, 1, image.path)
            objects.append(_no_objects())
            shapes.append(None)
            continue
        boxes = _upright_boxes(image, size, is_relative, findings)
        arrays, kept = _kept(image, boxes, size, classes, findings)
        findings.add(_EMPTY, int(not len(kept)), image.path)
        objects.append(arrays)
        shapes.append(_shapes(image, size, kept, is_relative, findings))
    return Checked(objects, shapes, findings.notes())


def clipped(boxes: Boxes, height: int, width: int) -> Boxes:
    """Clip boxes to their image. A box outside of the image then has no area.

    Args:
        boxes: ymin, xmin, ymax, xmax in pixels.
        height: of the image.
        width: of the image.
    """
    largest = np.array([height, width, height, width], np.float64)
    return np.clip(boxes, 0, largest)


def have_area(boxes: Boxes) -> Bool[np.ndarray, 'n']:
    """Whether each box has an area: ymax > ymin and xmax > xmin."""
    ymin, xmin, ymax, xmax = boxes.T
    return (ymax > ymin) & (xmax > xmin)


def turned(boxes: Boxes, height: int, width: int, orientation: int) -> Boxes:
    """Move boxes from an image as it is stored to the upright image.

    Args:
        boxes: ymin, xmin, ymax, xmax in pixels of the stored image.
        height: of the stored image.
        width: of the stored image.
        orientation: that of EXIF, 1 to 8.

    Returns:
        The boxes in pixels of the upright image, again ymin, xmin, ymax, xmax.
    """
    ymin, xmin, ymax, xmax = boxes.T
    if orientation >= 5:
        ymin, xmin, ymax, xmax = xmin, ymin, xmax, ymax
        height, width = width, height
    if orientation in (2, 3, 6, 7):
        xmin, xmax = width - xmax, width - xmin
    if orientation in (3, 4, 7, 8):
        ymin, ymax = height - ymax, height - ymin
    return np.stack([ymin, xmin, ymax, xmax], axis=-1)


def _count_boxes(number: int) -> str:
    """'1 box' or '1,200 boxes'."""
    if number == 1:
        return '1 box'
    return f'{number:,} boxes'


def _check_sizes(
    images: Sequence[AnnotatedImage], sizes: Sequence[Size | None]
) -> None:
    """Check that the annotations give the upright sizes of images, or those as stored."""
    wrong = [
        (image, size)
        for image, size in zip(images, sizes, strict=True)
        if size and image.size not in (None, size.upright, size.stored)
    ]
    if not wrong:
        return
    image, size = wrong[0]
    assert image.size is not None
    number = count(len(wrong), 'image')
    height, width = image.size
    raise UserError(
        f'{number} of another size than the annotation says, such as {image.path}: it is '
        f'{size.width}x{size.height}, and the annotation says {width}x{height}. Use the '
        'images that were annotated, or correct the size'
    )


def _upright_boxes(
    image: AnnotatedImage, size: Size, is_relative: bool, findings: Findings
) -> Boxes:
    """The boxes in pixels of the upright image."""
    if is_relative:
        sides = np.array([size.height, size.width, size.height, size.width])
        with np.errstate(over='ignore', invalid='ignore'):
            boxes = image.boxes * sides
        findings.add(_UNSURE, int(size.orientation > 1), image.path)
        return boxes
    is_stored = image.size == size.stored
    if is_stored and size.stored != size.upright:
        findings.add(_ROTATED, 1, image.path)
        with np.errstate(invalid='ignore'):
            return turned(image.boxes, *size.stored, size.orientation)
    is_sure = image.size is not None and size.stored != size.upright
    findings.add(_UNSURE, int(size.orientation > 1 and not is_sure), image.path)
    return image.boxes


def _kept(
    image: AnnotatedImage,
    boxes: Boxes,
    size: Size,
    classes: Mapping[Label, int],
    findings: Findings,
) -> tuple[Example, list[int]]:
    """The arrays of the boxes that can be used, and their rows in the annotation."""
    class_numbers = [classes.get(label, -1) for label in image.labels]
    numbers = np.array(class_numbers, np.int32)
    inner = clipped(boxes, size.height, size.width)
    with np.errstate(over='ignore', invalid='ignore'):
        moved = np.abs(boxes - inner).max(axis=1, initial=0)
    is_outside = ~have_area(inner)
    inner = inner.astype(np.float32)
    usable = np.ones(len(boxes), bool)
    reasons = (
        (_NOT_FINITE, ~np.isfinite(boxes).all(axis=1)),
        (_UNKNOWN, numbers < 0),
        (_NO_AREA, ~have_area(boxes)),
        (_OUTSIDE, is_outside),
        # So narrow that float32 cannot tell its edges apart.
        (_NO_AREA, ~have_area(inner)),
    )
    for reason, is_bad in reasons:
        is_dropped = usable & is_bad
        findings.add(reason, int(is_dropped.sum()), image.path)
        usable &= ~is_bad
    is_clipped = usable & (moved > _ROUNDING)
    findings.add(_CLIPPED, int(is_clipped.sum()), image.path)
    inner = inner[usable]
    numbers = numbers[usable]
    findings.add(_REPEATED, _repeated(inner, numbers), image.path)
    arrays = {
        'boxes': inner,
        'box_classes': numbers,
        'crowd': image.crowd[usable],
        'area': _areas(image.area[usable], inner, image.path, findings),
    }
    # The same arrays are given out at each reading of an example.
    for array in arrays.values():
        array.setflags(write=False)
    return arrays, np.flatnonzero(usable).tolist()


def _shapes(
    image: AnnotatedImage,
    size: Size,
    kept: Sequence[int],
    is_relative: bool,
    findings: Findings,
) -> Shapes:
    """The outlines of the boxes that can be used, in the frame of the annotation.

    Run lengths of another size than the frame count as no outline.
    """
    is_turned = image.size == size.stored and size.stored != size.upright
    frame = size.stored if is_turned else size.upright
    outlines = []
    for row in kept:
        outline = image.outlines[row] if image.outlines else None
        if outline and is_relative:
            outline = outline.scaled(*frame)
        if outline and outline.size not in (None, frame):
            findings.add(_OTHER_SIZE, 1, image.path)
            outline = None
        outlines.append(outline)
    orientation = size.orientation if is_turned else 1
    return Shapes(tuple(outlines), frame, orientation)


def _repeated(
    boxes: Float32[np.ndarray, 'n 4'], classes: Int32[np.ndarray, 'n']
) -> int:
    """The number of boxes that are equal to an earlier one of the same class."""
    rows = {(*box, label) for box, label in zip(boxes.tolist(), classes, strict=True)}
    return len(boxes) - len(rows)


def _areas(
    areas: Float[np.ndarray, 'n'],
    boxes: Float32[np.ndarray, 'n 4'],
    path: Path,
    findings: Findings,
) -> Float32[np.ndarray, 'n']:
    """The areas of the annotation, and those of the boxes where it has none."""
    is_given = ~np.isnan(areas)
    with np.errstate(over='ignore', under='ignore'):
        areas = areas.astype(np.float32)
    is_usable = np.isfinite(areas) & (areas > 0)
    is_odd = is_given & ~is_usable
    findings.add(_ODD_AREA, int(is_odd.sum()), path)
    heights = boxes[:, 2] - boxes[:, 0]
    widths = boxes[:, 3] - boxes[:, 1]
    return np.where(is_usable, areas, heights * widths).astype(np.float32)


def _no_objects() -> Example:
    return {
        'boxes': np.zeros((0, 4), np.float32),
        'box_classes': np.zeros(0, np.int32),
        'crowd': np.zeros(0, bool),
        'area': np.zeros(0, np.float32),
    }
