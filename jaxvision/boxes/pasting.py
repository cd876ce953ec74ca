"""Masks inside boxes pasted into an image, and their run lengths, on the host."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

# (height, width) in pixels.
Size = tuple[int, int]
# The probability that each cell of a box shows an object.
BoxMask = Float[np.ndarray, 'm m']
# Edges [ymin, xmin, ymax, xmax] in pixels.
Box = Float[np.ndarray, '4']
# The weight of each cell of a mask for each pixel, along an axis.
Weights = Float[np.ndarray, 'pixels cells']
# Run lengths of several masks, as the bytes of a text.
Runs = UInt8[np.ndarray, 'n']

THRESHOLD = 0.5  # probability above which a pixel belongs to an object


def paste(
    mask: BoxMask, box: Box, size: Size, *, rounds: bool = False
) -> Bool[np.ndarray, 'h w']:
    """Resize a mask to its box in an image, bilinearly and without antialiasing.

    Args:
        mask: the probability that each cell of the box shows the object.
        box: [ymin, xmin, ymax, xmax] in pixels of the image. It may leave the image.
        size: (height, width) of the image, pixels.
        rounds: whether the box is rounded to whole pixels as in torchvision, see
            `rounded_weights`. Masks of small objects then lose accuracy.

    Returns:
        Whether a pixel's probability is above 0.5; False outside of the box.
    """
    weigh = rounded_weights if rounds else exact_weights
    ymin, xmin, ymax, xmax = box.tolist()
    rows, row_weights = weigh(ymin, ymax, size[0], len(mask))
    columns, column_weights = weigh(xmin, xmax, size[1], len(mask))
    values = row_weights @ np.asarray(mask, np.float32) @ column_weights.T
    pasted = np.zeros(size, bool)
    pasted[rows, columns] = values > THRESHOLD
    return pasted


def exact_weights(
    low: float, high: float, side: int, cells: int
) -> tuple[slice, Weights]:
    """Interpolate a mask along an axis at the centres of the pixels inside a box.

    Args:
        low: lower edge of the box, pixels.
        high: upper edge of the box, pixels.
        side: of the image, pixels.
        cells: of the mask.

    Returns:
        (the pixels of the image whose centres are inside the box, the weights of the cells for
        each of them).
    """
    first = min(max(int(np.ceil(low - 0.5)), 0), side)
    last = max(min(int(np.ceil(high - 0.5)), side), first)
    pixels = np.arange(first, last)
    places = (pixels + 0.5 - low) / max(high - low, 1e-6)
    return slice(first, last), _weights(cells * places - 0.5, cells)


def rounded_weights(
    low: float, high: float, side: int, cells: int
) -> tuple[slice, Weights]:
    """Interpolate a mask along an axis as torchvision's `paste_masks_in_image` does.

    The mask gets a border of zeros one cell wide, and the box grows with it. The edges
    of the box are then rounded towards 0, and its last pixel counts.

    Args:
        low: lower edge of the box, pixels.
        high: upper edge of the box, pixels.
        side: of the image, pixels.
        cells: of the mask.

    Returns:
        (the pixels of the grown box that are inside the image, the weights of the cells for
        each of them).
    """
    one_half = np.float32(0.5)
    center = (np.float32(high) + np.float32(low)) * one_half
    half = (np.float32(high) - np.float32(low)) * one_half
    half *= np.float32((cells + 2) / cells)
    start = int(center - half)
    length = max(int(center + half) - start + 1, 1)
    first = min(max(start, 0), side)
    last = max(min(start + length, side), first)
    pixels = np.arange(first, last) - start
    centers = (pixels + 0.5) * ((cells + 2) / length) - 0.5
    return slice(first, last), _weights(centers, cells + 2)[:, 1:-1]


def _weights(centers: Float[np.ndarray, 'pixels'], cells: int) -> Weights:
    """Interpolate linearly at places between the cells 0 to `cells` - 1."""
    centers = np.clip(centers.astype(np.float32), 0, cells - 1)
    distances = np.abs(centers[:, None] - np.arange(cells, dtype=np.float32))
    return np.maximum(1 - distances, 0)


def run_lengths(mask: Bool[np.ndarray, 'h w']) -> bytes:
    """Encode a mask as the run lengths of COCO, a text of ASCII characters."""
    from pycocotools import mask as coco_masks

    return coco_masks.encode(np.asfortranarray(mask, np.uint8))['counts']


def decode(run: bytes, size: Size) -> Bool[np.ndarray, 'h w']:
    """Decode the run lengths of `run_lengths` into a mask.

    Args:
        run: of one mask.
        size: (height, width) of the mask, pixels.
    """
    from pycocotools import mask as coco_masks

    return coco_masks.decode({'size': list(size), 'counts': run}).astype(bool)


def join(runs: Sequence[bytes]) -> Runs:
    """Join the run lengths of several masks, a line for each."""
    text = b''.join(run + b'\n' for run in runs)
    return np.frombuffer(text, np.uint8)


def split(runs: Runs) -> list[bytes]:
    """Separate the run lengths that `join` has joined."""
    return runs.tobytes().splitlines()
