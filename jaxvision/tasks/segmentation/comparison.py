"""The comparison of the outputs of two segmentation networks: probabilities by their logits."""

import numpy as np
from jaxtyping import Float

from jaxvision.core.types import Records

# A sum in another order changes a logit by a fraction of the logits, and a probability by up to
# half of this change. Differences are divided by half of the largest logit, but by this number
# at most. So a difference of 1e-5 changes the class only where two classes are within 1e-4.
MOST_SCALE = 5.0
_TINY = 1e-30


def compare(outputs: Records, reference: Records) -> dict[str, float]:
    """Compare predictions for the same images.

    Args:
        outputs: 'probabilities' [N, H, W, K], and with objects 'center' and 'border'
            [N, H, W].
        reference: the same arrays of the other network.

    Returns:
        {name: the largest difference, divided by half of the largest logit if that is
        above 1, at most by 5}. It is infinite if a number is not finite.
    """
    differences = {}
    for name, expected in reference.items():
        gap = np.abs(np.asarray(outputs[name], np.float64) - expected)
        if not np.isfinite(gap).all():
            differences[name] = float('inf')
            continue
        logit = _largest_logit(name, np.asarray(expected, np.float64))
        scale = min(max(logit / 2, 1.0), MOST_SCALE)
        differences[name] = float(gap.max(initial=0)) / scale
    return differences


def _largest_logit(name: str, values: Float[np.ndarray, '...']) -> float:
    """The least size that the largest logit behind some probabilities can have."""
    logarithms = np.log(np.maximum(values, _TINY))
    if name == 'probabilities':
        spread = logarithms.max(axis=-1) - logarithms.min(axis=-1)
        # Logits may lie on both sides of 0.
        return float(spread.max(initial=0)) / 2
    others = np.log(np.maximum(1 - values, _TINY))
    return float(np.abs(logarithms - others).max(initial=0))
