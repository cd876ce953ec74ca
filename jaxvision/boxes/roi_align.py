"""RoIAlign (Mask R-CNN, arXiv 1703.06870): a feature map resampled inside boxes.

A value of the output is the mean of bilinear samples. Both directions separate, so that
the whole is two products with matrices of interpolation weights. On 2 CPU cores, with the
gradient, products are 7, 3 and 1.2 times as fast as gathers on maps of 16, 32 and 64 cells a
side (tests/bench/boxes.py). Products of large maps also need more memory, so that those are
gathered. Boxes of a pyramid with a large map are gathered once, each from its own level.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxvision.boxes import conversions
from jaxvision.boxes.types import Candidates, Classes, Scores

# The feature map of one image.
FeatureMap = Float[Array, 'h w c']

# Coordinates of p samples in each of n boxes.
SamplePoints = Float[Array, 'n p']
# The values of n boxes.
Pooled = Float[Array, 'n size size c']

# A number for each box.
Cells = Int[Array, 'n 1']

# Boxes that are gathered at once on a CPU.
PART = 16
# Cells of a feature map up to which products are the faster form.
LARGEST_PRODUCT = 32 * 32


def roi_align(
    features: FeatureMap,
    boxes: Candidates,
    *,
    stride: float,
    size: int = 7,
    samples: int = 2,
    aligned: bool = True,
) -> Pooled:
    """Resample a feature map inside boxes, as `torchvision.ops.roi_align` does.

    Args:
        features: of one image.
        boxes: edges in pixels of the image.
        stride: pixels of a cell of the feature map.
        size: cells of the output along each side.
        samples: per output cell and direction.
        aligned: whether cell i covers [i, i + 1]. Without it the samples are half a cell
            further down and right, and a box has a side of at least one cell: the form of
            torchvision's detectors.

    Returns:
        [n, size, size, c], the mean of the samples of each output cell. A sample more
        than one cell from the outermost centres of cells is 0.
    """
    height, width, _ = features.shape
    ys, xs = _samples(boxes / stride, size * samples, aligned)
    if height * width <= LARGEST_PRODUCT:
        return _by_products(features, ys, xs, size)
    return _by_gathers(features, ys, xs, size)


def _samples(
    boxes: Candidates, number: int, aligned: bool
) -> tuple[SamplePoints, SamplePoints]:
    """Place the samples of each box: (y, x), in cells of the feature map."""
    ys = _sample_points(boxes[:, 0], boxes[:, 2], number, aligned)
    xs = _sample_points(boxes[:, 1], boxes[:, 3], number, aligned)
    return ys, xs


def _sample_points(
    low: Scores, high: Scores, number: int, aligned: bool
) -> SamplePoints:
    """Place points evenly between two edges, in coordinates where cell i has its centre at i."""
    if aligned:
        start = low - 0.5
        length = high - low
    else:
        start = low
        length = jnp.maximum(high - low, 1)
    fractions = (jnp.arange(number, dtype=low.dtype) + 0.5) / number
    return start[:, None] + fractions * length[:, None]


def _neighbours(points: SamplePoints, cells: int | Cells):
    """The lower cell of each point, its weight of the upper cell, and whether it counts."""
    inside = (points >= -1) & (points <= cells)
    clipped = jnp.clip(points, 0, cells - 1)
    lower = jnp.minimum(jnp.floor(clipped), jnp.maximum(cells - 2, 0))
    return lower.astype(jnp.int32), clipped - lower, inside.astype(points.dtype)


def _weights(
    points: SamplePoints, cells: int, size: int
) -> Float[Array, 'n size cells']:
    """Interpolation weights of the cells of a map for each cell of the output."""
    lower, fraction, inside = _neighbours(points, cells)
    cell = jnp.arange(cells)
    is_lower = cell == lower[..., None]
    is_upper = cell == lower[..., None] + 1
    fraction = fraction[..., None]
    weights = is_lower * (1 - fraction) + is_upper * fraction
    weights = weights * inside[..., None]
    samples = points.shape[1] // size
    return weights.reshape(-1, size, samples, cells).mean(axis=2)


def _rows_of(
    maps: Sequence[Float[Array, '_ _ c']], index: Classes
) -> tuple[Float[Array, 'cells c'], '_Grids']:
    """The cells of all maps as rows of channels, and the map of each box.

    Args:
        maps: of one image.
        index: number of each box's map.
    """
    shapes = np.array([features.shape[:2] for features in maps])
    ends = np.cumsum(shapes.prod(axis=1))
    firsts = np.concatenate([[0], ends[:-1]])
    numbers = np.column_stack([firsts, shapes]).astype(np.int32)
    first, height, width = jnp.asarray(numbers)[index].T
    rows = [features.reshape(-1, features.shape[-1]) for features in maps]
    grids = _Grids(first[:, None], height[:, None], width[:, None])
    return jnp.concatenate(rows), grids


def _by_products(
    features: FeatureMap,
    ys: SamplePoints,
    xs: SamplePoints,
    size: int,
) -> Pooled:
    height, width, _ = features.shape
    rows = _weights(ys, height, size).astype(features.dtype)
    columns = _weights(xs, width, size).astype(features.dtype)
    bands = jnp.einsum('nyh,hwc->nywc', rows, features)
    return jnp.einsum('nywc,nxw->nyxc', bands, columns)


class _Grids(NamedTuple):
    """The feature map of each box, among the rows of all maps.

    Attributes:
        first: number of the map's first row of channels.
        height: of the map, cells.
        width: of the map, cells.
    """

    first: Cells
    height: Cells
    width: Cells


def _by_gathers(
    features: Float[Array, 'h w c'],
    ys: SamplePoints,
    xs: SamplePoints,
    size: int,
) -> Pooled:
    first = jnp.zeros(len(ys), jnp.int32)
    return _from_rows(*_rows_of([features], first), ys, xs, size)


def _from_rows(
    rows: Float[Array, 'cells c'],
    grids: _Grids,
    ys: SamplePoints,
    xs: SamplePoints,
    size: int,
) -> Pooled:
    """Resample the maps, whose cells are rows of channels, inside boxes.

    A CPU takes few boxes at a time, whose samples stay in its cache: 512 boxes of 256 channels
    take a sixth of the time, and a third with the gradient (tests/bench/against_torchvision.py).
    """

    def gather(boxes):
        return _gathered(rows, *boxes, size)

    def whole(*boxes):
        return gather(boxes)

    def in_parts(*boxes):
        parts = jax.tree.map(lambda x: x.reshape(-1, PART, *x.shape[1:]), boxes)
        pooled = jax.lax.map(gather, parts)
        return pooled.reshape(-1, *pooled.shape[2:])

    boxes = (grids, ys, xs)
    count = len(ys)
    if count <= PART:
        return gather(boxes)
    padding = -count % PART
    padded = jax.tree.map(lambda x: jnp.pad(x, ((0, padding), (0, 0)), 'edge'), boxes)
    return jax.lax.platform_dependent(*padded, cpu=in_parts, default=whole)[:count]


def _gathered(
    rows: Float[Array, 'cells c'],
    grids: _Grids,
    ys: SamplePoints,
    xs: SamplePoints,
    size: int,
) -> Pooled:
    top, down, y_inside = _neighbours(ys, grids.height)
    left, right, x_inside = _neighbours(xs, grids.width)
    bottom = jnp.minimum(top + 1, grids.height - 1)
    right_cell = jnp.minimum(left + 1, grids.width - 1)

    def at(row, column):
        starts = grids.first + row * grids.width
        return rows[starts[:, :, None] + column[:, None, :]]

    right = right[:, None, :, None].astype(rows.dtype)
    down = down[:, :, None, None].astype(rows.dtype)
    above = at(top, left) * (1 - right) + at(top, right_cell) * right
    below = at(bottom, left) * (1 - right) + at(bottom, right_cell) * right
    values = above * (1 - down) + below * down
    inside = y_inside[:, :, None] * x_inside[:, None, :]
    values = values * inside[..., None].astype(rows.dtype)
    samples = ys.shape[1] // size
    channels = rows.shape[1]
    # LiteRT sums arrays of at most four axes.
    by_row = values.reshape(-1, size, samples, size * samples * channels).sum(axis=2)
    cells = by_row.reshape(-1, size, samples, channels).sum(axis=2)
    return cells.reshape(-1, size, size, channels) / samples**2


def pyramid_levels(
    boxes: Candidates,
    levels: tuple[int, int],
    canonical_size: float = 224.0,
    canonical_level: int = 4,
) -> Classes:
    """Choose a level of a feature pyramid for each box (FPN, arXiv 1612.03144, equation 1).

    Args:
        boxes: edges in pixels.
        levels: (finest, coarsest) level there is. The finest has the smallest number.
        canonical_size: boxes whose area has this square root, in pixels, and up to
            twice it, have the canonical level. Each doubling is one level more.
        canonical_level: number of that level.

    Returns:
        int32 [n], clipped to `levels`.
    """
    sides = jnp.sqrt(conversions.area(boxes))
    # torchvision adds the small number after the logarithm.
    level = jnp.floor(canonical_level + jnp.log2(sides / canonical_size) + 1e-6)
    return jnp.clip(level, *levels).astype(jnp.int32)


def pyramid_roi_align(
    maps: Sequence[Float[Array, '_ _ c']],
    boxes: Candidates,
    strides: Sequence[int],
    *,
    size: int = 7,
    samples: int = 2,
    aligned: bool = True,
    canonical_size: float = 224.0,
) -> Pooled:
    """Resample each box from the level of a pyramid that suits its size.

    Args:
        maps: the levels of one image, the finest first.
        boxes: edges in pixels of the image.
        strides: pixels of a cell of each level, consecutive powers of 2.
        size: cells of the output along each side.
        samples: per output cell and direction.
        aligned: as for `roi_align`.
        canonical_size: as for `pyramid_levels`, whose canonical level has stride 16
            here.

    Returns:
        [n, size, size, c], in the order of `boxes`.
    """
    exponents = [round(math.log2(stride)) for stride in strides]
    levels = pyramid_levels(boxes, (exponents[0], exponents[-1]), canonical_size)
    if max(x.shape[0] * x.shape[1] for x in maps) > LARGEST_PRODUCT:
        index = levels - exponents[0]
        scaled = boxes / jnp.asarray(strides, boxes.dtype)[index][:, None]
        ys, xs = _samples(scaled, size * samples, aligned)
        return _from_rows(*_rows_of(maps, index), ys, xs, size)
    pooled = 0.0
    for features, stride, exponent in zip(maps, strides, exponents, strict=True):
        values = roi_align(
            features,
            boxes,
            stride=float(stride),
            size=size,
            samples=samples,
            aligned=aligned,
        )
        is_level = (levels == exponent)[:, None, None, None]
        pooled = pooled + jnp.where(is_level, values, 0)
    return pooled
