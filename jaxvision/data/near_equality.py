"""Images that are nearly equal: their small grey pictures hardly differ."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from jaxvision.data import resizing

_SIDE = 16  # of the grey pictures that are compared
_NEAR = 4.0  # root of the mean squared difference of such pictures, of 255 levels
_BLOCK = 1024  # pictures that are compared at once

Vector = Float[np.ndarray, 'd']


def vector(thumbnail: UInt8[np.ndarray, 'h w c']) -> Vector:
    """A grey picture of 16x16 pixels as a vector, for `pairs`."""
    small = resizing.resize(thumbnail, _SIDE, _SIDE)
    return small.astype(np.float32).mean(-1).reshape(-1)


def pairs(
    others: Sequence[Vector | None], vectors: Sequence[Vector | None]
) -> list[tuple[int, int]]:
    """Find the vectors whose nearest one among others differs by less than 4 of 255 levels.

    The difference is the root of the mean squared difference.

    Args:
        others: the vectors to look among; None: the image cannot be read.
        vectors: the vectors to look for; None: the image cannot be read.

    Returns:
        (place in `others`, place in `vectors`) of each.
    """
    other_rows = [row for row, item in enumerate(others) if item is not None]
    rows = [row for row, item in enumerate(vectors) if item is not None]
    if not other_rows or not rows:
        return []
    other_vectors = np.stack([item for item in others if item is not None])
    other_norms = np.square(other_vectors).mean(1)
    found = []
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        compared = np.stack([vectors[row] for row in block])
        products = compared @ other_vectors.T / compared.shape[1]
        norms = np.square(compared).mean(1)
        gaps = norms[:, None] + other_norms - 2 * products
        nearest = gaps.argmin(1)
        for place, row in enumerate(block):
            if gaps[place, nearest[place]] < _NEAR**2:
                found.append((other_rows[nearest[place]], row))
    return found
