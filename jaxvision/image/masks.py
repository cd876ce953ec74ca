"""Masks of what is missing from an image: bool [H, W, 1], True in the hole."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

STROKES, SEGMENTS = 8, 8  # of a free-form hole: more than cover half of an image


def box(key: PRNGKeyArray, size: tuple[int, int], hole: int) -> Bool[Array, 'h w 1']:
    """A square hole of `hole` pixels a side, anywhere that it is whole inside the image.

    Raises ValueError where it does not fit into `size` (height, width).
    """
    if not 0 <= hole <= min(size):
        raise ValueError(
            f'box: a hole of {hole} pixels is not inside an image of {size}'
        )
    height, width = size
    top, left = jax.random.randint(
        key, (2,), 0, jnp.array([height - hole + 1, width - hole + 1]), jnp.int32
    )
    y, x = jnp.arange(height)[:, None], jnp.arange(width)
    inside = (top <= y) & (y < top + hole) & (left <= x) & (x < left + hole)
    return inside[..., None]


def border(size: tuple[int, int], margin: int) -> Bool[Array, 'h w 1']:
    """All but what is at least `margin` pixels inside the image (height, width).

    Raises ValueError where nothing would be left.
    """
    height, width = size
    if not 0 <= 2 * margin < min(size):
        raise ValueError(
            f'border: a margin of {margin} pixels leaves nothing of an image of {size}'
        )
    y, x = jnp.arange(height)[:, None], jnp.arange(width)
    return (
        jnp.minimum(jnp.minimum(y, height - 1 - y), jnp.minimum(x, width - 1 - x))
        < margin
    )[..., None]


def free_form(
    key: PRNGKeyArray, size: tuple[int, int], share: float
) -> Bool[Array, 'h w 1']:
    """What a brush covers that goes to and fro in random strokes (Yu et al. 2019, algorithm 1) and
    is lifted at the pixel that makes the hole round(share * height * width) pixels.

    Strokes start anywhere and turn by about 2/5 of a circle, left and right in turn; as in the
    authors' code segments are sqrt(h^2 + w^2) / 8 long on average, and brushes 12/256 to 40/256 of
    the side wide. Should all strokes cover less than the share, they grow thicker until they do.
    Raises ValueError for a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f'free_form: share={share} is a share of the image, 0 to 1')
    start, end, radius = _strokes(key, *size)
    first = jnp.argsort(_covered_at(start, end, radius, *size).reshape(-1), stable=True)
    hole = jnp.zeros(len(first), bool).at[first[: round(share * len(first))]].set(True)
    return hole.reshape(*size, 1)


def _strokes(
    key: PRNGKeyArray, height: int, width: int
) -> tuple[Float[Array, 's 2'], Float[Array, 's 2'], Float[Array, 's']]:
    """Segments in the order in which they are drawn: their ends (y, x), and the brush's radius."""
    keys = jax.random.split(key, 5)

    def uniform(key, shape, low, high):
        return jax.random.uniform(key, shape, jnp.float32, low, high)

    corner = jnp.array([height, width], jnp.float32) - 1
    steps = (STROKES, SEGMENTS)
    turn = uniform(keys[0], steps, 4 / 15 * math.pi, 8 / 15 * math.pi)
    angle = jnp.where(jnp.arange(SEGMENTS) % 2 == 0, -turn, turn) + uniform(
        keys[1], (STROKES, 1), 0, 2 * math.pi
    )
    mean = math.hypot(height, width) / 8
    length = jnp.clip(
        mean + mean / 2 * jax.random.normal(keys[2], steps, jnp.float32), 0, 2 * mean
    )
    moves = length[..., None] * jnp.stack([jnp.sin(angle), jnp.cos(angle)], -1)
    place, places = uniform(keys[3], (STROKES, 2), 0, 1) * corner, []
    for i in range(SEGMENTS):
        places.append(place)
        place = jnp.clip(place + moves[:, i], 0, corner)
    starts = jnp.stack(places, 1)
    ends = jnp.concatenate([starts[:, 1:], place[:, None]], 1)
    radius = (
        math.sqrt(height * width)
        / 2
        * uniform(keys[4], (STROKES, 1), 12 / 256, 40 / 256)
    )
    return (
        starts.reshape(-1, 2),
        ends.reshape(-1, 2),
        jnp.broadcast_to(radius, steps).reshape(-1),
    )


def _covered_at(
    start: Float[Array, 's 2'],
    end: Float[Array, 's 2'],
    radius: Float[Array, 's'],
    height: int,
    width: int,
) -> Float[Array, 'h w']:
    """When the brush first covers a pixel, in segments drawn; of pixels that it never covers, how
    far they are from it, beyond all those times."""
    y, x = (
        jnp.arange(height, dtype=jnp.float32)[:, None],
        jnp.arange(width, dtype=jnp.float32),
    )

    def draw(number, time):
        (top, left), (down, right) = start[number], end[number] - start[number]
        share = ((y - top) * down + (x - left) * right) / jnp.maximum(
            down**2 + right**2, 1e-6
        )
        share = jnp.clip(share, 0, 1)
        distance = (
            jnp.hypot(y - top - share * down, x - left - share * right) - radius[number]
        )
        return jnp.minimum(
            time, jnp.where(distance <= 0, number + share, len(start) + distance)
        )

    return jax.lax.fori_loop(
        0, len(start), draw, jnp.full((height, width), jnp.inf, jnp.float32)
    )
