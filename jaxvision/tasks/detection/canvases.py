"""Images on the canvases of published detectors."""

import numpy as np
from jaxtyping import UInt8

from jaxvision.core.spec import ArraySpec, Preprocessing
from jaxvision.core.types import Example
from jaxvision.data import resizing
from jaxvision.image.types import Size
from jaxvision.image.warp import Warp

# Sides of a canvas are multiples of it, pixels.
STRIDE = 32


def inputs(preprocessing: Preprocessing) -> dict[str, ArraySpec]:
    """The input arrays of a published detector of RGB images.

    If the canvas depends on the image, 'image' is float32 and 'content_size' is a
    second input. The shape of 'image' is then that of the largest landscape image, with
    sides rounded up to multiples of 32.
    """
    if preprocessing.fixes_canvas:
        return {'image': ArraySpec((*preprocessing.size, 3))}
    height, width = map(_rounded_up, preprocessing.size)
    return {
        'image': ArraySpec((height, width, 3), 'float32'),
        'content_size': ArraySpec((2,), 'int32'),
    }


def bounded_size(source: Size, shorter: int, longest: int) -> Size:
    """The size of a resized image, rounded down as in torchvision, at least one pixel.

    The aspect ratio stays. An image is enlarged or reduced until a side reaches its
    limit.

    Args:
        source: (height, width) of the image, pixels.
        shorter: most pixels of the shorter side.
        longest: most pixels of the longer side.
    """
    scale = min(shorter / min(source), longest / max(source))
    height, width = (max(int(side * scale), 1) for side in source)
    return height, width


def bounded(
    pixels: UInt8[np.ndarray, 'h w 3'], preprocessing: Preprocessing
) -> Example:
    """Resize an image by the rule 'bounded', and put it on its canvas.

    The sides of the canvas are those of the resized image, rounded up to multiples of
    32.

    Args:
        pixels: of the image.
        preprocessing: with the two sides and the mean, which fills the canvas.

    Returns:
        'image' float32 in [0, 255], 'content_size' (height, width) of the resized image
        at the top left of the canvas, 'warp' [2, 3] from the image to the canvas, and
        'original_size' (height, width).
    """
    source = pixels.shape[:2]
    size = bounded_size(source, *preprocessing.size)
    resized = resizing.resize_bilinear(pixels.astype(np.float32), *size)
    canvas_size = tuple(map(_rounded_up, size))
    mean = 255 * np.asarray(preprocessing.mean, np.float32)
    canvas = np.empty((*canvas_size, 3), np.float32)
    canvas[:] = mean
    canvas[: size[0], : size[1]] = resized
    return {
        'image': canvas,
        'content_size': np.array(size, np.int32),
        'warp': Warp.resize(source, size).matrix.astype(np.float32),
        'original_size': np.array(source, np.int32),
    }


def _rounded_up(side: int) -> int:
    return -(-side // STRIDE) * STRIDE
