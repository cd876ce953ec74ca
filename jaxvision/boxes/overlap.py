"""How much boxes overlap: IoU, and its relatives that differ for boxes that are apart.

Functions of one pair broadcast over leading axes. `pairwise_iou` compares all pairs.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from jaxvision.boxes import conversions
from jaxvision.boxes.types import (
    Boxes,
    BroadcastBoxes,
    Candidates,
    Pairs,
    Points,
    Truth,
    Values,
)

_TINY = 1e-9  # keeps the gradient finite where an area or a distance is 0


def _intersection(a: BroadcastBoxes, b: BroadcastBoxes) -> Values:
    low = jnp.maximum(a[..., :2], b[..., :2])
    high = jnp.minimum(a[..., 2:], b[..., 2:])
    return jnp.prod(jnp.maximum(high - low, 0), axis=-1)


def _hull_sides(a: BroadcastBoxes, b: BroadcastBoxes) -> Points:
    """Height and width of the smallest box around two boxes."""
    low = jnp.minimum(a[..., :2], b[..., :2])
    high = jnp.maximum(a[..., 2:], b[..., 2:])
    return high - low


def iou(a: BroadcastBoxes, b: BroadcastBoxes) -> Values:
    """Intersection over union of pairs of boxes; 0 where both areas are 0.

    Args:
        a: boxes.
        b: boxes, one for each of `a` after broadcasting.

    Returns:
        Values in [0, 1].
    """
    common = _intersection(a, b)
    union = conversions.area(a) + conversions.area(b) - common
    return common / jnp.maximum(union, _TINY)


def pairwise_iou(a: Candidates, b: Truth) -> Pairs:
    """IoU of each box of `a` with each box of `b`."""
    return iou(a[:, None], b[None])


def iou_on_host(
    boxes: Float[np.ndarray, '*n 4'], others: Float[np.ndarray, 'm 4']
) -> Float[np.ndarray, '*n m']:
    """IoU of one box, or of each of several, with others, by NumPy.

    Args:
        boxes: edges of one box or of several.
        others: edges of each other box.
    """
    common = common_on_host(boxes, others)
    areas = np.expand_dims(area_on_host(boxes), -1)
    union = areas + area_on_host(others) - common
    return common / np.maximum(union, _TINY)


def area_on_host(
    boxes: Float[np.ndarray, '*n 4'],
) -> Float[np.ndarray, '*n'] | np.floating:
    """Area of one box or of several, by NumPy. The edges of a box are in order."""
    low, high = np.split(boxes, 2, axis=-1)
    return np.prod(high - low, axis=-1)


def common_on_host(
    boxes: Float[np.ndarray, '*n 4'], others: Float[np.ndarray, 'm 4']
) -> Float[np.ndarray, '*n m']:
    """The area that one box, or each of several, has in common with others, by NumPy.

    Args:
        boxes: edges of one box or of several.
        others: edges of each other box.
    """
    boxes = np.expand_dims(boxes, -2)
    low = np.maximum(boxes[..., :2], others[:, :2])
    high = np.minimum(boxes[..., 2:], others[:, 2:])
    return np.prod(np.maximum(high - low, 0), axis=-1)


def overlap_of_first(a: BroadcastBoxes, b: BroadcastBoxes) -> Values:
    """Intersection over the area of `a`, such as a detection in a crowd region.

    Args:
        a: boxes.
        b: boxes, one for each of `a` after broadcasting.

    Returns:
        Values in [0, 1]; 0 where the area of `a` is 0.
    """
    return _intersection(a, b) / jnp.maximum(conversions.area(a), _TINY)


def giou(a: BroadcastBoxes, b: BroadcastBoxes) -> Values:
    """Generalised IoU (arXiv 1902.09630, algorithm 1).

    It is the IoU less the fraction of the smallest box around both that neither covers.

    Args:
        a: boxes.
        b: boxes, one for each of `a` after broadcasting.

    Returns:
        Values in [-1, 1].
    """
    common = _intersection(a, b)
    union = conversions.area(a) + conversions.area(b) - common
    hull = jnp.maximum(jnp.prod(_hull_sides(a, b), axis=-1), _TINY)
    return common / jnp.maximum(union, _TINY) - (hull - union) / hull


def _center_penalty(a: BroadcastBoxes, b: BroadcastBoxes) -> Values:
    """Squared distance of the centres over the squared diagonal of the hull."""
    distance = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    diagonal = jnp.sum(jnp.square(_hull_sides(a, b)), axis=-1)
    return jnp.sum(jnp.square(distance), axis=-1) / jnp.maximum(diagonal, _TINY)


def diou(a: BroadcastBoxes, b: BroadcastBoxes) -> Values:
    """Distance IoU (arXiv 1911.08287, equation 7).

    It is the IoU less d^2 / c^2: d is the distance of the centres, c the diagonal of
    the smallest box around both.

    Args:
        a: boxes.
        b: boxes, one for each of `a` after broadcasting.

    Returns:
        Values in [-1, 1].
    """
    return iou(a, b) - _center_penalty(a, b)


def ciou(a: BroadcastBoxes, b: BroadcastBoxes) -> Values:
    """Complete IoU (arXiv 1911.08287, equation 10): `diou` less the shapes' difference.

    As in the paper, the weight of the shapes' difference has no gradient.

    Args:
        a: boxes.
        b: boxes, one for each of `a` after broadcasting.

    Returns:
        Values in [-2, 1].
    """
    shape = (4 / jnp.pi**2) * jnp.square(_slope(a) - _slope(b))
    value = iou(a, b)
    weight = lax.stop_gradient(shape / jnp.maximum(1 - value + shape, _TINY))
    return value - _center_penalty(a, b) - weight * shape


def _slope(boxes: Boxes) -> Values:
    """Angle whose tangent is width over height."""
    height = jnp.maximum(boxes[..., 2] - boxes[..., 0], _TINY)
    width = boxes[..., 3] - boxes[..., 1]
    return jnp.arctan(width / height)
