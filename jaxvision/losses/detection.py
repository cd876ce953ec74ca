"""Losses of detectors. Values have the shape of their inputs; the caller sums and normalises."""

import jax
import jax.numpy as jnp
import optax

from jaxvision.boxes import overlap
from jaxvision.boxes.types import Boxes, Flags, Values


def focal(
    logits: Values, targets: Values, alpha: float = 0.25, gamma: float = 2.0
) -> Values:
    """Focal loss (arXiv 1708.02002, equation 5): cross-entropy, less for easy examples.

    Args:
        logits: of the class.
        targets: 0 or 1.
        alpha: weight of targets of 1; those of 0 have 1 - alpha.
        gamma: exponent of the probability of the wrong answer.

    Returns:
        One loss for each logit, a weighted sigmoid cross-entropy.
    """
    entropy = optax.sigmoid_binary_cross_entropy(logits, targets)
    probability = jax.nn.sigmoid(logits)
    error = probability * (1 - targets) + (1 - probability) * targets
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return weight * error**gamma * entropy


def quality_focal(logits: Values, targets: Values, beta: float = 2.0) -> Values:
    """Quality focal loss (arXiv 2006.04388, equation 4): focal loss for soft targets.

    Args:
        logits: of the class.
        targets: in [0, 1], such as the IoU of the predicted box.
        beta: exponent of the distance from the target.

    Returns:
        One loss for each logit, a weighted sigmoid cross-entropy.
    """
    entropy = optax.sigmoid_binary_cross_entropy(logits, targets)
    distance = jnp.abs(targets - jax.nn.sigmoid(logits))
    return distance**beta * entropy


def varifocal(
    logits: Values,
    targets: Values,
    is_object: Flags,
    alpha: float = 0.75,
    gamma: float = 2.0,
) -> Values:
    """Varifocal loss (arXiv 2008.13367, equation 2): objects weigh as their targets do.

    Args:
        logits: of the class.
        targets: in [0, 1], such as the IoU of the predicted box; 0 where there is no
            object.
        is_object: whether there is an object of the class.
        alpha: weight where there is none.
        gamma: exponent of the probability there.

    Returns:
        One loss for each logit, a weighted sigmoid cross-entropy. The weights have no
        gradient.
    """
    entropy = optax.sigmoid_binary_cross_entropy(logits, targets)
    probability = jax.nn.sigmoid(jax.lax.stop_gradient(logits))
    return jnp.where(is_object, targets, alpha * probability**gamma) * entropy


def smooth_l1(errors: Values, beta: float = 1.0) -> Values:
    """Smooth L1 loss (arXiv 1504.08083, equation 3): quadratic up to `beta`, then linear.

    Args:
        errors: differences from the target.
        beta: where the linear part begins; 0 is the L1 loss.

    Returns:
        One loss for each error e: e^2 / (2 beta) or |e| - beta / 2.
    """
    absolute = jnp.abs(errors)
    if beta == 0:
        return absolute
    return jnp.where(
        absolute < beta, 0.5 * jnp.square(errors) / beta, absolute - 0.5 * beta
    )


def giou(boxes: Boxes, targets: Boxes) -> Values:
    """1 - generalised IoU (arXiv 1902.09630), in [0, 2].

    Args:
        boxes: predicted boxes [..., 4], edges (ymin, xmin, ymax, xmax).
        targets: the ground-truth box of each predicted box, [..., 4].
    """
    return 1 - overlap.giou(boxes, targets)


def squared_iou(boxes: Boxes, targets: Boxes) -> Values:
    """1 - IoU^2, the loss of boxes of YOLOX (arXiv 2107.08430), in [0, 1].

    Args:
        boxes: predicted boxes [..., 4], edges (ymin, xmin, ymax, xmax).
        targets: the ground-truth box of each predicted box, [..., 4].
    """
    return 1 - jnp.square(overlap.iou(boxes, targets))
