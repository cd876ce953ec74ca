"""Boxes in other forms: centre and size, COCO's corner and size, fractions of an image."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvision.boxes.types import Boxes, Values


def to_center_size(boxes: Boxes) -> Boxes:
    """Convert edges to [y, x, height, width] of the centre and the size."""
    low, high = jnp.split(boxes, 2, axis=-1)
    return jnp.concatenate([(low + high) / 2, high - low], axis=-1)


def from_center_size(boxes: Boxes) -> Boxes:
    """Convert [y, x, height, width] of the centre and the size to edges."""
    center, size = jnp.split(boxes, 2, axis=-1)
    return jnp.concatenate([center - size / 2, center + size / 2], axis=-1)


def to_xywh(boxes: Boxes) -> Boxes:
    """Convert edges to COCO's [x, y, width, height] of the top-left corner and the size."""
    ymin, xmin, ymax, xmax = jnp.moveaxis(boxes, -1, 0)
    return jnp.stack([xmin, ymin, xmax - xmin, ymax - ymin], axis=-1)


def from_xywh(boxes: Boxes) -> Boxes:
    """Convert COCO's [x, y, width, height] to edges [ymin, xmin, ymax, xmax]."""
    x, y, width, height = jnp.moveaxis(boxes, -1, 0)
    return jnp.stack([y, x, y + height, x + width], axis=-1)


def area(boxes: Boxes) -> Values:
    """Area of boxes; 0 for a box whose edges are the wrong way round."""
    low, high = jnp.split(boxes, 2, axis=-1)
    return jnp.prod(jnp.maximum(high - low, 0), axis=-1)


def clip(boxes: Boxes, size: Float[Array, '2']) -> Boxes:
    """Clip boxes to an image.

    Args:
        boxes: edges in pixels.
        size: (height, width) of the image in pixels.
    """
    limits = jnp.concatenate([size, size]).astype(boxes.dtype)
    return jnp.clip(boxes, 0, limits)
