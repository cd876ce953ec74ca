"""Random masks of holes in an image: bool [H, W, 1], True where pixels are missing."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxvision.image.types import Index, Size

Mask = Bool[Array, 'h w 1']
Points = Float[Array, 's 2']
Radii = Float[Array, 's']
Times = Float[Array, 'h w']

# Number of strokes of a free-form hole, and of segments of a stroke. Together they cover more than
# half of an image.
STROKES = 8
SEGMENTS = 8


def box(
    key: PRNGKeyArray,
    size: Size,
    hole: int,
) -> Mask:
    """Mask a square at a random position inside the image.

    Args:
        key: random key of the position.
        size: height and width of the image.
        hole: side of the square in pixels.

    Returns:
        True inside the square, [H, W, 1].

    Raises:
        ValueError: The hole does not fit into the image.
    """
    if not 0 <= hole <= min(size):
        raise ValueError(
            f'hole={hole}: expected 0 to {min(size)} pixels, to fit into an image of size '
            f'{size}.'
        )
    height, width = size
    positions = jnp.array([height - hole + 1, width - hole + 1])
    top, left = jax.random.randint(key, (2,), 0, positions, jnp.int32)
    y = jnp.arange(height)[:, None]
    x = jnp.arange(width)
    in_rows = (top <= y) & (y < top + hole)
    inside = in_rows & (left <= x) & (x < left + hole)
    return inside[..., None]


def border(
    size: Size,
    margin: int,
) -> Mask:
    """Mask a margin along all four edges of an image.

    Args:
        size: height and width of the image.
        margin: width of the margin in pixels; 0 masks nothing.

    Returns:
        True in the margin, [H, W, 1].

    Raises:
        ValueError: The margin is negative, or at least half of the shorter side.
    """
    height, width = size
    if not 0 <= 2 * margin < min(size):
        raise ValueError(
            f'margin={margin}: expected less than half of an image of size {size}, so '
            'that a part of it stays known.'
        )
    y = jnp.arange(height)[:, None]
    x = jnp.arange(width)
    from_row_edge = jnp.minimum(y, height - 1 - y)
    from_column_edge = jnp.minimum(x, width - 1 - x)
    from_edge = jnp.minimum(from_row_edge, from_column_edge)
    is_margin = from_edge < margin
    return is_margin[..., None]


def free_form(
    key: PRNGKeyArray,
    size: Size,
    fraction: float,
) -> Mask:
    """Mask the random strokes of a brush (Yu et al. 2019, algorithm 1).

    Strokes start anywhere and turn by about 2/5 of a circle, left and right
    alternately. As in the authors' code, segments have a mean length of sqrt(h^2 + w^2)
    / 8, and brushes a width of 12/256 to 40/256 of sqrt(h w). The brush stops at the
    pixel that makes the hole large enough. If all strokes together are too small, they
    grow thicker.

    Args:
        key: random key of the strokes.
        size: height and width of the image.
        fraction: masked fraction of the image, in [0, 1]. The hole has
            round(fraction * height * width) pixels.

    Returns:
        True in the hole, [H, W, 1].

    Raises:
        ValueError: The fraction is not in [0, 1].
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f'free_form: fraction={fraction}: expected 0 to 1.')
    height, width = size
    start, end, radius = _strokes(key, height, width)
    times = _covered_at(start, end, radius, height, width)
    order = jnp.argsort(times.reshape(-1), stable=True)
    number = round(fraction * len(order))
    known = jnp.zeros(len(order), bool)
    hole = known.at[order[:number]].set(True)
    return hole.reshape(height, width, 1)


def _strokes(
    key: PRNGKeyArray,
    height: int,
    width: int,
) -> tuple[Points, Points, Radii]:
    """Sample the segments of all strokes, in the order of the brush.

    Args:
        key: random key.
        height: of the image in pixels.
        width: of the image in pixels.

    Returns:
        Start (y, x), end (y, x) and radius of the brush, for each segment.
    """
    keys = jax.random.split(key, 5)

    def uniform(key, shape, low, high):
        return jax.random.uniform(key, shape, jnp.float32, low, high)

    corner = jnp.array([height, width], jnp.float32) - 1
    steps = (STROKES, SEGMENTS)
    turn = uniform(keys[0], steps, 4 / 15 * math.pi, 8 / 15 * math.pi)
    is_left = jnp.arange(SEGMENTS) % 2 == 0
    alternating = jnp.where(is_left, -turn, turn)
    direction = uniform(keys[1], (STROKES, 1), 0, 2 * math.pi)
    angle = alternating + direction
    mean = math.hypot(height, width) / 8
    normal = jax.random.normal(keys[2], steps, jnp.float32)
    length = jnp.clip(mean + mean / 2 * normal, 0, 2 * mean)
    unit = jnp.stack([jnp.sin(angle), jnp.cos(angle)], -1)
    moves = length[..., None] * unit
    point = uniform(keys[3], (STROKES, 2), 0, 1) * corner
    points = []
    for i in range(SEGMENTS):
        points.append(point)
        point = jnp.clip(point + moves[:, i], 0, corner)
    starts = jnp.stack(points, 1)
    ends = jnp.concatenate([starts[:, 1:], point[:, None]], 1)
    width_fraction = uniform(keys[4], (STROKES, 1), 12 / 256, 40 / 256)
    radius = math.sqrt(height * width) / 2 * width_fraction
    starts = starts.reshape(-1, 2)
    ends = ends.reshape(-1, 2)
    radii = jnp.broadcast_to(radius, steps)
    return starts, ends, radii.reshape(-1)


def _covered_at(
    start: Points,
    end: Points,
    radius: Radii,
    height: int,
    width: int,
) -> Times:
    """Compute when the brush first covers each pixel, in segments from the start.

    For a pixel that the brush never covers, the time is the number of segments plus the distance of
    the pixel from the brush.

    Args:
        start: (y, x) of each segment's start.
        end: (y, x) of each segment's end.
        radius: radius of the brush in each segment.
        height: of the image in pixels.
        width: of the image in pixels.
    """
    y = jnp.arange(height, dtype=jnp.float32)[:, None]
    x = jnp.arange(width, dtype=jnp.float32)

    def paint_segment(number: Index, times: Times) -> Times:
        top, left = start[number]
        down, right = end[number] - start[number]
        # The nearest point of the segment to each pixel, as a fraction of the segment.
        fraction = (y - top) * down + (x - left) * right
        fraction = fraction / jnp.maximum(down**2 + right**2, 1e-6)
        fraction = jnp.clip(fraction, 0, 1)
        dy = y - top - fraction * down
        dx = x - left - fraction * right
        distance = jnp.hypot(dy, dx) - radius[number]
        is_covered = distance <= 0
        time = jnp.where(is_covered, number + fraction, len(start) + distance)
        return jnp.minimum(times, time)

    never = jnp.full((height, width), jnp.inf, jnp.float32)
    return jax.lax.fori_loop(0, len(start), paint_segment, never)
