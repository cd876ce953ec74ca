"""Join overlapping tiles of any image size by Gaussian weights, in blocks and in little memory.

The weight of a tile is largest in its middle, so that no seam is visible and the uncertain border
of a tile counts little (Isensee et al., nnU-Net, arXiv 1809.10486). All functions run on the host.
"""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float

from jaxvision.image.tiles import Corners, Tile
from jaxvision.image.types import Size

# Std of the weights, as a fraction of a tile's side.
STD = 1 / 8

Weights = Float[np.ndarray, 'n side']


@dataclasses.dataclass(frozen=True)
class Block:
    """A part of a joined image that no later tile changes.

    Attributes:
        top: its first row in the image.
        left: its first column in the image.
        values: [h, w, C].
    """

    top: int
    left: int
    values: Float[np.ndarray, '_h _w c']


def gaussian_weights(starts: list[int], side: int, std: float = STD) -> Weights:
    """The weights of overlapping tiles along one axis.

    At each pixel the weights of the tiles that cover it have the sum 1.

    Args:
        starts: first pixel of each tile, ascending. Neighbours touch or overlap.
        side: of a tile, pixels.
        std: of the Gaussian, as a fraction of the side.

    Returns:
        The weight of each pixel of each tile, [tiles, side], in (0, 1].
    """
    distances = (np.arange(side) + 0.5) / side - 0.5
    gaussian = np.exp(-0.5 * (distances / std) ** 2)
    total = np.zeros(starts[-1] + side)
    for start in starts:
        total[start : start + side] += gaussian
    weights = [gaussian / total[start : start + side] for start in starts]
    return np.stack(weights)


def join_blocks(
    tiles: Iterable[Tile], corners: Corners, shape: Size, std: float = STD
) -> Iterator[Block]:
    """Join the outputs for tiles to the output for an image, as their weighted mean.

    Only the rows that the tiles of two lines share, and the columns that two neighbours
    share, are kept in memory.

    Args:
        tiles: outputs of a network for the tiles of `tiles.split`, in their order, each
            [h, w, C]. They are taken from the iterator when they are needed.
        corners: (top, left) of the tiles, from `tiles.corners`.
        shape: (height, width) of the image, before any padding.
        std: of the Gaussian weights, as a fraction of the sides of a tile.

    Yields:
        Blocks that cover the image without overlap, line by line from the top left. The
        blocks of a line have the same rows.
    """
    tiles = iter(tiles)
    first = next(tiles)
    height, width, _ = first.shape
    tops = np.unique(corners[:, 0]).tolist()
    lefts = np.unique(corners[:, 1]).tolist()
    weights_y = gaussian_weights(tops, height, std).astype(first.dtype)
    weights_x = gaussian_weights(lefts, width, std).astype(first.dtype)
    next_tops = [*tops[1:], max(shape[0], tops[-1] + height)]
    next_lefts = [*lefts[1:], max(shape[1], lefts[-1] + width)]
    # The rows shared with the line above, for each place of a tile. They are freed one by one.
    above: list[Tile] = [first[:0]] * len(lefts)
    for line, top in enumerate(tops):
        end = next_tops[line] - top
        beside = first[:, :0]
        for place, left in enumerate(lefts):
            tile = first if line == place == 0 else next(tiles)
            weights = weights_y[line][:, None] * weights_x[place]
            values = tile * weights[..., None]
            values[:, : beside.shape[1]] += beside
            right = next_lefts[place] - left
            beside = values[:, right:].copy()
            values = values[:, :right]
            if line:
                values[: len(above[place])] += above[place]
            above[place] = values[end:].copy()
            inside = values[: min(end, shape[0] - top), : shape[1] - left]
            yield Block(top, left, inside)
