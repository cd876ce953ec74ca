"""Boxes on an image, each with a caption, in a colour of its class."""

import colorsys
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxvision.viz import text

_GOLDEN = 0.618034  # Hues this far apart stay distinct, however many there are.
_LINE = 17  # height of a caption in pixels
_SMALLEST = 320  # pixels of the longest side of a picture; smaller images are enlarged


def draw(
    image: UInt8[np.ndarray, 'h w c'],
    boxes: Float[np.ndarray, 'n 4'],
    captions: Sequence[str],
    classes: Int[np.ndarray, 'n'],
) -> UInt8[np.ndarray, 'h2 w2 3']:
    """Draw boxes on an image.

    Args:
        image: uint8 [H, W, 1 or 3]; its pixels are repeated if it is small.
        boxes: [ymin, xmin, ymax, xmax] in pixels.
        captions: a text for each box.
        classes: number of each box's class, which chooses its colour.
    """
    from PIL import Image, ImageDraw

    times = max(1, -(-_SMALLEST // max(image.shape[:2])))
    whole = np.broadcast_to(image, (*image.shape[:2], 3)).repeat(times, 0)
    page = Image.fromarray(np.ascontiguousarray(whole.repeat(times, 1)))
    pencil = ImageDraw.Draw(page)
    font = text.font()
    # The last box is on top, so the best one, which is the first, is drawn last.
    for box, caption, number in reversed(
        list(zip(times * boxes, captions, classes.tolist(), strict=True))
    ):
        color = class_color(number)
        ymin, xmin, ymax, xmax = box.tolist()
        pencil.rectangle(
            (xmin, ymin, max(xmax - 1, xmin), max(ymax - 1, ymin)), None, color, 2
        )
        top = ymin
        if ymin >= _LINE:
            top = ymin - _LINE
        length = pencil.textlength(caption, font)
        pencil.rectangle((xmin, top, xmin + length + 4, top + _LINE), color)
        pencil.text((xmin + 2, top), caption, 'black', font)
    return np.asarray(page)


def class_color(number: int) -> tuple[int, int, int]:
    """A bright colour (red, green, blue) for a class."""
    hue = (number * _GOLDEN) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.65, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
