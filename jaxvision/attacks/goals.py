"""The aim of an attack, and the best image that it has found so far."""

from typing import Literal, NamedTuple

import jax.numpy as jnp

from jaxvision.attacks import objectives
from jaxvision.attacks.types import Attacked, Flags, Images, Labels, Outputs, PerExample

# 'error': any wrong prediction. 'target': the prediction of the target.
Goal = Literal['error', 'target']


class Best(NamedTuple):
    """The best image of each example.

    Attributes:
        images: in [0, 1].
        success: whether the goal is reached.
        lead: logit of the wanted class minus the largest of the others; the larger, the better.
    """

    images: Images
    success: Flags
    lead: PerExample

    def attacked(self) -> Attacked:
        """The images and successes as the result of an attack."""
        return Attacked(self.images, self.success)


def measure(
    goal: Goal, images: Images, outputs: Outputs, labels: Labels, targets: Labels
) -> Best:
    """Measure images against a goal.

    Args:
        goal: the goal.
        images: in [0, 1].
        outputs: their logits.
        labels: the true classes.
        targets: the wanted classes, for 'target'.
    """
    has_nan = jnp.isnan(outputs).any(-1)
    if goal == 'error':
        success = objectives.is_wrong(outputs, labels)
        lead = objectives.margin(outputs, labels, targets)
        lead = jnp.where(has_nan, jnp.inf, lead)
    else:
        success = ~objectives.is_wrong(outputs, targets)
        lead = objectives.targeted_margin(outputs, labels, targets)
        lead = jnp.where(has_nan, -jnp.inf, lead)
    return Best(images, success, lead)


def better(best: Best, candidate: Best) -> Best:
    """Choose for each example: a success before a failure, then the larger lead."""
    is_first = candidate.success & ~best.success
    is_ahead = (candidate.success == best.success) & (candidate.lead > best.lead)
    return choose(is_first | is_ahead, candidate, best)


def first(best: Best, candidate: Best) -> Best:
    """Keep a success as it is; choose by `better` for the other examples."""
    return choose(best.success, best, better(best, candidate))


def choose(condition: Flags, chosen: Best, otherwise: Best) -> Best:
    """Take `chosen` for the examples with the condition, and `otherwise` for the rest."""
    pixels = condition[:, None, None, None]
    return Best(
        jnp.where(pixels, chosen.images, otherwise.images),
        jnp.where(condition, chosen.success, otherwise.success),
        jnp.where(condition, chosen.lead, otherwise.lead),
    )
