"""The resize that published networks were evaluated with: Pillow's own, of the whole image."""

import numpy as np
from jaxtyping import UInt8

from jaxvision.data.decode import Encoded, Pixels, decode

_LONGEST = 8  # times the shorter side: resized by that, a strip would fill the memory


def resize_then_crop(
    image: Encoded,
    size: int,
    channels: int,
    shorter: int,
    interpolation: str,
) -> UInt8[np.ndarray, 'size size c']:
    """The shorter side resized to `shorter` pixels, antialiased, then the central square.

    Args:
        image: as for `decode`.
        size: side of the answer, pixels.
        channels: 1 or 3.
        shorter: at least `size`; 0: the whole image is squashed instead.
        interpolation: 'bilinear' or 'bicubic'.
    Raises:
        Unreadable: as `decode`.
    """
    from PIL import Image

    pixels = _middle(decode(image, channels))
    height, width, _ = pixels.shape
    h = w = size
    if shorter:
        h, w = (int(shorter * side / min(height, width)) for side in (height, width))
    whole = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    method = Image.Resampling[interpolation.upper()]
    resized = np.asarray(whole.resize((w, h), method)).reshape(h, w, channels)
    top, left = round((h - size) / 2), round((w - size) / 2)
    return resized[top : top + size, left : left + size]


def _middle(pixels: Pixels) -> UInt8[np.ndarray, 'h2 w2 c']:
    longest = _LONGEST * min(pixels.shape[:2])
    top, left = (max(0, side - longest) // 2 for side in pixels.shape[:2])
    return pixels[top : top + longest, left : left + longest]
