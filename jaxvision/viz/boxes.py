"""Boxes on an image, each with a caption, in a colour of its class."""

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxvision.viz import text

if TYPE_CHECKING:  # Figures import Pillow only when they draw.
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

_GOLDEN = 0.618034  # Hues this far apart stay distinct, however many there are.
_SMALLEST = 320  # pixels of the longest side of a picture; smaller images are enlarged
_MARGIN = 2  # pixels at each side of a caption's text
# Hiding another caption is this much worse than hiding as many pixels of an object.
_CAPTION_WEIGHT = 4.0

# ymin, xmin, ymax, xmax in pixels.
Rectangle = tuple[float | int, float | int, float | int, float | int]


def draw(
    image: UInt8[np.ndarray, 'h w c'],
    boxes: Float[np.ndarray, 'n 4'],
    captions: Sequence[str],
    classes: Int[np.ndarray, 'n'],
) -> UInt8[np.ndarray, 'h2 w2 3']:
    """Draw boxes on an image at its full size. Lines and letters grow with the image.

    A caption stands above, below or inside its box, where it hides the least of all boxes
    and of other captions. The first box is on top of the others.

    Args:
        image: uint8 [H, W, 1 or 3]. The pixels of a small image are repeated, so that
            its longest side has at least 320.
        boxes: [ymin, xmin, ymax, xmax] in pixels of `image`.
        captions: a text for each box.
        classes: number of each box's class, which chooses its colour.
    """
    from PIL import Image, ImageDraw

    times = max(1, -(-_SMALLEST // max(image.shape[:2])))
    whole = np.broadcast_to(image, (*image.shape[:2], 3)).repeat(times, 0)
    page = Image.fromarray(np.ascontiguousarray(whole.repeat(times, 1)))
    pencil = ImageDraw.Draw(page)
    longest_side = max(page.size)
    font = text.font(max(text.SIZE, longest_side // 80))
    line = max(2, longest_side // 500)
    rectangles = [tuple(box) for box in (times * boxes).tolist()]
    places = place_captions(
        rectangles,
        [_caption_size(caption, font) for caption in captions],
        (page.height, page.width),
    )
    colors = [class_color(number) for number in classes.tolist()]
    last_to_first = list(reversed(range(len(rectangles))))
    for row in last_to_first:
        ymin, xmin, ymax, xmax = rectangles[row]
        outer = (xmin, ymin, max(xmax - 1, xmin), max(ymax - 1, ymin))
        pencil.rectangle(outer, None, colors[row], line)
    for row in last_to_first:
        _write(pencil, places[row], captions[row], font, colors[row])
    return np.asarray(page)


def place_captions(
    boxes: Sequence[Rectangle],
    sizes: Sequence[tuple[float, float]],
    page: tuple[int, int],
) -> list[Rectangle]:
    """Find a place for the caption of each box, the first box first.

    Args:
        boxes: (ymin, xmin, ymax, xmax) of each box, pixels.
        sizes: (height, width) of each caption, pixels.
        page: (height, width) of the image, pixels.

    Returns:
        (ymin, xmin, ymax, xmax) of each caption: above, below or inside its box, and
        moved into the image. It is where the caption hides the least of all boxes and
        of earlier captions.
    """
    every_box = np.array(boxes, np.float64).reshape(-1, 4)
    placed = np.zeros((0, 4))
    for box, size in zip(boxes, sizes, strict=True):
        places = np.array(_possible_places(box, size, page))
        hidden = _common_areas(places, every_box)
        hidden += _CAPTION_WEIGHT * _common_areas(places, placed)
        placed = np.concatenate([placed, places[[np.argmin(hidden)]]])
    return [tuple(place) for place in placed.tolist()]


def class_color(number: int) -> tuple[int, int, int]:
    """A bright colour (red, green, blue), each from 0 to 255, for a class."""
    hue = (number * _GOLDEN) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.65, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _caption_size(caption: str, font: 'FreeTypeFont') -> tuple[float, float]:
    """(height, width) of a caption with its background, pixels."""
    ascent, descent = font.getmetrics()
    return float(ascent + descent), font.getlength(caption) + 2 * _MARGIN


def _possible_places(
    box: Rectangle, size: tuple[float, float], page: tuple[int, int]
) -> list[Rectangle]:
    """The places of a caption inside the image, the preferred one first."""
    ymin, xmin, ymax, xmax = box
    height, width = size
    lefts = [xmin, xmax - width]
    tops = [ymin - height, ymax, ymin, ymax - height]
    places = []
    for top in tops:
        for left in lefts:
            inner_top = min(max(top, 0.0), page[0] - height)
            inner_left = min(max(left, 0.0), page[1] - width)
            places.append(
                (inner_top, inner_left, inner_top + height, inner_left + width)
            )
    return places


def _common_areas(
    places: Float[np.ndarray, 'p 4'], others: Float[np.ndarray, 'n 4']
) -> Float[np.ndarray, 'p']:
    """The area that each place has in common with the others, summed over them."""
    low = np.maximum(places[:, None, :2], others[:, :2])
    high = np.minimum(places[:, None, 2:], others[:, 2:])
    sides = np.maximum(high - low, 0)
    return np.prod(sides, axis=-1).sum(axis=-1)


def _write(
    pencil: 'ImageDraw',
    place: Rectangle,
    caption: str,
    font: 'FreeTypeFont',
    color: tuple[int, int, int],
) -> None:
    """Write a caption on a background of its colour.

    Args:
        pencil: of Pillow.
        place: of the caption.
        caption: the text.
        font: of Pillow.
        color: of the background.
    """
    top, left, bottom, right = place
    pencil.rectangle((left, top, right, bottom - 1), color)
    pencil.text((left + _MARGIN, top), caption, 'black', font)
