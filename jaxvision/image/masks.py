"""Masks of the hole in an image: bool [H, W, 1], True where pixels are missing."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

# Of a free-form hole. Together they cover more than half of an image.
STROKES = 8
SEGMENTS = 8  # of each stroke


def box(key: PRNGKeyArray, size: tuple[int, int], hole: int) -> Bool[Array, 'h w 1']:
    """A square hole at a random place inside the image.

    Args:
        key: draws the place.
        size: height and width of the image.
        hole: side of the square in pixels.

    Raises:
        ValueError: The hole does not fit into the image.
    """
    if not 0 <= hole <= min(size):
        raise ValueError(
            f'box: a hole of {hole} pixels is not inside an image of {size}'
        )
    height, width = size
    places = jnp.array([height - hole + 1, width - hole + 1])
    top, left = jax.random.randint(key, (2,), 0, places, jnp.int32)
    y = jnp.arange(height)[:, None]
    x = jnp.arange(width)
    inside = (top <= y) & (y < top + hole) & (left <= x) & (x < left + hole)
    return inside[..., None]


def border(size: tuple[int, int], margin: int) -> Bool[Array, 'h w 1']:
    """A hole along all four edges of an image.

    Args:
        size: height and width of the image.
        margin: the width of the hole in pixels.

    Raises:
        ValueError: The hole would be the whole image.
    """
    height, width = size
    if not 0 <= 2 * margin < min(size):
        raise ValueError(
            f'border: a margin of {margin} pixels leaves nothing of an image of {size}'
        )
    y = jnp.arange(height)[:, None]
    x = jnp.arange(width)
    from_row_edge = jnp.minimum(y, height - 1 - y)
    from_column_edge = jnp.minimum(x, width - 1 - x)
    return (jnp.minimum(from_row_edge, from_column_edge) < margin)[..., None]


def free_form(
    key: PRNGKeyArray, size: tuple[int, int], fraction: float
) -> Bool[Array, 'h w 1']:
    """A hole painted by a brush in random strokes (Yu et al. 2019, algorithm 1).

    Strokes start anywhere and turn by about 2/5 of a circle, left and right alternately. As in the
    authors' code, segments are sqrt(h^2 + w^2) / 8 long on average, and brushes 12/256 to 40/256
    of the side wide. The brush stops at the pixel that makes the hole large enough. If all strokes
    cover less, they grow thicker until they cover it.

    Args:
        key: draws the strokes.
        size: height and width of the image.
        fraction: the hole has round(fraction * height * width) pixels.

    Raises:
        ValueError: The fraction is not in [0, 1].
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f'free_form: fraction={fraction}: expected 0 to 1.')
    start, end, radius = _strokes(key, *size)
    times = _covered_at(start, end, radius, *size).reshape(-1)
    order = jnp.argsort(times, stable=True)
    number = round(fraction * len(order))
    hole = jnp.zeros(len(order), bool).at[order[:number]].set(True)
    return hole.reshape(*size, 1)


def _strokes(
    key: PRNGKeyArray, height: int, width: int
) -> tuple[Float[Array, 's 2'], Float[Array, 's 2'], Float[Array, 's']]:
    """Draw segments in their order: start (y, x), end (y, x), and radius of the brush."""
    keys = jax.random.split(key, 5)

    def uniform(key, shape, low, high):
        return jax.random.uniform(key, shape, jnp.float32, low, high)

    corner = jnp.array([height, width], jnp.float32) - 1
    steps = (STROKES, SEGMENTS)
    turn = uniform(keys[0], steps, 4 / 15 * math.pi, 8 / 15 * math.pi)
    alternating = jnp.where(jnp.arange(SEGMENTS) % 2 == 0, -turn, turn)
    angle = alternating + uniform(keys[1], (STROKES, 1), 0, 2 * math.pi)
    mean = math.hypot(height, width) / 8
    normal = jax.random.normal(keys[2], steps, jnp.float32)
    length = jnp.clip(mean + mean / 2 * normal, 0, 2 * mean)
    moves = length[..., None] * jnp.stack([jnp.sin(angle), jnp.cos(angle)], -1)
    place = uniform(keys[3], (STROKES, 2), 0, 1) * corner
    places = []
    for i in range(SEGMENTS):
        places.append(place)
        place = jnp.clip(place + moves[:, i], 0, corner)
    starts = jnp.stack(places, 1)
    ends = jnp.concatenate([starts[:, 1:], place[:, None]], 1)
    width_fraction = uniform(keys[4], (STROKES, 1), 12 / 256, 40 / 256)
    radius = math.sqrt(height * width) / 2 * width_fraction
    starts = starts.reshape(-1, 2)
    ends = ends.reshape(-1, 2)
    return starts, ends, jnp.broadcast_to(radius, steps).reshape(-1)


def _covered_at(
    start: Float[Array, 's 2'],
    end: Float[Array, 's 2'],
    radius: Float[Array, 's'],
    height: int,
    width: int,
) -> Float[Array, 'h w']:
    """When the brush first covers each pixel, in segments drawn.

    A pixel that it never covers has the number of all segments plus its distance from the brush.

    Args:
        start: (y, x) of each segment.
        end: (y, x) of each segment.
        radius: of the brush at each segment.
        height: of the image in pixels.
        width: of the image in pixels.
    """
    y = jnp.arange(height, dtype=jnp.float32)[:, None]
    x = jnp.arange(width, dtype=jnp.float32)

    def draw(number, time):
        corner = start[number]
        move = end[number] - start[number]
        top, left = corner
        down, right = move
        # The nearest point of the segment, as a fraction of its length.
        along = (y - top) * down + (x - left) * right
        along = along / jnp.maximum(down**2 + right**2, 1e-6)
        along = jnp.clip(along, 0, 1)
        to_segment = jnp.hypot(y - top - along * down, x - left - along * right)
        distance = to_segment - radius[number]
        covered = jnp.where(distance <= 0, number + along, len(start) + distance)
        return jnp.minimum(time, covered)

    never = jnp.full((height, width), jnp.inf, jnp.float32)
    return jax.lax.fori_loop(0, len(start), draw, never)
