"""Label maps on the host: each pixel has the number of its class or of its object.

Numbers cannot be averaged, so a label map is moved by taking the nearest pixel. Coordinates
are those of `warp`: pixel i covers [i, i + 1].
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Num

from jaxvision.image.types import Size
from jaxvision.image.warp import Warp

Labels = Num[np.ndarray, 'h w']


def moved(labels: Labels, maps: Sequence[Warp], fill: int) -> Num[np.ndarray, 'h2 w2']:
    """Move a label map as its image was moved, each pixel by its centre.

    Args:
        labels: [H, W].
        maps: follow each other from the image to its canvas; at least one.
        fill: the label of pixels that come from outside the image, or from outside the
            target of a map.

    Returns:
        The label map on the last map's target, with the dtype of `labels`.
    """
    if all(_scales_only(map_) for map_ in maps):
        return _moved_by_axis(labels, maps, fill)
    sizes = [labels.shape[:2], *(map_.size for map_ in maps)]
    points = _centers(sizes[-1])
    is_inside = np.ones(sizes[-1], bool)
    for map_, source in zip(reversed(maps), reversed(sizes[:-1]), strict=True):
        points = map_.inverse(source).points(points)
        is_inside &= ((points >= 0) & (points < source)).all(axis=-1)
    rows, columns = np.moveaxis(np.where(is_inside[..., None], points, 0), -1, 0)
    nearest = labels[rows.astype(int), columns.astype(int)]
    return np.where(is_inside, nearest, np.array(fill, labels.dtype))


def _scales_only(map_: Warp) -> bool:
    """Whether a map scales and shifts each axis, without a rotation."""
    return bool(map_.matrix[0, 1] == 0 and map_.matrix[1, 0] == 0)


def _moved_by_axis(
    labels: Labels, maps: Sequence[Warp], fill: int
) -> Num[np.ndarray, 'h2 w2']:
    """The result of `moved`, for maps without a rotation."""
    rows, row_is_inside = _sources(labels.shape[0], maps, 0)
    columns, column_is_inside = _sources(labels.shape[1], maps, 1)
    target = np.full(maps[-1].size, fill, labels.dtype)
    inside = np.ix_(row_is_inside, column_is_inside)
    target[inside] = labels[np.ix_(rows, columns)]
    return target


def _sources(
    length: int, maps: Sequence[Warp], axis: int
) -> tuple[Int[np.ndarray, 'n'], np.ndarray]:
    """Find the row, or column, of the image from which each one of the canvas comes.

    Returns:
        (the rows of the image for the rows of the canvas that come from it; bool, which
        rows of the canvas these are).
    """
    lengths = [length, *(map_.size[axis] for map_ in maps)]
    places = np.arange(lengths[-1]) + 0.5
    is_inside = np.ones(lengths[-1], bool)
    for map_, source in zip(reversed(maps), reversed(lengths[:-1]), strict=True):
        places = (places - map_.matrix[axis, 2]) / map_.matrix[axis, axis]
        is_inside &= (places >= 0) & (places < source)
    return places[is_inside].astype(int), is_inside


def _centers(size: Size) -> Float[np.ndarray, 'h w 2']:
    """The centres (y, x) of an image's pixels."""
    ys, xs = np.mgrid[: size[0], : size[1]] + 0.5
    return np.stack([ys, xs], axis=-1)


def to_original(
    values: Float[np.ndarray, 'h w k'],
    matrix: Float[np.ndarray, '2 3'],
    size: Size,
    rows: tuple[int, int] | None = None,
) -> Float[np.ndarray, 'h2 w2 k']:
    """Map real values from the canvas back to the original image, bilinearly.

    The part of the canvas that the image covers is resized as PyTorch's `interpolate` does
    it with `align_corners=False`. The rest of the canvas is not used.

    Args:
        values: on the canvas, such as probabilities of K classes.
        matrix: scales and shifts from the original image to the canvas, in pixels.
        size: (height, width) of the original image, pixels.
        rows: (first, last + 1) of the rows of the original to return; None: all.
    """
    values = _interpolated(values, matrix[0, 0], matrix[0, 2], size[0], 0, rows)
    return _interpolated(values, matrix[1, 1], matrix[1, 2], size[1], 1)


def _interpolated(
    values: Float[np.ndarray, 'h w k'],
    scale: Float[np.ndarray, ''] | float,
    shift: Float[np.ndarray, ''] | float,
    length: int,
    axis: int,
    part: tuple[int, int] | None = None,
) -> Float[np.ndarray, 'h2 w2 k']:
    """Interpolate along one axis at the centres of the original's pixels.

    Args:
        values: on the canvas.
        scale: of the axis, from the original to the canvas.
        shift: of the axis, pixels of the canvas.
        length: of the original, pixels.
        axis: 0 or 1.
        part: (first, last + 1) of the pixels of the original to return; None: all.
    """
    first = np.clip(np.round(shift), 0, values.shape[axis] - 1)
    last = np.clip(np.round(shift + scale * length) - 1, first, values.shape[axis] - 1)
    start, end = part or (0, length)
    places = (np.arange(start, end) + 0.5) * scale + shift - 0.5
    places = np.clip(places, first, last)
    low = np.floor(places).astype(int)
    high = np.minimum(low + 1, int(last))
    weight = (places - low).astype(values.dtype)
    if not weight.any():
        return np.take(values, low, axis)
    shape = [1, 1, 1]
    shape[axis] = end - start
    weight = weight.reshape(shape)
    return (
        np.take(values, low, axis) * (1 - weight) + np.take(values, high, axis) * weight
    )
