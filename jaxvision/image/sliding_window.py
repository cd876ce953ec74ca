"""Predict images of any size by overlapping tiles, blended with Gaussian weights.

A tile counts most in its middle: the standard deviation of its weights is an eighth of its side
(Isensee et al., nnU-Net, 2021). The weights of all tiles at a pixel sum to 1. All functions run on
the host. Finished blocks leave as soon as no later tile reaches them, so that only one tile and a
strip of the image, as high as the overlap, are in memory.

With `margin`, pixels of a tile near its inner edges do not count. If a network sees no farther than
the margin, and `multiple` is its coarsest stride, then the result is that for the whole image.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num, Shaped

from jaxvision.image.types import Size

_STD = 1 / 8  # of the weights, as a fraction of the side of a tile

Image = Shaped[np.ndarray, 'h w c']
Weights = Float[np.ndarray, 'n side']
# `([N, th, tw, C]) -> outputs [N, th, tw, K]`.
Predict = Callable[[Shaped[np.ndarray, 'n th tw c']], Float[np.ndarray, 'n th tw k']]


class Block(NamedTuple):
    """A finished part of the output for an image.

    Attributes:
        top: first row in the image.
        left: first column in the image.
        values: [h, w, K], float32.
    """

    top: int
    left: int
    values: Float[np.ndarray, 'bh bw k']


class Axis(NamedTuple):
    """The tiles along one axis of an image.

    Attributes:
        length: of the image in pixels.
        starts: first pixel of each tile.
        weights: of the pixels of each tile, [tiles, side]. The weights of all tiles sum to
            1 at each pixel of the image.
    """

    length: int
    starts: tuple[int, ...]
    weights: Weights

    def finished(self, tile: int) -> int:
        """Number of the first pixels of a tile that no later tile reaches."""
        end = self.length
        if tile + 1 < len(self.starts):
            end = self.starts[tile + 1]
        return end - self.starts[tile]


def axis_of(
    length: int, side: int, overlap: int, multiple: int = 1, margin: int = 0
) -> Axis:
    """Place tiles along an axis, and compute their weights.

    Args:
        length: of the image in pixels.
        side: of a tile in pixels, a multiple of `multiple`.
        overlap: the least number of pixels that neighbouring tiles share.
        multiple: tiles start at multiples of it. The last tile may end up to
            `multiple` - 1 pixels beyond the image.
        margin: pixels at each end of a tile that do not count, except at the ends of the
            image; at most half of `overlap`.

    Returns:
        The tiles. An image shorter than a tile has one.

    Raises:
        ValueError: A number does not fit the others.
    """
    if multiple < 1 or side % multiple:
        raise ValueError(
            f'side={side}: expected a multiple of {multiple} pixels. Choose another side.'
        )
    step = (side - overlap) // multiple * multiple
    if overlap < 0 or step < 1:
        raise ValueError(
            f'overlap={overlap}: expected 0 to {side - multiple} pixels for tiles of {side} '
            f'pixels that start at multiples of {multiple}.'
        )
    if not 0 <= 2 * margin <= overlap:
        raise ValueError(
            f'margin={margin}: expected 0 to {overlap // 2} pixels, half of the overlap.'
        )
    beyond = max(length - side, 0)
    last = -(-beyond // multiple) * multiple
    starts = (*range(0, last, step), last)
    return Axis(length, starts, _weights(length, starts, side, margin))


def _weights(length: int, starts: tuple[int, ...], side: int, margin: int) -> Weights:
    """The weights of the pixels of each tile, which sum to 1 at each pixel."""
    places = np.arange(side) + 0.5 - side / 2
    gaussian = np.exp(-0.5 * (places / (_STD * side)) ** 2)
    weights = np.tile(gaussian, (len(starts), 1))
    if margin:
        weights[1:, :margin] = 0
        weights[:-1, -margin:] = 0
    total = np.zeros(max(length, starts[-1] + side))
    for start, of_tile in zip(starts, weights, strict=True):
        total[start : start + side] += of_tile
    for start, of_tile in zip(starts, weights, strict=True):
        of_tile /= total[start : start + side]
    return weights.astype(np.float32)


def predict_blocks(
    image: Image,
    predict: Predict,
    size: Size,
    overlap: int,
    *,
    multiple: int = 1,
    margin: int = 0,
    batch: int = 1,
) -> Iterator[Block]:
    """Predict an image tile by tile, and yield finished blocks of the blended outputs.

    Args:
        image: [H, W, C], in memory or mapped. Beyond its edges the last row and column are
            repeated.
        predict: the network, for batches of tiles of one shape.
        size: (height, width) of a tile in pixels.
        overlap: the least number of pixels that neighbouring tiles share.
        multiple: tiles start at multiples of it, such as the coarsest stride of the
            network. Height and width of a tile are multiples of it too.
        margin: pixels near the inner edges of a tile that do not count, at most half of
            the overlap.
        batch: number of tiles that `predict` takes at once. The last batch is filled up
            with copies of its last tile.

    Yields:
        Blocks that cover the image once, row of tiles by row of tiles.

    Raises:
        ValueError: A number does not fit the others. It is raised with the first block.
    """
    height, width, _ = image.shape
    rows = axis_of(height, size[0], overlap, multiple, margin)
    columns = axis_of(width, size[1], overlap, multiple, margin)
    outputs = _outputs(image, predict, size, rows.starts, columns.starts, batch)
    strip = np.zeros((0, width, 1), np.float32)
    for row, top in enumerate(rows.starts):
        finished_rows = rows.finished(row)
        # What this row of tiles adds to the rows of the next one.
        unfinished = None
        beside = None
        for column, left in enumerate(columns.starts):
            part = next(outputs) * rows.weights[row][:, None, None]
            part *= columns.weights[column][:, None]
            if beside is not None:
                part[:, : beside.shape[1]] += beside
            done = columns.finished(column)
            beside = part[:, done:]
            part = part[:, :done]
            part[: len(strip)] += strip[:, left : left + done]
            if unfinished is None:
                rest = max(size[0] - finished_rows, 0)
                unfinished = np.zeros((rest, width, part.shape[2]), np.float32)
            unfinished[:, left : left + done] = part[finished_rows:]
            yield Block(top, left, part[:finished_rows])
        strip = unfinished


def _outputs(
    image: Image,
    predict: Predict,
    size: Size,
    tops: tuple[int, ...],
    lefts: tuple[int, ...],
    batch: int,
) -> Iterator[Float[np.ndarray, 'th tw k']]:
    """The float32 outputs for all tiles, row by row."""
    corners = [(top, left) for top in tops for left in lefts]
    for first in range(0, len(corners), batch):
        some = corners[first : first + batch]
        tiles = [_cut(image, corner, size) for corner in some]
        tiles += tiles[-1:] * (batch - len(tiles))
        outputs = np.asarray(predict(np.stack(tiles)), np.float32)
        yield from outputs[: len(some)]


def _cut(image: Image, corner: Size, size: Size) -> Shaped[np.ndarray, 'th tw c']:
    """Cut out a tile. Its last row and column are repeated beyond the image."""
    top, left = corner
    tile = np.asarray(image[top : top + size[0], left : left + size[1]])
    below = size[0] - tile.shape[0]
    right = size[1] - tile.shape[1]
    if not below and not right:
        return tile
    return np.pad(tile, ((0, below), (0, right), (0, 0)), mode='edge')


def write_labels(blocks: Iterable[Block], labels: Num[np.ndarray, 'h w']) -> None:
    """Write the class of the largest output of each pixel.

    Args:
        blocks: of the logits or probabilities of an image.
        labels: of the image, in memory or mapped. It is changed in place.
    """
    for top, left, values in blocks:
        height, width, _ = values.shape
        labels[top : top + height, left : left + width] = values.argmax(axis=-1)
