"""Outlines of objects, as polygons or run lengths, and the masks that they enclose.

Polygons are rasterised by pycocotools, as COCO's evaluation does: other fills include the boundary.
A pixel of several objects belongs to the smallest in the label map, because objects are painted by
decreasing area. Crowd regions are ignored (255) where no object lies.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from jaxvision.core.types import IGNORED, Json, Value
from jaxvision.data.annotation_files import as_list, as_object, number

# pycocotools follows an outline in fifths of a pixel, and does not check its memory.
_MOST_COORDINATE = 1e5  # pixels
_MOST_OUTLINE = 4e6  # pixels
_FEWEST_POINTS = 3

Polygon = Float[np.ndarray, '_ 2']
Masks = Bool[np.ndarray, 'n h w']


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """The outline of an object.

    Attributes:
        polygons: the x and y of the points of each part, in pixels.
        counts: run lengths in COCO's compressed form; empty if there are polygons.
        size: (height, width) of run lengths; None for polygons.
    """

    polygons: tuple[Polygon, ...] = ()
    counts: bytes = b''
    size: tuple[int, int] | None = None

    def scaled(self, height: int, width: int) -> 'Segmentation | None':
        """The outline in pixels, if its polygons are fractions of an image.

        Args:
            height: of the image in pixels.
            width: of the image in pixels.

        Returns:
            None if the outline in pixels is refused by `of_polygons`.
        """
        with np.errstate(over='ignore'):
            parts = [polygon * (width, height) for polygon in self.polygons]
        return of_polygons(parts)

    def digest(self) -> str:
        """A hash of the outline, 16 hexadecimal digits."""
        digest = hashlib.sha256(repr((self.counts, self.size)).encode())
        for polygon in self.polygons:
            digest.update(polygon.tobytes() + b'|')
        return digest.hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Shapes:
    """The outlines of the objects of an image, in the frame of their annotation.

    Attributes:
        outlines: one for each object; None: the object has only a box.
        size: (height, width) of the frame, in pixels.
        orientation: that of EXIF which turns the frame upright; 1: it is upright.
    """

    outlines: tuple[Segmentation | None, ...]
    size: tuple[int, int]
    orientation: int = 1


def of_coco(value: Value) -> Segmentation | None:
    """Read the `segmentation` of an annotation of COCO.

    Args:
        value: a list of polygons [x, y, x, y, ...], or an object with `counts` and `size`.
            Polygons of fewer than three points are left out.

    Returns:
        The outline; None if there is none, or it is of another form.
    """
    if not isinstance(value, list):
        return _of_run_lengths(as_object(value))
    polygons = []
    for part in value:
        coordinates = [number(coordinate) for coordinate in as_list(part)]
        if len(coordinates) % 2 or None in coordinates or not isinstance(part, list):
            return None
        polygons.append(np.array(coordinates, np.float64).reshape(-1, 2))
    return of_polygons(polygons)


def of_polygons(polygons: Sequence[Polygon]) -> Segmentation | None:
    """An outline of polygons, without those of fewer than three points.

    Returns:
        None if no part is left, a coordinate is not finite, or the outline is far longer than that
        of any object.
    """
    parts = tuple(polygon for polygon in polygons if len(polygon) >= _FEWEST_POINTS)
    if not parts:
        return None
    outline = 0.0
    for part in parts:
        if not (np.abs(part) <= _MOST_COORDINATE).all():  # False for NaN
            return None
        steps = np.abs(np.diff(part, axis=0, append=part[:1]))
        outline += steps.max(axis=1).sum()
    if outline > _MOST_OUTLINE:
        return None
    return Segmentation(polygons=parts)


def masks(shapes: Shapes, boxes: Float[np.ndarray, 'n 4']) -> Masks:
    """The mask of each object in the upright image.

    Args:
        shapes: the outlines.
        boxes: ymin, xmin, ymax, xmax of each object, in pixels of the upright image. The mask of
            an object without an outline has the pixels whose centres lie in its box.
    """
    height, width = shapes.size
    if shapes.orientation >= 5:
        height, width = width, height
    stack = np.zeros((len(shapes.outlines), height, width), bool)
    for row, outline in enumerate(shapes.outlines):
        if outline is None:
            top, left, bottom, right = np.ceil(boxes[row] - 0.5).astype(int)
            stack[row, top:bottom, left:right] = True
        else:
            stack[row] = _upright(_rasterised(outline, shapes.size), shapes.orientation)
    return stack


def semantic(
    masks: Masks,
    classes: Int[np.ndarray, 'n'],
    crowd: Bool[np.ndarray, 'n'],
) -> UInt8[np.ndarray, 'h w']:
    """Paint masks into a label map: 0 for background, or 1 + class.

    Masks are painted by decreasing number of pixels, and equal ones in their order. Regions of
    crowds lie below all others and are 255.

    Args:
        masks: of the objects.
        classes: the class of each, from 0 to 253.
        crowd: whether a mask is a region of many objects.
    """
    label_map = np.zeros(masks.shape[1:], np.uint8)
    label_map[masks[crowd].any(axis=0)] = IGNORED
    areas = masks.sum(axis=(1, 2))
    for row in np.argsort(-areas, kind='stable').tolist():
        if not crowd[row]:
            label_map[masks[row]] = 1 + classes[row]
    return label_map


def sum_of_runs(counts: bytes) -> int:
    """The pixels that compressed run lengths cover; -1 if the text is damaged.

    pycocotools writes behind its memory when it decodes a damaged text.

    Args:
        counts: run lengths of COCO: 5 bits a character, and each run from the third on as its
            difference from the run two before.
    """
    runs: list[int] = []
    position = 0
    while position < len(counts):
        value = 0
        shift = 0
        has_more = True
        while has_more:
            if (
                position == len(counts)
                or not 48 <= counts[position] < 112
                or shift > 30
            ):
                return -1
            bits = counts[position] - 48
            value |= (bits & 31) << shift
            shift += 5
            position += 1
            has_more = bool(bits & 32)
            if not has_more and bits & 16:
                value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        if value < 0:
            return -1
        runs.append(value)
    return sum(runs)


def _of_run_lengths(fields: Json) -> Segmentation | None:
    """An outline of run lengths; None if they are of another form or do not fill their size."""
    from pycocotools import mask as coco

    size = fields.get('size')
    counts = fields.get('counts')
    if not isinstance(size, list) or not _are_whole(size) or len(size) != 2:
        return None
    height, width = size
    if isinstance(counts, list):
        if not _are_whole(counts) or sum(counts) != height * width:
            return None
        plain: Any = {'counts': counts, 'size': size}
        encoded: Any = coco.frPyObjects(plain, height, width)
        return Segmentation(counts=encoded['counts'], size=(height, width))
    if not isinstance(counts, str):
        return None
    compressed = counts.encode(errors='replace')
    if sum_of_runs(compressed) != height * width:
        return None
    return Segmentation(counts=compressed, size=(height, width))


def _are_whole(values: Sequence[Value]) -> bool:
    """Whether all values are integers from 0, and no sum of them overflows."""
    return all(type(value) is int and 0 <= value < 2**31 for value in values)


def _rasterised(
    outline: Segmentation, size: tuple[int, int]
) -> Bool[np.ndarray, 'h w']:
    """The mask of an outline in its frame.

    Args:
        outline: of the object. Run lengths need the size of the frame.
        size: (height, width) of the frame.
    """
    from pycocotools import mask as coco

    height, width = size
    parts: Any = [{'counts': outline.counts, 'size': [height, width]}]
    if outline.polygons:
        polygons: Any = [polygon.reshape(-1) for polygon in outline.polygons]
        parts = coco.frPyObjects(polygons, height, width)
    return coco.decode(coco.merge(parts)).astype(bool)


def _upright(
    mask: Bool[np.ndarray, 'h w'], orientation: int
) -> Bool[np.ndarray, 'h2 w2']:
    """Turn a mask as EXIF turns its image."""
    if orientation >= 5:
        mask = mask.T
    if orientation in (2, 3, 6, 7):
        mask = mask[:, ::-1]
    if orientation in (3, 4, 7, 8):
        mask = mask[::-1]
    return mask
