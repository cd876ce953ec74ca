"""The contrast of an image on the host, stretched to the whole range of values."""

import numpy as np
from jaxtyping import Int, UInt8

Pixels = UInt8[np.ndarray, 'h w c']
# How many values of an image are 0, 1, ..., levels - 1.
Histogram = Int[np.ndarray, 'levels']
# The new value of each value.
Table = UInt8[np.ndarray, 'levels']

_EXTREME = 0.005  # fraction of the values at each end that saturate


def histogram(pixels: Pixels) -> Histogram:
    """Count the values of an image, all channels together."""
    return np.bincount(pixels.ravel(), minlength=256)


def stretching(counts: Histogram) -> Table:
    """Make the table that stretches values to 0 to 255, without the most extreme ones.

    Half a percent of the values become 0, and half a percent 255. If there is one value
    only between them, the whole range becomes 0 to 255.

    Args:
        counts: histogram of the whole image, of any number of levels. Histograms of parts
            of it can be added.
    """
    fractions = np.cumsum(counts) / max(counts.sum(), 1)
    low = np.searchsorted(fractions, _EXTREME, side='right')
    high = np.searchsorted(fractions, 1 - _EXTREME)
    values = np.arange(len(counts))
    if low == high:
        low = 0
        high = len(counts) - 1
    values = np.clip((values - low) * (255 / (high - low)), 0, 255)
    return np.round(values).astype(np.uint8)


def stretch(pixels: Pixels) -> Pixels:
    """Stretch the values of an image to 0 to 255, see `stretching`."""
    return stretching(histogram(pixels))[pixels]
