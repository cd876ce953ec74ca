"""The map from an image's coordinates to those of its resized, cropped or flipped form.

Coordinates are continuous: pixel i covers [i, i + 1]. So resizing by a factor multiplies
coordinates by it, with no half-pixel shift.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float

from jaxvision.image.types import Size

# [2, 3]: the target is matrix @ (y, x, 1).
Matrix = Float[np.ndarray, '2 3']
# Rows of (y, x) in pixels.
Points = Float[np.ndarray, '*n 2']
# Rows of [ymin, xmin, ymax, xmax] in pixels.
BoxRows = Float[np.ndarray, 'n 4']


@dataclasses.dataclass(frozen=True)
class Warp:
    """An affine map of (y, x), on the host.

    Attributes:
        matrix: float64 [2, 3]; the target is matrix @ (y, x, 1).
        size: (height, width) of the target image, pixels.
    """

    matrix: Matrix
    size: Size

    @classmethod
    def identity(cls, size: Size) -> 'Warp':
        """The map that leaves an image of this size as it is."""
        return cls(np.eye(2, 3), size)

    @classmethod
    def resize(cls, source: Size, target: Size) -> 'Warp':
        """Resize an image, each axis by its own factor.

        Args:
            source: (height, width) of the image, pixels.
            target: (height, width) of the resized image, pixels.
        """
        matrix = np.zeros((2, 3))
        matrix[0, 0] = target[0] / source[0]
        matrix[1, 1] = target[1] / source[1]
        return cls(matrix, target)

    @classmethod
    def crop(cls, top: float | int, left: float | int, size: Size) -> 'Warp':
        """Cut out a rectangle; a negative corner pads.

        Args:
            top: row of the top-left corner, pixels.
            left: column of the top-left corner, pixels.
            size: (height, width) of the rectangle, pixels.
        """
        matrix = np.eye(2, 3)
        matrix[:, 2] = (-top, -left)
        return cls(matrix, size)

    @classmethod
    def flip(cls, size: Size) -> 'Warp':
        """Mirror an image of this size left to right."""
        matrix = np.eye(2, 3)
        matrix[1, 1] = -1
        matrix[1, 2] = size[1]
        return cls(matrix, size)

    @classmethod
    def rotate(cls, degrees: float, size: Size) -> 'Warp':
        """Rotate an image of this size counter-clockwise around its centre.

        Args:
            degrees: the angle.
            size: (height, width) of the image, pixels, which stays.
        """
        cosine = np.cos(np.deg2rad(degrees))
        sine = np.sin(np.deg2rad(degrees))
        turn = np.array([[cosine, -sine], [sine, cosine]])
        center = np.array(size) / 2
        return cls(np.column_stack([turn, center - turn @ center]), size)

    def then(self, other: 'Warp') -> 'Warp':
        """A new map: this one, then `other`, which starts at this map's target."""
        whole = other._square() @ self._square()
        return Warp(whole[:2], other.size)

    def inverse(self, size: Size) -> 'Warp':
        """The map from the target back to the source image.

        Args:
            size: (height, width) of the source image, pixels, which this map does not
                store.
        """
        return Warp(np.linalg.inv(self._square())[:2], size)

    def points(self, points: Points) -> Points:
        """Map points (y, x) of the source to points (y, x) of the target, in pixels."""
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]

    def boxes(self, boxes: BoxRows) -> BoxRows:
        """Map boxes: the smallest upright boxes around their four mapped corners.

        Args:
            boxes: [ymin, xmin, ymax, xmax].

        Returns:
            Boxes that are not clipped to the target.
        """
        ymin, xmin, ymax, xmax = boxes.T
        corners = [(ymin, xmin), (ymin, xmax), (ymax, xmin), (ymax, xmax)]
        mapped = self.points(np.stack([np.stack(corner, -1) for corner in corners]))
        return np.concatenate([mapped.min(0), mapped.max(0)], axis=-1)

    def _square(self) -> Float[np.ndarray, '3 3']:
        return np.vstack([self.matrix, [0.0, 0.0, 1.0]])


def letterbox(source: Size, target: Size) -> Warp:
    """Map an image to a canvas: resized with its aspect ratio kept, and centred.

    The resized image has whole pixels, and each axis is scaled by the true ratio of the
    sizes, so that `Warp.inverse` is exact for images of every size.

    Args:
        source: (height, width) of the image, pixels.
        target: (height, width) of the canvas, pixels.
    """
    resized = fitted_size(source, target)
    top = (target[0] - resized[0]) // 2
    left = (target[1] - resized[1]) // 2
    resize = Warp.resize(source, resized)
    return resize.then(Warp.crop(-top, -left, target))


def top_left(source: Size, target: Size) -> Warp:
    """Map an image to the top left of a canvas, by one scale as YOLOX does.

    The map has this exact scale, for boxes and points. A caller that draws the image
    rounds its scaled sides down to whole pixels, as YOLOX does.

    Args:
        source: (height, width) of the image, pixels.
        target: (height, width) of the canvas, pixels.
    """
    scale = _fitting_scale(source, target)
    matrix = np.zeros((2, 3))
    matrix[0, 0] = scale
    matrix[1, 1] = scale
    return Warp(matrix, target)


def unpadded(source: Size, limits: Size) -> Warp:
    """Resize an image between a shorter and a longer side, as torchvision's segmenters do.

    The shorter side gets its limit, and the longer one is rounded down. If it would exceed
    its own limit, it gets this limit instead.

    Args:
        source: (height, width) of the image, pixels.
        limits: (the shorter side, most pixels of the longer one).
    """
    shorter = min(source)
    longer = max(source)
    short_side = limits[0]
    long_side = int(short_side * longer / shorter)
    if long_side > limits[1]:
        long_side = limits[1]
        short_side = max(int(long_side * shorter / longer), 1)
    is_high = source[0] > source[1]
    size = (long_side, short_side) if is_high else (short_side, long_side)
    return Warp.resize(source, size)


def _fitting_scale(source: Size, target: Size) -> float:
    """The largest factor at which an image fits on a canvas."""
    return min(target[0] / source[0], target[1] / source[1])


def fitted_size(source: Size, target: Size) -> Size:
    """The largest size inside a canvas with an image's aspect ratio, at least one pixel.

    Args:
        source: (height, width) of the image, pixels. A small image is enlarged.
        target: (height, width) of the canvas, pixels.

    Returns:
        (height, width) in whole pixels, rounded.
    """
    scale = _fitting_scale(source, target)
    height = min(max(round(source[0] * scale), 1), target[0])
    width = min(max(round(source[1] * scale), 1), target[1])
    return height, width


def kept_boxes(
    boxes: BoxRows,
    size: Size,
    least_area: float = 1.0,
    least_visible: float = 0.25,
) -> tuple[BoxRows, Bool[np.ndarray, 'n']]:
    """Clip boxes to an image and say which of them still show their object.

    Args:
        boxes: [ymin, xmin, ymax, xmax], not clipped.
        size: (height, width) of the image, pixels.
        least_area: square pixels that a clipped box has to have, inclusive.
        least_visible: fraction of a box's area that has to remain when clipped,
            inclusive.

    Returns:
        (all boxes, clipped, also those to drop; bool [n], whether each box still shows
        its object).
    """
    limits = np.array([*size, *size], boxes.dtype)
    clipped = np.clip(boxes, 0, limits)
    area = _areas(boxes)
    visible = _areas(clipped)
    is_large = visible >= least_area
    is_visible = visible >= least_visible * np.maximum(area, 1e-9)
    return clipped, is_large & is_visible


def _areas(boxes: BoxRows) -> Float[np.ndarray, 'n']:
    low, high = np.split(boxes, 2, axis=1)
    return np.prod(high - low, axis=1)
