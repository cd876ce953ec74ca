"""Where a detector looks: anchors of a feature map, and the centres of its cells."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

Boxes = Float[np.ndarray, '_ 4']
# (height, width), or a step in both directions.
Size = tuple[int, int]


def cell_anchors(
    sizes: Sequence[float | int], ratios: Sequence[float], rounded: bool = False
) -> Boxes:
    """Make the anchors of one cell, centred on (0, 0).

    Args:
        sizes: square roots of the areas, pixels.
        ratios: heights over widths.
        rounded: whether edges are whole pixels, as in torchvision's detectors.

    Returns:
        [len(ratios) * len(sizes), 4], edges in pixels: all sizes of the first ratio,
        then all sizes of the next ratio.
    """
    slopes = np.sqrt(np.asarray(ratios, np.float64))[:, None]
    heights = (slopes * np.asarray(sizes)).ravel()
    widths = (np.asarray(sizes) / slopes).ravel()
    anchors = np.stack([-heights, -widths, heights, widths], axis=-1) / 2
    if rounded:
        anchors = np.round(anchors)
    return anchors.astype(np.float32)


def grid_anchors(cell: Boxes, shape: Size, stride: Size, offset: float = 0.0) -> Boxes:
    """Repeat the anchors of one cell over a feature map.

    Args:
        cell: anchors centred on (0, 0), as `cell_anchors` makes them.
        shape: (height, width) of the feature map, cells.
        stride: pixels from one cell to the next, vertically and horizontally.
        offset: of the anchors' centre in its cell, as a fraction of the stride. 0 is the
            cell's top-left corner, as in torchvision; 0.5 is its centre.

    Returns:
        [height * width * len(cell), 4], edges in pixels: all anchors of the first cell,
        then all of the next cell in the row.
    """
    centers = cell_centers(shape, stride, offset)
    anchors = np.tile(centers, 2)[:, None] + cell
    return anchors.reshape(-1, 4)


def cell_centers(
    shape: Size, stride: Size, offset: float = 0.5
) -> Float[np.ndarray, '_ 2']:
    """List the centres (y, x) of a feature map's cells, row by row, in pixels.

    Args:
        shape: (height, width) of the feature map, cells.
        stride: pixels from one cell to the next, vertically and horizontally.
        offset: of the centre in its cell, as a fraction of the stride.
    """
    ys = (np.arange(shape[0]) + offset) * stride[0]
    xs = (np.arange(shape[1]) + offset) * stride[1]
    grid = np.stack(np.meshgrid(ys, xs, indexing='ij'), axis=-1)
    return grid.reshape(-1, 2).astype(np.float32)
