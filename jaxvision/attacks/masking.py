"""Signs of gradient masking, where attacks by gradients fail on a classifier that is not robust.

The checks are those of Athalye et al. 2018 and Carlini et al. 2019.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.attacks import loops, objectives, pgd
from jaxvision.attacks.ensemble import Outcome
from jaxvision.attacks.types import Flags, Images, Keys, Labels, Logits, Norm

# Fraction of the images that Square may break after attacks by gradients.
_BROKEN_BY_SQUARE = 0.01
# Fraction of the images that may have no gradient.
_WITHOUT_GRADIENT = 0.05


class Signs(NamedTuple):
    """Measurements on some images; all are 0 for a classifier without masking.

    Attributes:
        zero_gradients: fraction of the images whose cross-entropy has a gradient of 0.
        random_outputs: whether two evaluations of the same images differ.
        accuracy_without_limit: accuracy under PGD that may change images at will.
    """

    zero_gradients: float
    random_outputs: bool
    accuracy_without_limit: float


def measure(
    logits: Logits, images: Images, labels: Labels, keys: Keys, norm: Norm = 'linf'
) -> Signs:
    """Look for signs of masking on a batch of images.

    Args:
        logits: the classifier of images in [0, 1].
        images: in [0, 1], [B, H, W, C].
        labels: the true classes, [B].
        keys: one key for each example.
        norm: the norm of the attack that may change images at will.
    """
    logits = loops.as_partial(logits)
    first = loops.outputs_of(logits, images)
    second = loops.outputs_of(logits, images)
    is_zero = _has_zero_gradient(logits, images, labels)
    eps = 1.0
    if norm == 'l2':
        eps = float(np.sqrt(images[0].size))
    attacked = pgd.pgd(
        logits, images, labels, keys, eps=eps, norm=norm, steps=40, restarts=2
    )
    return Signs(
        zero_gradients=float(is_zero.mean()),
        random_outputs=not np.array_equal(first, second, equal_nan=True),
        accuracy_without_limit=float((~attacked.success).mean()),
    )


def warnings(signs: Signs, outcome: Outcome) -> list[str]:
    """Describe the signs of masking in sentences; [] if there are none.

    Args:
        signs: the measurements.
        outcome: the outcome of an ensemble, for attacks without gradients.
    """
    lines = []
    if signs.random_outputs:
        lines.append('Two evaluations of the same images differ: outputs are random.')
    if signs.zero_gradients > _WITHOUT_GRADIENT:
        lines.append(
            f'{signs.zero_gradients:.1%} of the images have a gradient of exactly 0: attacks '
            'by gradients cannot work there.'
        )
    if signs.accuracy_without_limit > 0:
        lines.append(
            f'With any change allowed, PGD leaves an accuracy of '
            f'{signs.accuracy_without_limit:.1%} instead of 0.'
        )
    by_square = _broken_by(outcome, 'square')
    if len(outcome.stages) > 1 and by_square > _BROKEN_BY_SQUARE:
        lines.append(
            f'Square, which needs no gradient, breaks {by_square:.1%} of the images that '
            'attacks by gradients do not.'
        )
    return lines


def _broken_by(outcome: Outcome, stage: str) -> float:
    if stage not in outcome.stages:
        return 0.0
    return float((outcome.broken_by == outcome.stages.index(stage)).mean())


@jax.jit
def _has_zero_gradient(logits: Logits, images: Images, labels: Labels) -> Flags:
    gradient, _, _ = objectives.differentiate(
        logits, objectives.cross_entropy, images, labels, labels
    )
    return jnp.all(gradient == 0, axis=(1, 2, 3))
