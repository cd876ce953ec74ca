"""Masks of objects inside their boxes: small squares of one size, whatever the image's size.

A box mask is the mask of an object, resized to M x M cells that fill the object's box on the
canvas. Outside of its box an object is not visible. All images of a batch so need little memory,
and a target of any size inside any region can be read from it.
"""

from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, UInt8

from jaxvision.core.types import Example
from jaxvision.image.types import Size
from jaxvision.image.warp import Warp

# Samples of a cell along each side, at most. Larger cells are sampled more thinly.
_MOST_SAMPLES = 8

BoxMasks = UInt8[np.ndarray, 'n m m']
Boxes = Float[np.ndarray, 'n 4']
Mask = Bool[np.ndarray, 'h w']
# Of numpy or of JAX.
Masks = Num[Array | np.ndarray, 'p _ _']
Edges = Float[Array | np.ndarray, 'p _']

# The keys of examples that have masks of objects, of which one is enough.
KEYS = ('masks', 'instances')


def masks_of(example: Example, rows: Iterable[int]) -> Iterator[Mask]:
    """Yield the mask of some objects, True for the pixels of each, one after the other.

    Many objects of a large image need far more memory as masks than as a map of numbers.

    Args:
        example: with 'masks' [N, H, W], or with 'instances' [H, W], where k is the object
            in row k - 1.
        rows: numbers of the objects, from 0.
    """
    for row in rows:
        if 'masks' in example:
            yield np.asarray(example['masks'][row], bool)
        else:
            yield np.asarray(example['instances']) == row + 1


def size_of(example: Example) -> Size:
    """The (height, width) of the masks of an example, pixels."""
    if 'masks' in example:
        _, height, width = example['masks'].shape
    else:
        height, width = example['instances'].shape
    return height, width


def of_objects(
    masks: Iterable[Mask], boxes: Boxes, maps: Sequence[Warp], cells: int
) -> BoxMasks:
    """Resample the masks of objects inside their boxes on the canvas.

    A mask is read once, where the inverse of the maps places the samples of a cell.
    Parts of an object that a map has cut off are not in its box mask.

    Args:
        masks: True for the pixels of each object, in the original image.
        boxes: edges on the canvas, pixels.
        maps: follow each other from the image to the canvas.
        cells: of a box mask along each side.

    Returns:
        The covered part of each cell, 0 to 255.
    """
    resampled = np.zeros((len(boxes), cells, cells), np.uint8)
    for row, (mask, box) in enumerate(zip(masks, boxes, strict=True)):
        resampled[row] = _coverage(mask, box, maps, cells)
    return resampled


def _coverage(
    mask: Bool[np.ndarray, 'h w'],
    box: Float[np.ndarray, '4'],
    maps: Sequence[Warp],
    cells: int,
) -> UInt8[np.ndarray, 'm m']:
    low = box[:2].astype(np.float64)
    sides = box[2:] - low
    samples = _samples_of_cell(sides / cells, maps)
    number = cells * samples
    places = (np.arange(number) + 0.5) / number
    rows, columns = low[:, None] + sides[:, None] * places
    points = np.stack(np.meshgrid(rows, columns, indexing='ij'), axis=-1)
    is_visible = np.ones(points.shape[:2], bool)
    for map_ in reversed(maps):
        is_visible &= _are_inside(points, map_.size)
        # The source's size does not change how points are mapped.
        points = map_.inverse(map_.size).points(points)
    is_visible &= _are_inside(points, mask.shape)
    last_pixel = np.array(mask.shape) - 1
    pixels = np.clip(np.floor(points), 0, last_pixel).astype(int)
    is_covered = mask[pixels[..., 0], pixels[..., 1]] & is_visible
    fraction = is_covered.reshape(cells, samples, cells, samples).mean(axis=(1, 3))
    return np.round(255 * fraction).astype(np.uint8)


def _samples_of_cell(cell: Float[np.ndarray, '2'], maps: Sequence[Warp]) -> int:
    """Samples along each side of a cell, so that two are at most a pixel apart.

    Args:
        cell: (height, width) of a cell on the canvas, pixels.
        maps: from the image, whose pixels count, to the canvas.
    """
    scale = 1.0
    for map_ in maps:
        scale *= np.sqrt(abs(np.linalg.det(map_.matrix[:, :2])))
    side = float(np.max(cell)) / scale
    return int(np.clip(np.ceil(side), 1, _MOST_SAMPLES))


def _are_inside(
    points: Float[np.ndarray, 'r c 2'], size: Sequence[int]
) -> Bool[np.ndarray, 'r c']:
    return np.all((points >= 0) & (points < np.array(size)), axis=-1)


def cut(box_masks: BoxMasks, boxes: Boxes, parts: Boxes) -> BoxMasks:
    """Resample box masks inside smaller boxes, whose outside is no longer visible.

    Args:
        box_masks: of the objects.
        boxes: edges of the objects' boxes.
        parts: edges of a part of each box.

    Returns:
        The box masks of `parts`, interpolated linearly. Those of equal boxes are
        unchanged.
    """
    result = box_masks.copy()
    changed = np.flatnonzero((boxes != parts).any(axis=1))
    if len(changed):
        values = _read(
            np, box_masks[changed], boxes[changed], parts[changed], result.shape[-1]
        )
        result[changed] = np.round(values).astype(np.uint8)
    return result


def targets(
    box_masks: UInt8[Array, 'o m m'],
    boxes: Float[Array, 'o 4'],
    objects: Int[Array, 'p'],
    regions: Float[Array, 'p 4'],
    size: int,
) -> Bool[Array, 'p size size']:
    """Read the masks of objects inside regions.

    Args:
        box_masks: of the objects.
        boxes: edges of the objects' boxes.
        objects: number of each region's object.
        regions: edges, in the pixels of `boxes`.
        size: cells of a target along each side.

    Returns:
        Whether at least half of the object's mask is at the centre of each cell,
        interpolated linearly. It is False outside of the object's box.
    """
    values = _read(jnp, box_masks[objects], boxes[objects], regions, size)
    return values >= 127.5


def _read(
    xp: ModuleType, box_masks: Masks, boxes: Edges, regions: Edges, size: int
) -> Masks:
    """Read box masks at the centres of the cells of regions.

    Args:
        xp: numpy or jax.numpy, as the arrays are of.
        box_masks: of the object of each region.
        boxes: edges of the box of each region's object.
        regions: edges.
        size: cells of a region along each side.

    Returns:
        [p, size, size], 0 to 255 and 0 outside of the boxes.
    """
    cells = box_masks.shape[-1]
    rows = _weights(xp, boxes[:, 0::2], regions[:, 0::2], cells, size)
    columns = _weights(xp, boxes[:, 1::2], regions[:, 1::2], cells, size)
    values = box_masks.astype(xp.float32)
    return xp.einsum('pyi,pij,pxj->pyx', rows, values, columns)


def _weights(
    xp: ModuleType, edges: Edges, region_edges: Edges, cells: int, size: int
) -> Masks:
    """The weight of each cell of a box mask for each cell of a region, along an axis.

    Args:
        xp: numpy or jax.numpy, as the arrays are of.
        edges: (low, high) of each box along the axis.
        region_edges: of each region.
        cells: of a box mask.
        size: cells of a region.
    """
    low = edges[:, :1]
    side = xp.maximum(edges[:, 1:] - low, 1e-6)
    region_low = region_edges[:, :1]
    region_side = region_edges[:, 1:] - region_low
    fractions = (xp.arange(size, dtype=xp.float32) + 0.5) / size
    places = (region_low + fractions * region_side - low) / side
    is_inside = (places >= 0) & (places <= 1)
    centers = xp.clip(cells * places - 0.5, 0, cells - 1)
    distances = xp.abs(centers[:, :, None] - xp.arange(cells, dtype=xp.float32))
    return xp.maximum(1 - distances, 0) * is_inside[:, :, None]
