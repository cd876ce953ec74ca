"""Process an image of any size with a network of one size: split it into tiles, and join them.

Neighbouring tiles share at least `overlap` pixels, and meet in the middle of these. So the joined
outputs of a network with a receptive field of at most overlap / 2 pixels in each direction are its
output for the whole image, except near the image's border. With a larger receptive field, a `blend`
of up to `overlap` pixels hides the seams: one output fades linearly into the other. All of this
runs on the host.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float, Int, Shaped

SOME = 64  # rows of a joined image that are given out at once

Size = tuple[int, int]
Corners = Int[np.ndarray, 'n 2']


def corners(shape: Size, size: Size, overlap: int) -> Corners:
    """The corners of the tiles that cover an image, row by row.

    The last tile of a row or column ends with the image, unless the image is smaller than a tile.

    Args:
        shape: height and width of the image.
        size: height and width of a tile.
        overlap: the least pixels that neighbouring tiles share.

    Returns:
        (top, left) of each tile.

    Raises:
        ValueError: The overlap is negative, or not smaller than a tile.
    """
    if not 0 <= overlap < min(size):
        raise ValueError(f'tiles of {size[0]}x{size[1]} pixels cannot share {overlap}')
    tops = _starts(shape[0], size[0], overlap)
    lefts = _starts(shape[1], size[1], overlap)
    return np.stack(np.meshgrid(tops, lefts, indexing='ij'), axis=-1).reshape(-1, 2)


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """Where tiles begin along one axis."""
    return [*range(0, length - side, side - overlap), max(length - side, 0)]


def pad(image: Shaped[np.ndarray, 'h w c'], size: Size) -> Shaped[np.ndarray, 'H W c']:
    """Pad an image to at least the size of a tile, reflected below and on the right.

    `join` cuts the padding off again.
    """
    height, width, _ = image.shape
    down = max(size[0] - height, 0)
    right = max(size[1] - width, 0)
    if not down and not right:
        return image
    return np.pad(image, ((0, down), (0, right), (0, 0)), mode='reflect')


def split(
    image: Shaped[np.ndarray, 'h w c'], size: Size, overlap: int
) -> tuple[Shaped[np.ndarray, 'n th tw c'], Corners]:
    """Split an image into tiles. A smaller image is padded.

    Args:
        image: [H, W, C].
        size: height and width of a tile.
        overlap: the least pixels that neighbouring tiles share.

    Returns:
        The tiles and their corners.

    Raises:
        ValueError: As for `corners`.
    """
    places = corners(image.shape[:2], size, overlap)
    image = pad(image, size)
    height, width = size
    tiles = [image[top : top + height, left : left + width] for top, left in places]
    return np.stack(tiles), places


def join(
    tiles: Float[np.ndarray, 'n th tw c'],
    corners: Corners,
    shape: Size,
    overlap: int,
    scale: int = 1,
    blend: int = 0,
) -> Float[np.ndarray, 'H W c']:
    """Join tiles to an image.

    Args:
        tiles: a network's outputs for the tiles of `split`, each `scale` times as large.
        corners: the corners that `split` returned.
        shape: height and width of the image that was split.
        overlap: as for `split`.
        scale: how many times as large the outputs are.
        blend: pixels of the image, up to `overlap`, over which a tile fades into the next.

    Returns:
        The joined outputs, `scale` times as large as `shape`.

    Raises:
        ValueError: `blend` is not between 0 and `overlap`.
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
    """Join tiles from the top down, with only a few rows of tiles in memory.

    Args:
        tiles: as for `join`, from any iterator.
        corners: as for `join`.
        shape: as for `join`.
        overlap: as for `join`.
        scale: as for `join`.
        blend: as for `join`.

    Yields:
        Rows of the joined outputs, some at a time.

    Raises:
        ValueError: As for `join`.
    """
    if not 0 <= blend <= overlap:
        raise ValueError(f'{blend} pixels of blend in an overlap of {overlap}')
    tiles = iter(tiles)
    tops = np.unique(scale * corners[:, 0]).tolist()
    lefts = np.unique(scale * corners[:, 1]).tolist()
    height = scale * shape[0]
    width = scale * shape[1]

    def row() -> Float[np.ndarray, 'th W c']:
        across = (next(tiles).swapaxes(0, 1) for _ in lefts)
        joined = np.concatenate(list(_chain(across, lefts, scale * blend)))
        return joined[:width].swapaxes(0, 1)

    for rows in _chain((row() for _ in tops), tops, scale * blend):
        for top in range(0, min(len(rows), height), SOME):
            yield rows[top : min(top + SOME, height)]


def _chain(
    parts: Iterable[Float[np.ndarray, 'length _ c']], starts: list[int], blend: int
) -> Iterator[Float[np.ndarray, '_some _ c']]:
    """Join overlapping parts along the first axis, into pieces that follow one another.

    Args:
        parts: the parts.
        starts: where each part begins.
        blend: over how many entries a part fades into the next.
    """
    shared = None
    fade = np.zeros(0)
    if blend:
        fade = (np.arange(blend) + 0.5) / blend
    fade = fade[:, None, None]
    for part, start, following in zip(parts, starts, [*starts[1:], None], strict=True):
        if shared is not None:
            first = (len(shared) - blend) // 2
            old = shared[first : first + blend]
            new = part[first : first + blend]
            seam = old + fade.astype(part.dtype) * (new - old)
            part = np.concatenate([shared[:first], seam, part[first + blend :]])
        end = len(part) if following is None else following - start
        yield part[:end]
        shared = part[end:].copy()  # A copy lets go of the rest of the part.
