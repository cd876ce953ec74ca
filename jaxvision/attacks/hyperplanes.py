"""The nearest point of a hyperplane within [0, 1], for attacks by linear approximation."""

import jax
import jax.numpy as jnp

from jaxvision.attacks.types import Images, Norm, PerExample

_PIXELS = (1, 2, 3)
# Enough for float32: each round saturates more pixels, or is the last.
_ROUNDS = 20


def step_to_hyperplane(
    points: Images, gradients: Images, values: PerExample, norm: Norm
) -> Images:
    """The smallest step within [0, 1] after which a linear function is 0.

    The function has the value `values` at `points`. With the length t of the step, it falls in
    absolute value ever more slowly, as more pixels reach 0 or 1. So Newton's method from t = 0
    approaches the root from below and reaches it.

    Args:
        points: in [0, 1].
        gradients: of the linear functions.
        values: of the linear functions at the points.
        norm: the norm of the step.

    Returns:
        The steps. If no point of [0, 1] is on the hyperplane, the step goes to the
        nearest corner.
    """
    towards = jnp.where(values < 0, 1, -1)[:, None, None, None]
    slopes = towards * gradients
    directions = slopes if norm == 'l2' else jnp.sign(slopes)
    rates = slopes * directions
    bounds = jnp.where(directions > 0, 1.0, 0.0)
    room = jnp.abs(bounds - points)
    speeds = jnp.abs(directions)

    def is_short(state):
        rounds, length, more = state
        return (rounds < _ROUNDS) & jnp.any(more > least * length)

    def lengthen(state):
        rounds, length, _ = state
        along = length[:, None, None, None] * speeds
        is_free = (along < room) & (speeds > 0)
        reached = jnp.where(is_free, along, room) * jnp.abs(slopes)
        missing = jnp.abs(values) - _total(reached)
        rate = _total(jnp.where(is_free, rates, 0))
        more = jnp.where(rate > 0, missing / jnp.where(rate > 0, rate, 1), 0)
        return rounds + 1, length + jnp.maximum(more, 0), more

    least = 4 * jnp.finfo(values.dtype).eps
    none = jnp.zeros_like(values)
    _, length, _ = jax.lax.while_loop(is_short, lengthen, (0, none, none + 1))
    step = jnp.minimum(length[:, None, None, None] * speeds, room)
    return jnp.sign(directions) * step


def free_step_to_hyperplane(
    gradients: Images, values: PerExample, norm: Norm
) -> Images:
    """The smallest step after which a linear function is 0, whatever the pixels become.

    Args:
        gradients: of the linear functions. A gradient of 0 gives a step of 0.
        values: of the linear functions before the step.
        norm: the norm of the step.
    """
    largest = jnp.abs(gradients).max(_PIXELS, keepdims=True)
    scaled = gradients / jnp.where(largest > 0, largest, 1)
    directions = scaled if norm == 'l2' else jnp.sign(scaled)
    rate = (scaled * directions).sum(_PIXELS, keepdims=True) * largest
    length = -values[:, None, None, None] / jnp.where(rate > 0, rate, 1)
    return jnp.where(rate > 0, length * directions, 0)


def _total(images: Images) -> PerExample:
    """The sum of the pixels of each image.

    On a CPU a matrix product adds many pixels at once, and a reduction one after another.
    """
    rows = images.reshape(len(images), -1)
    ones = jnp.ones(rows.shape[1], rows.dtype)
    return jnp.matmul(rows, ones, precision=jax.lax.Precision.HIGHEST)
