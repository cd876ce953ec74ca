"""Split images of any size into tiles for a network of one size, and join its outputs.

Neighbouring tiles share at least `overlap` pixels, and are joined in the middle of these. For a
network with a receptive field of at most overlap / 2 pixels in each direction, the joined outputs
equal its output for the whole image, except near the border. With a larger receptive field there
are seams. A `blend` of up to `overlap` pixels hides them: one output fades linearly into the other.
All functions run on the host.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float, Int, Shaped

from jaxvision.image.types import Size

# The most rows of a joined image that are yielded at once.
SOME = 64

# (top, left) of each tile.
Corners = Int[np.ndarray, 'n 2']
Image = Shaped[np.ndarray, 'h w c']
Tiles = Shaped[np.ndarray, 'n th tw c']
# The output of a network for one tile.
Tile = Float[np.ndarray, 'th tw c']
JoinedRows = Iterator[Float[np.ndarray, '_rows W c']]
Parts = Iterable[Float[np.ndarray, 'length _ c']]


def corners(
    shape: Size,
    size: Size,
    overlap: int,
    multiple: int = 1,
) -> Corners:
    """Compute the corners of tiles that cover an image, row by row from the top left.

    The last tile of a row or column ends at the edge of the image. Along an axis on
    which the image is smaller than a tile, there is one tile, which begins at 0.

    A network with strides sees the same cells in a tile as in the whole image, if the
    tile begins at a multiple of its coarsest stride.

    Args:
        shape: height and width of the image.
        size: height and width of a tile.
        overlap: the least number of pixels that neighbouring tiles share.
        multiple: tiles begin at multiples of this number of pixels, which divides the
            sides of a tile less the overlap. The last tile of a row or column then ends
            up to `multiple` - 1 pixels beyond the edge.

    Returns:
        (top, left) of each tile.

    Raises:
        ValueError: The overlap is negative, or not smaller than a tile. Or `multiple` does
            not divide the distances of tiles.
    """
    if multiple < 1 or any((side - overlap) % multiple for side in size):
        raise ValueError(
            f'multiple={multiple}: expected a divisor of the sides {size[0]}x{size[1]} of a '
            f'tile less the overlap of {overlap} pixels.'
        )
    if not 0 <= overlap < min(size):
        raise ValueError(
            f'overlap={overlap}: expected 0 or more pixels, and less than a side of tiles '
            f'of {size[0]}x{size[1]}.'
        )
    tops = _starts(shape[0], size[0], overlap, multiple)
    lefts = _starts(shape[1], size[1], overlap, multiple)
    grid = np.meshgrid(tops, lefts, indexing='ij')
    return np.stack(grid, axis=-1).reshape(-1, 2)


def _starts(
    length: int,
    side: int,
    overlap: int,
    multiple: int,
) -> list[int]:
    """First pixels of the tiles along one axis.

    Args:
        length: of the image.
        side: of a tile.
        overlap: the least number of pixels that neighbouring tiles share.
        multiple: a divisor of all first pixels.
    """
    last = -(-(length - side) // multiple) * multiple
    return [*range(0, last, side - overlap), max(last, 0)]


def pad(
    image: Image,
    size: Size,
) -> Shaped[np.ndarray, 'H W c']:
    """Pad an image to at least the size of a tile, by reflection below and on the right.

    `size` is (height, width) of a tile. An image that is large enough is returned as it
    is. `join` removes the padding.
    """
    height, width, _ = image.shape
    down = max(size[0] - height, 0)
    right = max(size[1] - width, 0)
    if not down and not right:
        return image
    pads = ((0, down), (0, right), (0, 0))
    return np.pad(image, pads, mode='reflect')


def split(
    image: Image,
    size: Size,
    overlap: int,
) -> tuple[Tiles, Corners]:
    """Split an image into tiles. `pad` pads an image smaller than a tile.

    Args:
        image: [H, W, C].
        size: height and width of a tile.
        overlap: the least number of pixels that neighbouring tiles share.

    Returns:
        (the tiles [N, h, w, C], the corners (top, left) [N, 2]), row by row from the
        top left.

    Raises:
        ValueError: The overlap is negative, or not smaller than a tile.
    """
    tile_corners = corners(image.shape[:2], size, overlap)
    padded = pad(image, size)
    height, width = size
    tiles = []
    for top, left in tile_corners:
        tiles.append(padded[top : top + height, left : left + width])
    return np.stack(tiles), tile_corners


def join(
    tiles: Float[np.ndarray, 'n th tw c'],
    corners: Corners,
    shape: Size,
    overlap: int,
    scale: int = 1,
    blend: int = 0,
) -> Float[np.ndarray, 'H W c']:
    """Join the outputs for tiles to the output for an image.

    Args:
        tiles: outputs of a network for the tiles of `split`, in their order,
            [N, scale * h, scale * w, C].
        corners: the corners from `split`.
        shape: height and width of the image, before any padding.
        overlap: the value that `split` got.
        scale: factor by which the network enlarges its input.
        blend: pixels of the input, up to `overlap`, over which a tile fades into the next one.
            0 gives a hard seam in the middle of the overlap.

    Returns:
        The joined outputs, [scale * H, scale * W, C], without padding.

    Raises:
        ValueError: `blend` is not between 0 and `overlap`.
    """
    rows = join_rows(tiles, corners, shape, overlap, scale, blend)
    return np.concatenate(list(rows))


def join_rows(
    tiles: Iterable[Tile],
    corners: Corners,
    shape: Size,
    overlap: int,
    scale: int = 1,
    blend: int = 0,
) -> JoinedRows:
    """Join tiles from top to bottom, with only a few rows of tiles in memory.

    Args:
        tiles: outputs of a network for the tiles of `split`, in their order, each
            [scale * h, scale * w, C]. They are taken from the iterator when needed.
        corners: the corners from `split`.
        shape: height and width of the image, before any padding.
        overlap: the value that `split` got.
        scale: factor by which the network enlarges its input.
        blend: as for `join`.

    Yields:
        Consecutive rows of the joined output without padding, [rows, scale * W, C], up
        to 64 rows at a time.

    Raises:
        ValueError: `blend` is not between 0 and `overlap`. It is raised with the first
            rows.
    """
    if not 0 <= blend <= overlap:
        raise ValueError(f'blend={blend}: expected 0 to {overlap} pixels, the overlap.')
    tiles = iter(tiles)
    tops = np.unique(scale * corners[:, 0]).tolist()
    lefts = np.unique(scale * corners[:, 1]).tolist()
    height = scale * shape[0]
    width = scale * shape[1]

    def join_row() -> Float[np.ndarray, 'th W c']:
        """Join the tiles of one row."""
        transposed = (next(tiles).swapaxes(0, 1) for _ in lefts)
        parts = list(_chain(transposed, lefts, scale * blend))
        joined = np.concatenate(parts)
        return joined[:width].swapaxes(0, 1)

    tile_rows = (join_row() for _ in tops)
    for rows in _chain(tile_rows, tops, scale * blend):
        for top in range(0, min(len(rows), height), SOME):
            end = min(top + SOME, height)
            yield rows[top:end]


def _chain(
    parts: Parts,
    starts: list[int],
    blend: int,
) -> Iterator[Float[np.ndarray, '_some _ c']]:
    """Join overlapping parts along the first axis, and yield consecutive pieces.

    Args:
        parts: overlapping arrays.
        starts: first position of each part.
        blend: number of positions over which a part fades into the next one.
    """
    shared = None
    fade = np.zeros(0)
    if blend:
        fade = (np.arange(blend) + 0.5) / blend
    fade = fade[:, None, None]
    next_starts = [*starts[1:], None]
    for part, start, next_start in zip(parts, starts, next_starts, strict=True):
        if shared is not None:
            first = (len(shared) - blend) // 2
            old = shared[first : first + blend]
            new = part[first : first + blend]
            seam = old + fade.astype(part.dtype) * (new - old)
            part = np.concatenate([shared[:first], seam, part[first + blend :]])
        end = len(part)
        if next_start is not None:
            end = next_start - start
        yield part[:end]
        # A copy does not keep the rest of the part in memory.
        shared = part[end:].copy()
