"""Square: random search by squares, which needs no gradient (Andriushchenko et al. 2020).

The schedule and the shapes are those of AutoAttack's code. Each example has squares at its own
places, where AutoAttack moves all examples of a batch together.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxvision.attacks import balls, goals
from jaxvision.attacks.goals import Best, Goal
from jaxvision.attacks.pgd import Problem
from jaxvision.attacks.types import (
    Attacked,
    Counts,
    Images,
    Keys,
    Labels,
    Logits,
    Norm,
    Scalar,
)

# One image.
_Image = Float[Array, 'h w c']
_Plane = Float[Array, 'h w']
_Index = Int[Array, '']

# Of 10,000 queries: the query after which the area of a square is halved again.
_HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_TINY = 1e-12
# Squares that are drawn for one query with 'linf'.
_DRAWN = 4


def square(
    logits: Logits,
    images: Images,
    labels: Labels,
    keys: Keys,
    *,
    eps: Scalar,
    norm: Norm = 'linf',
    steps: int = 5000,
    area: float = 0.8,
    targets: Labels | None = None,
) -> Attacked:
    """Attack by changes of random squares, kept if they raise the margin.

    An example stops at its first success. With 'linf' a square often changes no pixel, because its
    pixels have these values already. Such a query cannot raise the margin: it counts as one of the
    steps, but the classifier is not asked. Arguments that are not listed are those of `pgd.pgd`.

    Args:
        steps: the number of queries after the first.
        area: the fraction of the image that the first squares cover, above 0 and at most 1.

    Returns:
        The last images that raised the margin, or the original images.

    Raises:
        ValueError: `steps` is below 1, `area` is not in (0, 1], or the norm is 'l2' and a
            side is below 6 pixels.
    """
    height, width = images.shape[1:3]
    if steps < 1 or not 0 < area <= 1:
        raise ValueError(
            f'steps={steps}, area={area}: expected a whole number above 0, and a fraction '
            'above 0.'
        )
    if norm == 'l2' and min(height, width) < 6:
        raise ValueError(
            f'images of {height}x{width}: expected 6 pixels or more a side.'
        )
    step = _Step(norm=norm, goal='error' if targets is None else 'target')
    base = Problem.make(logits, images, labels, targets, eps)
    sides = jnp.asarray(square_sides(steps, area, (height, width), norm))
    return _search(step, _Problem(base, keys, sides)).best.attacked()


def square_sides(
    steps: int, area: float, size: tuple[int, int], norm: Norm
) -> Int[np.ndarray, '{steps}']:
    """The side of the square at each step, in pixels.

    Args:
        steps: the number of steps.
        area: the fraction of the image that the first squares cover.
        size: (height, width) of an image.
        norm: with 'l2', sides are odd and 3 or more.
    """
    height, width = size
    places = (np.arange(steps) / steps * 10_000).astype(int)
    halvings = np.searchsorted(_HALVED_AFTER, places, side='left')
    fractions = area / 2.0**halvings
    sides = np.rint(np.sqrt(fractions * height * width)).astype(np.int32)
    if norm == 'linf':
        return np.clip(sides, 1, max(min(height, width) - 1, 1))
    sides = np.maximum(sides, 3)
    sides += sides % 2 == 0
    largest = min(height, width) - 1
    return np.minimum(sides, largest - (largest % 2 == 0)).astype(np.int32)


class _Problem(NamedTuple):
    """The problem of all attacks, the keys, and the side of the square at each step."""

    base: Problem
    keys: Keys
    sides: Int[Array, 'steps']


class _State(NamedTuple):
    """The number of steps that each example has taken, and the best images."""

    index: Counts
    best: Best


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Step:
    """One query of Square; the fields are options of `square`."""

    norm: Norm
    goal: Goal

    def __call__(self, problem: _Problem, state: _State) -> _State:
        if self.norm == 'linf':
            index, images = _next_squares(problem, state)
        else:
            index = state.index + 1
            images = _next_bumps(problem, state)
        return _State(index, self._accept(problem.base, images, state.best))

    def begin(self, problem: _Problem) -> Best:
        """Start from stripes (Linf) or a grid of bumps (L2)."""
        base = problem.base
        keys = jax.vmap(jax.random.fold_in, (0, None))(problem.keys, 0)
        start = _stripes if self.norm == 'linf' else _grid
        shape = base.images.shape[1:]
        make = functools.partial(start, shape=shape, dtype=base.images.dtype)
        delta = base.eps * jax.vmap(make)(keys)
        images = balls.project(base.images + delta, base.images, base.eps, self.norm)
        original = base.measure(self.goal, base.images)
        started = base.measure(self.goal, images)
        # The search begins at the stripes even if the original image is nearer to the goal.
        return goals.choose(original.success, original, started)

    def _accept(self, base: Problem, images: Images, best: Best) -> Best:
        """Keep images with a larger lead, unless the goal has been reached before."""
        candidate = base.measure(self.goal, images)
        is_ahead = (candidate.lead > best.lead) | candidate.success
        return goals.choose(is_ahead & ~best.success, candidate, best)


@functools.partial(jax.jit, static_argnums=0)
def _search(step: _Step, problem: _Problem) -> _State:
    """Take steps until each example has succeeded or has taken all."""
    steps = len(problem.sides)

    def is_unfinished(state: _State) -> Array:
        return jnp.any((state.index < steps) & ~state.best.success)

    taken = jnp.zeros(len(problem.base.labels), jnp.int32)
    begin = _State(taken, step.begin(problem))
    # There are too many queries to unroll, and none has a gradient.
    return jax.lax.while_loop(is_unfinished, functools.partial(step, problem), begin)


def _next_squares(problem: _Problem, state: _State) -> tuple[Counts, Images]:
    """Go on to the next square that changes a pixel.

    Returns:
        (steps taken with it, the changed images). If none of the next squares changes a
        pixel, the images stay as they are.
    """
    steps = len(problem.sides)
    eps = problem.base.eps

    def change(key, number, original, image):
        side = problem.sides[number]
        return _set_square(
            jax.random.fold_in(key, number + 1), original, image, side=side, eps=eps
        )

    def following(key, index, original, image):
        numbers = index + jnp.arange(_DRAWN, dtype=index.dtype)
        changed = jax.vmap(change, (None, 0, None, None))(key, numbers, original, image)
        changes = jnp.any(changed != image, axis=(1, 2, 3)) & (numbers < steps)
        first = jnp.argmax(changes).astype(index.dtype)
        chosen = change(key, index + first, original, image)
        any_changes = changes.any()
        taken = jnp.where(any_changes, first + 1, _DRAWN)
        return index + taken, jnp.where(any_changes, chosen, image)

    images = state.best.images
    return jax.vmap(following)(problem.keys, state.index, problem.base.images, images)


def _next_bumps(problem: _Problem, state: _State) -> Images:
    """Move mass between the next two squares."""
    base = problem.base
    # All examples have taken the same number of steps.
    number = state.index[0]
    keys = jax.vmap(jax.random.fold_in, (0, None))(problem.keys, number + 1)
    change = functools.partial(_move_mass, side=problem.sides[number], eps=base.eps)
    delta = jax.vmap(change)(keys, state.best.images - base.images)
    return balls.project(base.images + delta, base.images, base.eps, 'l2')


def _signs(key: PRNGKeyArray, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    return jax.random.rademacher(key, shape, dtype)


def _stripes(key: PRNGKeyArray, *, shape: tuple[int, ...], dtype: jnp.dtype) -> _Image:
    """Vertical stripes of one pixel, -1 or 1 in each channel."""
    _, width, channels = shape
    return jnp.broadcast_to(_signs(key, (1, width, channels), dtype), shape)


def _window(
    key: PRNGKeyArray, side: _Index, size: tuple[int, int]
) -> tuple[Int[Array, 'h'], Int[Array, 'w']]:
    """Rows and columns of an image relative to a random square's corner."""
    height, width = size
    row_key, column_key = jax.random.split(key)
    top = jax.random.randint(row_key, (), 0, height - side + 1)
    left = jax.random.randint(column_key, (), 0, width - side + 1)
    return jnp.arange(height) - top, jnp.arange(width) - left


def _inside(rows: Int[Array, 'h'], columns: Int[Array, 'w'], side: _Index) -> Array:
    """Whether each pixel [H, W] lies in the square."""
    in_rows = (rows >= 0) & (rows < side)
    in_columns = (columns >= 0) & (columns < side)
    return in_rows[:, None] & in_columns[None, :]


def _set_square(
    key: PRNGKeyArray, original: _Image, image: _Image, *, side: _Index, eps: Scalar
) -> _Image:
    """Set each channel of a random square to the original plus or minus eps, in [0, 1]."""
    place_key, sign_key = jax.random.split(key)
    rows, columns = _window(place_key, side, image.shape[:2])
    signs = _signs(sign_key, image.shape[2:], image.dtype)
    is_inside = _inside(rows, columns, side)[..., None]
    corner = jnp.clip(original + eps * signs, 0, 1)
    return jnp.where(is_inside, corner, image)


def _bump(
    rows: Int[Array, 'h'],
    columns: Int[Array, 'w'],
    height: _Index | int,
    width: _Index | int,
    most: int,
) -> _Plane:
    """A pyramid in the rectangle of `height` x `width` at (0, 0), with length 1.

    A pixel at the (Chebyshev) distance d from the centre has the sum of 1 / (i + 1)^2 from i = d
    to the largest distance.

    Args:
        rows: row of each pixel in the rectangle.
        columns: column of each pixel in the rectangle.
        height: of the rectangle.
        width: of the rectangle.
        most: a bound on height and width.
    """
    terms = 1 / np.arange(1, most + 2) ** 2
    sums = jnp.asarray(np.concatenate([[0], np.cumsum(terms)]))
    reach = jnp.maximum(height // 2 + 1, width // 2 + 1)
    from_rows = jnp.abs(rows - height // 2)[:, None]
    from_columns = jnp.abs(columns - width // 2)[None, :]
    distance = jnp.minimum(jnp.maximum(from_rows, from_columns), reach)
    in_rows = (rows >= 0) & (rows < height)
    in_columns = (columns >= 0) & (columns < width)
    is_inside = in_rows[:, None] & in_columns[None, :]
    bump = jnp.where(is_inside, sums[reach] - sums[distance], 0)
    return bump / (jnp.sqrt(jnp.square(bump).sum()) + _TINY)


def _pair_of_bumps(
    key: PRNGKeyArray,
    rows: Int[Array, 'h'],
    columns: Int[Array, 'w'],
    side: _Index | int,
) -> _Plane:
    """A bump above its negative, or beside it, in the square at (0, 0); length 1."""
    most = max(len(rows), len(columns))
    half = side // 2
    upright = _bump(rows, columns, half, side, most) - _bump(
        rows - half, columns, side - half, side, most
    )
    lying = _bump(rows, columns, side, half, most) - _bump(
        rows, columns - half, side, side - half, most
    )
    pair = jnp.where(jax.random.bernoulli(key), upright, lying)
    return pair / (jnp.sqrt(jnp.square(pair).sum()) + _TINY)


def _grid(key: PRNGKeyArray, *, shape: tuple[int, ...], dtype: jnp.dtype) -> _Image:
    """Five times five pairs of bumps with random signs in each channel; length 1."""
    height, width, channels = shape
    side = min(height, width) // 5
    rows = jnp.arange(height) - (height - 5 * side) // 2
    columns = jnp.arange(width) - (width - 5 * side) // 2

    def cell(key, place):
        bump_key, sign_key = jax.random.split(key)
        top = place // 5 * side
        left = place % 5 * side
        pair = _pair_of_bumps(bump_key, rows - top, columns - left, side)
        return pair[..., None].astype(dtype) * _signs(sign_key, (channels,), dtype)

    cells = jax.vmap(cell)(jax.random.split(key, 25), jnp.arange(25))
    delta = cells.sum(0)
    return delta / (jnp.sqrt(jnp.square(delta).sum()) + _TINY)


def _move_mass(
    key: PRNGKeyArray, delta: _Image, *, side: _Index, eps: Scalar
) -> _Image:
    """Empty one random square, and put its length as a pair of bumps into another."""
    size = delta.shape[:2]
    channels = delta.shape[2]
    place_key, other_key, bump_key, sign_key = jax.random.split(key, 4)
    rows, columns = _window(place_key, side, size)
    is_inside = _inside(rows, columns, side)[..., None]
    is_emptied = _inside(*_window(other_key, side, size), side)[..., None]
    old = jnp.where(is_inside, delta, 0)
    old = old / (_spatial_norm(old) + _TINY)
    pair = _pair_of_bumps(bump_key, rows, columns, side)[..., None]
    new = pair.astype(delta.dtype) * _signs(sign_key, (channels,), delta.dtype) + old
    moved = jnp.where(is_inside | is_emptied, delta, 0)
    free = jnp.maximum(eps**2 - jnp.square(delta).sum(), 0)
    # As in AutoAttack: the free length is divided among the channels.
    length = jnp.sqrt(free / channels + jnp.square(moved).sum((0, 1), keepdims=True))
    new = new / (_spatial_norm(new) + _TINY) * length
    delta = jnp.where(is_emptied, 0, delta)
    delta = jnp.where(is_inside, new, delta)
    return delta / (jnp.sqrt(jnp.square(delta).sum()) + _TINY) * eps


def _spatial_norm(image: _Image) -> Array:
    """The length of each channel, [1, 1, C]."""
    return jnp.sqrt(jnp.square(image).sum((0, 1), keepdims=True))
