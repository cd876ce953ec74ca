"""The resize that published networks were evaluated with: Pillow's own, of the whole image."""

import numpy as np
from jaxtyping import UInt8

from jaxvision.data.decode import Encoded, Pixels, decode

# The longest side, relative to the shorter. Resized whole, a strip would fill the memory.
_LONGEST = 8


def resize_then_crop(
    image: Encoded,
    size: int,
    channels: int,
    shorter: int,
    interpolation: str,
) -> UInt8[np.ndarray, 'size size c']:
    """Resize the shorter side of an image, antialiased, then cut out the central square.

    An image of more than 8:1 is cut to its central 8:1 before, unless `shorter` is 0.

    Args:
        image: an encoded image, its path, or a uint8 array.
        size: side of the square, pixels.
        channels: 1 or 3.
        shorter: length of the shorter side, at least `size`, pixels; 0: the whole image is
            stretched into the square instead.
        interpolation: 'bilinear' or 'bicubic'.

    Raises:
        Unreadable: The image is damaged, in no known format, or too large.
    """
    pixels = decode(image, channels)
    if shorter:
        pixels = _middle(pixels)
        height, width, _ = pixels.shape
        shortest = min(height, width)
        height = int(shorter * height / shortest)
        width = int(shorter * width / shortest)
    else:
        height = size
        width = size
    resized = resize(pixels, height, width, interpolation)
    top = round((height - size) / 2)
    left = round((width - size) / 2)
    return resized[top : top + size, left : left + size]


def resize(
    pixels: Pixels, height: int, width: int, interpolation: str
) -> UInt8[np.ndarray, 'height width c']:
    """Resize an image by a filter of Pillow, which antialiases.

    Args:
        pixels: uint8 [H, W, C] with 1 or 3 channels.
        height: of the result, pixels.
        width: of the result, pixels.
        interpolation: 'bilinear' or 'bicubic'.
    """
    from PIL import Image

    channels = pixels.shape[2]
    whole = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    method = Image.Resampling[interpolation.upper()]
    resized = np.asarray(whole.resize((width, height), method))
    return resized.reshape(height, width, channels)


def _middle(pixels: Pixels) -> UInt8[np.ndarray, 'h2 w2 c']:
    """The central part of a strip, the whole of another image."""
    height, width, _ = pixels.shape
    longest = _LONGEST * min(height, width)
    top = max(0, height - longest) // 2
    left = max(0, width - longest) // 2
    return pixels[top : top + longest, left : left + longest]
