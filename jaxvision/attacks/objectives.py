"""What an attack maximises: a value for each example, from its logits.

Every objective is called as `(logits, labels, targets)`. `targets` are the classes that a targeted
attack wants; the others ignore them. Values are never averaged over a batch, so that the gradient
of an example does not depend on its neighbours.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.attacks.types import (
    Flags,
    Images,
    Labels,
    Logits,
    Objective,
    Outputs,
    PerExample,
)

# Keeps a ratio finite where all logits are equal, as in AutoAttack.
_TINY = 1e-12


def cross_entropy(logits: Outputs, labels: Labels, targets: Labels) -> PerExample:
    """Cross-entropy of the true class, in nats."""
    del targets
    return jax.nn.softplus(_log_odds_against(logits, labels))


def targeted_cross_entropy(
    logits: Outputs, labels: Labels, targets: Labels
) -> PerExample:
    """Log-probability of the target."""
    del labels
    return -jax.nn.softplus(_log_odds_against(logits, targets))


def _log_odds_against(logits: Outputs, labels: Labels) -> PerExample:
    """Logarithm of (1 - p) / p for the probability p of each label.

    From it the gradient of log p is exact where p rounds to 1. The usual log-softmax gives the
    difference p - 1, which is then 0 or has few digits.
    """
    is_label = jnp.arange(logits.shape[-1]) == labels[:, None]
    others = jnp.where(is_label, -jnp.inf, logits)
    return jax.nn.logsumexp(others, axis=-1) - _logit_of(logits, labels)


def margin(logits: Outputs, labels: Labels, targets: Labels) -> PerExample:
    """Largest logit of another class minus that of the true class (Carlini & Wagner 2017)."""
    del targets
    return largest_other(logits, labels) - _logit_of(logits, labels)


def targeted_margin(logits: Outputs, labels: Labels, targets: Labels) -> PerExample:
    """Logit of the target minus the largest of another class."""
    del labels
    return _logit_of(logits, targets) - largest_other(logits, targets)


def rise(logits: Outputs, labels: Labels, targets: Labels) -> PerExample:
    """Logit of the target minus that of the true class."""
    return _logit_of(logits, targets) - _logit_of(logits, labels)


def dlr(logits: Outputs, labels: Labels, targets: Labels) -> PerExample:
    """Difference of logits ratio (Croce & Hein 2020, equation 6).

    The margin divided by the difference between the largest and the third largest
    logit, so that neither a shift nor a scale of the logits changes the value.

    Raises:
        ValueError: There are fewer than three classes.
    """
    _require_classes(logits, 3)
    top = lax.top_k(logits, 3)[0]
    spread = top[:, 0] - top[:, 2]
    return margin(logits, labels, targets) / (spread + _TINY)


def targeted_dlr(logits: Outputs, labels: Labels, targets: Labels) -> PerExample:
    """Targeted difference of logits ratio (Croce & Hein 2020, equation 7).

    Raises:
        ValueError: There are fewer than four classes.
    """
    _require_classes(logits, 4)
    top = lax.top_k(logits, 4)[0]
    spread = top[:, 0] - (top[:, 2] + top[:, 3]) / 2
    return rise(logits, labels, targets) / (spread + _TINY)


def is_wrong(logits: Outputs, labels: Labels) -> Flags:
    """Whether the prediction differs from the label.

    Equal logits count for the lower class, and a NaN is a wrong prediction, as in
    `metrics.classification.record`.
    """
    has_nan = jnp.isnan(logits).any(-1)
    return has_nan | (jnp.argmax(logits, -1) != labels)


def largest_other(logits: Outputs, labels: Labels) -> PerExample:
    """Largest logit of a class that is not the label."""
    is_label = jnp.arange(logits.shape[-1]) == labels[:, None]
    return jnp.where(is_label, -jnp.inf, logits).max(-1)


def differentiate(
    logits: Logits,
    objective: Objective,
    images: Images,
    labels: Labels,
    targets: Labels,
) -> tuple[Images, PerExample, Outputs]:
    """Differentiate the objective of each example with respect to its image.

    Args:
        logits: the classifier.
        objective: what to differentiate.
        images: in [0, 1].
        labels: the true classes.
        targets: the classes that a targeted objective wants.

    Returns:
        (gradients, values of the objective, logits). An entry of a gradient that is not
        finite becomes 0, because a NaN pixel would count as a successful attack.
    """

    def total(images):
        outputs = logits(images)
        values = objective(outputs, labels, targets)
        return values.sum(), (values, outputs)

    gradient, (values, outputs) = jax.grad(total, has_aux=True)(images)
    gradient = jnp.where(jnp.isfinite(gradient), gradient, 0)
    return gradient, values, outputs


def _logit_of(logits: Outputs, labels: Labels) -> PerExample:
    return jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]


def _require_classes(logits: Outputs, least: int) -> None:
    classes = logits.shape[-1]
    if classes < least:
        raise ValueError(
            f'logits of {classes} classes: expected {least} or more. Use the margin.'
        )
