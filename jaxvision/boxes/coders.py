"""Box regression: how a network's four numbers become a box, and back."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvision.boxes import conversions
from jaxvision.boxes.types import Boxes, Points

# A side grows at most by this factor; arXiv 1506.01497's code limits 16-pixel cells to 1,000.
LARGEST_GROWTH = 1000 / 16

Weights = tuple[float, float, float, float]
ONES: Weights = (1.0, 1.0, 1.0, 1.0)


def encode_deltas(boxes: Boxes, anchors: Boxes, weights: Weights = ONES) -> Boxes:
    """Encode boxes relative to anchors (Faster R-CNN, arXiv 1506.01497, equation 2).

    Args:
        boxes: edges, with positive sides.
        anchors: edges, with positive sides.
        weights: factors of the four deltas, such as (10, 10, 5, 5).

    Returns:
        (dy, dx, dh, dw), each times its weight. The shifts dy and dx of the centre are
        fractions of the anchor's sides. The others are log(side / anchor's side).
    """
    box_center, box_size = jnp.split(conversions.to_center_size(boxes), 2, axis=-1)
    center, size = jnp.split(conversions.to_center_size(anchors), 2, axis=-1)
    shift = (box_center - center) / size
    growth = jnp.log(box_size / size)
    deltas = jnp.concatenate([shift, growth], axis=-1)
    return deltas * jnp.asarray(weights, deltas.dtype)


def decode_deltas(deltas: Boxes, anchors: Boxes, weights: Weights = ONES) -> Boxes:
    """Decode what `encode_deltas` encodes.

    Args:
        deltas: (dy, dx, dh, dw), each times its weight.
        anchors: edges.
        weights: as for `encode_deltas`.

    Returns:
        Edges. Sides are at most `LARGEST_GROWTH` times the anchor's.
    """
    deltas = deltas / jnp.asarray(weights, deltas.dtype)
    shift, growth = jnp.split(deltas, 2, axis=-1)
    center, size = jnp.split(conversions.to_center_size(anchors), 2, axis=-1)
    growth = jnp.minimum(growth, math.log(LARGEST_GROWTH))
    box_center = center + shift * size
    box_size = jnp.exp(growth) * size
    decoded = jnp.concatenate([box_center, box_size], axis=-1)
    return conversions.from_center_size(decoded)


def encode_distances(boxes: Boxes, centers: Points) -> Boxes:
    """Encode boxes as distances from points to their edges (FCOS, arXiv 1904.01355).

    Args:
        boxes: edges.
        centers: (y, x).

    Returns:
        Distances (top, left, bottom, right), negative where the point is outside.
    """
    low = centers - boxes[..., :2]
    high = boxes[..., 2:] - centers
    return jnp.concatenate([low, high], axis=-1)


def decode_distances(distances: Boxes, centers: Points) -> Boxes:
    """Decode what `encode_distances` encodes.

    Args:
        distances: (top, left, bottom, right).
        centers: (y, x).

    Returns:
        Edges, in the unit of `centers`.
    """
    low = centers - distances[..., :2]
    high = centers + distances[..., 2:]
    return jnp.concatenate([low, high], axis=-1)


def decode_grid(
    outputs: Boxes,
    cells: Points,
    stride: Float[Array, '*n 1'],
) -> Boxes:
    """Decode YOLOX's outputs (arXiv 2107.08430): a shift and the log of a size.

    A shift of 0 puts the centre of the box on the top-left corner of its cell.

    Args:
        outputs: (dy, dx, log height, log width) in strides.
        cells: (row, column) of each cell, from 0.
        stride: pixels from one cell to the next.

    Returns:
        Edges in pixels.
    """
    center = (outputs[..., :2] + cells) * stride
    size = jnp.exp(outputs[..., 2:]) * stride
    return conversions.from_center_size(jnp.concatenate([center, size], axis=-1))
