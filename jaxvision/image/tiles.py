"""Images of any size through a network of one size: overlapping tiles and back, on the host.

Neighbouring tiles share `overlap` pixels at least, and meet in the middle of what they share. So
the joined answers of a network whose receptive field reaches no farther than overlap / 2 pixels are
its answer for the whole image, but near the image's border. Where it reaches farther, a `blend` of
up to `overlap` pixels hides the seams: there the one answer fades linearly into the other.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float, Int, Shaped

SOME = 64  # rows of an image, joined, that are given out at once

Size = tuple[int, int]
Corners = Int[np.ndarray, 'n 2']


def corners(shape: Size, size: Size, overlap: int) -> Corners:
    """(top, left) of the tiles of `size` (height, width) that cover an image of `shape`, row by
    row; the last of a row or column ends with the image, if the image is no smaller than a tile.

    Raises ValueError unless 0 <= overlap < size.
    """
    if not 0 <= overlap < min(size):
        raise ValueError(f'tiles of {size[0]}x{size[1]} pixels cannot share {overlap}')
    tops, lefts = (
        [*range(0, length - side, side - overlap), max(length - side, 0)]
        for length, side in zip(shape, size, strict=True)
    )
    return np.stack(np.meshgrid(tops, lefts, indexing='ij'), axis=-1).reshape(-1, 2)


def pad(image: Shaped[np.ndarray, 'h w c'], size: Size) -> Shaped[np.ndarray, 'H W c']:
    """At least as large as a tile: reflected below and on the right; `join` cuts that off again."""
    down, right = (
        max(side - length, 0)
        for length, side in zip(image.shape[:2], size, strict=True)
    )
    if not down and not right:
        return image
    return np.pad(image, ((0, down), (0, right), (0, 0)), mode='reflect')


def split(
    image: Shaped[np.ndarray, 'h w c'], size: Size, overlap: int
) -> tuple[Shaped[np.ndarray, 'n th tw c'], Corners]:
    """(tiles of `size` (height, width), their corners); an image that is smaller is padded.

    Raises ValueError unless 0 <= overlap < size.
    """
    places = corners(image.shape[:2], size, overlap)
    image = pad(image, size)
    return np.stack(
        [image[y : y + size[0], x : x + size[1]] for y, x in places]
    ), places


def join(
    tiles: Float[np.ndarray, 'n th tw c'],
    corners: Corners,
    shape: Size,
    overlap: int,
    scale: int = 1,
    blend: int = 0,
) -> Float[np.ndarray, 'H W c']:
    """The image of which these are the tiles, `scale` times as large as `shape` (height, width).

    Args:
        tiles: answers for the tiles that `split` made, each `scale` times as large as its tile.
        corners: as `split` gave them.
        shape: of the image that was split.
        overlap: as it was given to `split`.
        blend: pixels of the image, up to `overlap`, over which a tile fades into the next.
    Raises:
        ValueError: blend is not between 0 and overlap.
    """
    return np.concatenate(list(join_rows(tiles, corners, shape, overlap, scale, blend)))


def join_rows(
    tiles: Iterable[Float[np.ndarray, 'th tw c']],
    corners: Corners,
    shape: Size,
    overlap: int,
    scale: int = 1,
    blend: int = 0,
) -> Iterator[Float[np.ndarray, '_rows W c']]:
    """`join` from the top down, some rows at a time: of the tiles, which may come from an iterator,
    only some rows of tiles are in memory. Arguments and errors as above."""
    if not 0 <= blend <= overlap:
        raise ValueError(f'{blend} pixels of blend in an overlap of {overlap}')
    tiles = iter(tiles)
    tops, lefts = (np.unique(scale * starts).tolist() for starts in corners.T)
    height, width = (scale * length for length in shape)

    def row() -> Float[np.ndarray, 'th W c']:
        across = (next(tiles).swapaxes(0, 1) for _ in lefts)
        return np.concatenate(list(_chain(across, lefts, scale * blend)))[
            :width
        ].swapaxes(0, 1)

    for rows in _chain((row() for _ in tops), tops, scale * blend):
        for top in range(0, min(len(rows), height), SOME):
            yield rows[top : min(top + SOME, height)]


def _chain(
    parts: Iterable[Float[np.ndarray, 'length _ c']], starts: list[int], blend: int
) -> Iterator[Float[np.ndarray, '_some _ c']]:
    """Parts along the first axis, from `starts` on, as pieces that follow on one another."""
    shared = None
    fade = ((np.arange(blend) + 0.5) / blend if blend else np.zeros(0))[:, None, None]
    for part, start, following in zip(parts, starts, [*starts[1:], None], strict=True):
        if shared is not None:
            first = (len(shared) - blend) // 2
            old, new = (array[first : first + blend] for array in (shared, part))
            seam = old + fade.astype(part.dtype) * (new - old)
            part = np.concatenate([shared[:first], seam, part[first + blend :]])
        end = len(part) if following is None else following - start
        yield part[:end]
        shared = part[end:].copy()  # so that the rest of it is free
