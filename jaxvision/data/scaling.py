"""Numbers of unknown range as 8 bits: those of volumes and of images of floats."""

import numpy as np
from jaxtyping import Num, UInt8

from jaxvision.data.protocol import Unreadable

DARKEST = 0.5  # percent of the values that are black
BRIGHTEST = 99.5  # percent of the values that are not white

Numbers = Num[np.ndarray, '*shape']
Bytes = UInt8[np.ndarray, '*shape']


def by_percentiles(values: Numbers) -> Bytes:
    """Scale numbers linearly, with 0.5 % of them black and 0.5 % white.

    Args:
        values: of an image or a volume. Those that are not finite become 0.

    Raises:
        Unreadable: No value is finite.
    """
    is_finite = np.isfinite(values)
    if not is_finite.any():
        raise Unreadable('it has no finite value')
    low, high = np.percentile(values[is_finite], (DARKEST, BRIGHTEST))
    if high <= low:
        low = float(values[is_finite].min())
        high = max(float(values[is_finite].max()), low + 1)
    return between(np.where(is_finite, values, low), low, high)


def between(values: Numbers, low: float | np.number, high: float | np.number) -> Bytes:
    """Scale numbers linearly, so that `low` and less is 0, and `high` and more 255.

    Args:
        values: finite numbers.
        low: the value that becomes 0.
        high: the value that becomes 255, above `low`.
    """
    scaled = (values.astype(np.float32) - low) * np.float32(255 / (high - low))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
