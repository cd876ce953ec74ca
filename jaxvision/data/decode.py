"""Encoded images to uint8 arrays on the host, whole or as the crop that training wants."""

import io
import os
from pathlib import Path

from jaxtyping import UInt8
import numpy as np
from PIL import Image, ImageOps
import simplejpeg

from jaxvision.data.protocol import Unreadable

Encoded = bytes | str | os.PathLike


def decode(
    image: Encoded | UInt8[np.ndarray, 'h w k'], channels: int,
) -> UInt8[np.ndarray, 'h w c']:
    if isinstance(image, np.ndarray):
        return image
    data = image if isinstance(image, bytes) else Path(image).read_bytes()
    mode = 'L' if channels == 1 else 'RGB'
    try:
        with Image.open(io.BytesIO(data)) as opened:
            pixels = np.asarray(ImageOps.exif_transpose(opened).convert(mode))
    except (OSError, ValueError, SyntaxError) as error:
        raise Unreadable(str(error)) from error
    return pixels.reshape(*pixels.shape[:2], channels)
