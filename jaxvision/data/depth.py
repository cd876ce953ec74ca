"""Images of more than 8 bits a pixel, stretched before they are reduced to 8 bits."""

import numpy as np
from jaxtyping import UInt16

from jaxvision.data import decode, jpeg, pillow_modes
from jaxvision.data.protocol import Unreadable
from jaxvision.image import contrast


def is_wide(image: bytes | np.ndarray) -> bool:
    """Whether an encoded image is grey of 16 bits and of known range.

    It is False for a damaged one.
    """
    if isinstance(image, np.ndarray) or jpeg.is_jpeg(image):
        return False
    try:
        with decode.opened_as_stored(image) as opened:
            is_wide = pillow_modes.is_wide(opened.mode)
            return is_wide and not pillow_modes.meaning(opened).unknown
    except Unreadable:
        return False


def levels(data: bytes) -> UInt16[np.ndarray, 'h w']:
    """Decode grey of up to 16 bits, upright, without reducing it: 0 is black.

    Args:
        data: an encoded image for which `is_wide` is True.

    Raises:
        Unreadable: As `decode.decode`, or the range of the values is not known.
    """
    with decode.opened(data) as (picture, meaning):
        if meaning.unknown:
            raise Unreadable(meaning.unknown)
        return pillow_modes.levels_of(picture, meaning)


def stretched(image: decode.Encoded, channels: int) -> decode.Pixels:
    """Decode an image and stretch its values, see `image.contrast`.

    Grey of 16 bits is stretched before it is reduced to 8 bits. TIFFs whose range is not known
    are stretched by `decode.decode` already.

    Args:
        image: an encoded image, its path, or a uint8 array.
        channels: 1 (luma) or 3 (RGB).

    Raises:
        Unreadable: As `decode.decode`.
    """
    data = image if isinstance(image, np.ndarray) else decode.read(image)
    if not is_wide(data):
        return contrast.stretch(decode.decode(data, channels))
    counts = np.bincount(levels(data).ravel(), minlength=2**16)
    return decode.decode(data, channels, contrast.stretching(counts))
