"""Random choice of the candidates that a two-stage detector learns from."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from jaxvision.boxes.types import Chosen


def balanced(
    key: PRNGKeyArray,
    positive: Chosen,
    negative: Chosen,
    number: int,
    fraction: float,
) -> Chosen:
    """Choose positive and negative candidates at random (arXiv 1506.01497, section 3.1.3).

    Args:
        key: of the example, so that the choice depends on no other example.
        positive: candidates that have a ground-truth box.
        negative: candidates that are background.
        number: candidates that are chosen in all. They are fewer if negatives are too
            few.
        fraction: at most int(fraction * number) chosen candidates are positive.
            Negatives fill the rest.

    Returns:
        Whether each candidate is chosen.
    """
    positive_key, negative_key = jax.random.split(key)
    most_positive = int(number * fraction)
    is_positive = _first(positive_key, positive, most_positive)
    rest = number - jnp.sum(is_positive)
    return is_positive | _first(negative_key, negative, rest)


def _first(key: PRNGKeyArray, eligible: Chosen, number: int | Array) -> Chosen:
    """Choose up to `number` of the eligible candidates, each equally likely."""
    priority = jax.random.uniform(key, eligible.shape, jnp.float32)
    priority = jnp.where(eligible, priority, 2.0)
    rank = jnp.argsort(jnp.argsort(priority))
    return eligible & (rank < number)
