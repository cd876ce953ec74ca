"""Pictures of label maps, instance maps and masks: colours, contours and a legend."""

import colorsys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

from jaxvision.core.types import IGNORED
from jaxvision.viz import boxes, text

if TYPE_CHECKING:  # Figures import Pillow only when they draw.
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

IGNORED_COLOR = (224, 224, 224)
# Names of a first class that is not painted, in lower case.
_BACKGROUNDS = ('background', 'void', 'unlabeled', 'unlabelled')
# Ten colours that people with any colour vision tell apart (Petroff, arXiv 2107.02270).
_ACCESSIBLE = (
    0x3F90DA,
    0xFFA90E,
    0xBD1F01,
    0x94A4A2,
    0x832DB6,
    0xA96B59,
    0xE76300,
    0xB9AC70,
    0x717581,
    0x92DADD,
)
_GOLDEN = 0.618034  # Hues this far apart stay distinct, however many there are.
# Saturation and brightness of further colours, one after the other.
_TONES = ((0.9, 0.95), (0.45, 1.0), (0.8, 0.55))
_MOST_ENTRIES = 40  # classes in a legend
_SMALLEST = 320  # pixels of the longest side of a picture; smaller images are enlarged
_MARGIN = 6  # pixels between the parts of a legend

AnyImage = UInt8[np.ndarray, 'h w _']
Labels = Integer[np.ndarray, 'h w']
Picture = UInt8[np.ndarray, '_ _ 3']
Colors = UInt8[np.ndarray, '_ 3']
PixelMask = Bool[np.ndarray, '_ _']


def palette(number: int) -> Colors:
    """Colours of classes, uint8 [number, 3]: the same ones for every number.

    People with any colour vision tell the first ten apart (Petroff, arXiv 2107.02270).
    Further colours alternate between three tones, with hues far apart.
    """
    colors = []
    for color in _ACCESSIBLE[:number]:
        colors.append((color >> 16, color >> 8 & 255, color & 255))
    for place in range(number - len(colors)):
        saturation, brightness = _TONES[place % len(_TONES)]
        channels = colorsys.hsv_to_rgb(place * _GOLDEN % 1, saturation, brightness)
        colors.append(tuple(round(255 * channel) for channel in channels))
    return np.array(colors, np.uint8).reshape(-1, 3)


def label_colors() -> Colors:
    """Colours of the labels 0 to 255 in a PNG: `palette`, and light grey for IGNORED."""
    colors = palette(256)
    colors[IGNORED] = IGNORED_COLOR
    return colors


def hidden_classes(class_names: Sequence[str]) -> tuple[int, ...]:
    """(0,) if the first class is a background by its name, else (): for `overlay`."""
    is_background = class_names[0].lower() in _BACKGROUNDS
    return (0,) if is_background else ()


def overlay(
    image: AnyImage,
    labels: Labels,
    class_names: Sequence[str],
    hidden: Collection[int] = (),
    opacity: float = 0.5,
) -> Picture:
    """Paint the classes of pixels on an image, with contours and a legend below.

    Pixels with the label IGNORED (255) are not painted.

    Args:
        image: uint8 [H, W, 1 or 3]. The pixels of a small image are repeated, so that
            its longest side has at least 320.
        labels: the class of each pixel, [H, W], in [0, K) or IGNORED.
        class_names: of the K classes.
        hidden: classes that are not painted, see `hidden_classes`.
        opacity: of the paint, from 0 (only contours) to 1.

    Returns:
        The picture. The legend has the classes that are painted, with the fraction of
        the image that each one covers, the largest 40 at most.
    """
    number = len(class_names)
    colors = palette(number)
    is_painted = (labels >= 0) & (labels < number) & ~np.isin(labels, list(hidden))
    painted = np.where(is_painted, labels.astype(np.int32), -1)
    picture = _painted(image, painted, colors, opacity)
    counts = np.bincount(labels[is_painted].ravel(), minlength=number)
    shown = np.flatnonzero(counts)
    largest = np.argsort(-counts[shown], kind='stable')[:_MOST_ENTRIES]
    entries = []
    for row in np.sort(shown[largest]).tolist():
        caption = f'{class_names[row]} {100 * counts[row] / labels.size:.1f} %'
        entries.append((caption, colors[row]))
    if not entries:
        return picture
    return _with_legend(picture, entries)


def overlay_instances(
    image: AnyImage, instances: Labels, opacity: float = 0.35
) -> Picture:
    """Paint each object of an instance map in a colour of its number, with contours.

    Args:
        image: uint8 [H, W, 1 or 3]. The pixels of a small image are repeated, so that
            its longest side has at least 320.
        instances: [H, W], 0 = no object, k = object k.
        opacity: of the paint, from 0 (only contours) to 1.
    """
    # One colour for each object that there is, because labels may be large.
    names = np.unique(instances)
    index = np.searchsorted(names, instances)
    colors = [boxes.class_color(name) for name in names.tolist()]
    painted = np.where(instances > 0, index, -1)
    return _painted(image, painted, np.array(colors, np.uint8), opacity)


def overlay_masks(
    image: AnyImage,
    masks: Bool[np.ndarray, 'n h w'],
    classes: Integer[np.ndarray, 'n'],
    opacity: float = 0.45,
) -> Picture:
    """Paint masks on an image at its size, under boxes and captions of `viz.boxes.draw`.

    Args:
        image: uint8 [H, W, 1 or 3].
        masks: bool [N, H, W], which may overlap. The first one is on top.
        classes: number of each mask's class, which chooses its colour as in `viz.boxes`.
        opacity: of the paint, from 0 (only contours) to 1.
    """
    picture = np.broadcast_to(image, (*image.shape[:2], 3)).copy()
    line = _line(picture)
    for mask, number in reversed(list(zip(masks, classes.tolist(), strict=True))):
        color = np.array(boxes.class_color(number))
        _blend(picture, mask, color, opacity)
        # Beyond the image there is no object, so a mask has a contour at the image's edge.
        edges = _edges(np.pad(mask, line), line)
        picture[mask & edges[line:-line, line:-line]] = color
    return picture


def _painted(
    image: AnyImage, labels: Labels, colors: Colors, opacity: float
) -> Picture:
    """Paint labels on an enlarged image; pixels with a label of -1 stay.

    Args:
        image: uint8 [H, W, 1 or 3].
        labels: [H, W], an index into `colors`, or -1.
        colors: uint8 [K, 3].
        opacity: of the paint.
    """
    times = max(1, -(-_SMALLEST // max(image.shape[:2])))
    whole = np.broadcast_to(image, (*image.shape[:2], 3))
    picture = whole.repeat(times, 0).repeat(times, 1)
    labels = labels.repeat(times, 0).repeat(times, 1)
    is_painted = labels >= 0
    _blend(picture, is_painted, colors[labels[is_painted]], opacity)
    on_contour = _edges(labels, _line(picture)) & is_painted
    picture[on_contour] = colors[labels[on_contour]]
    return picture


def _blend(
    picture: Picture,
    mask: PixelMask,
    color: Integer[np.ndarray, '*n 3'],
    opacity: float,
) -> None:
    """Mix the pixels of a mask with a colour, in place.

    Args:
        picture: the pixels.
        mask: bool, of the picture's size.
        color: one colour, or one for each pixel of the mask.
        opacity: fraction of the colour.
    """
    mixed: Float[np.ndarray, 'n 3'] = (1 - opacity) * picture[mask] + opacity * color
    picture[mask] = np.round(mixed).astype(np.uint8)


def _line(picture: Picture) -> int:
    """Width of a contour on each side of an edge, pixels."""
    return max(1, round(max(picture.shape[:2]) / 400))


def _edges(labels: Labels | PixelMask, width: int) -> PixelMask:
    """Pixels with another label at most `width` pixels away in their row or column."""
    edges = np.zeros(labels.shape, bool)
    for step in range(1, width + 1):
        differs = labels[step:] != labels[:-step]
        edges[step:] |= differs
        edges[:-step] |= differs
        differs = labels[:, step:] != labels[:, :-step]
        edges[:, step:] |= differs
        edges[:, :-step] |= differs
    return edges


def _with_legend(
    picture: Picture, entries: Sequence[tuple[str, UInt8[np.ndarray, '3']]]
) -> Picture:
    """Add lines of coloured squares with captions below a picture.

    Args:
        picture: uint8 [H, W, 3].
        entries: (caption, colour) of each class.
    """
    from PIL import Image, ImageDraw

    height, width, _ = picture.shape
    font = text.font(max(text.SIZE, max(height, width) // 80))
    side = sum(font.getmetrics())
    room = width - side - 3 * _MARGIN
    captions = [text.cut_to_width(caption, font, room) for caption, _ in entries]
    places = _legend_places(captions, font, width)
    bottom = max(y for _, y in places) + side + _MARGIN
    page = Image.new('RGB', (width, height + bottom), 'white')
    page.paste(Image.fromarray(picture))
    pencil = ImageDraw.Draw(page)
    for (x, y), caption, (_, color) in zip(places, captions, entries, strict=True):
        _write_entry(pencil, (x, height + y), caption, tuple(color.tolist()), font)
    return np.asarray(page)


def _legend_places(
    captions: Sequence[str], font: 'FreeTypeFont', width: int
) -> list[tuple[int, int]]:
    """(x, y) of each entry of a legend of some width, line by line."""
    side = sum(font.getmetrics())
    places = []
    x = _MARGIN
    y = _MARGIN
    for caption in captions:
        size = side + _MARGIN + round(font.getlength(caption))
        if x > _MARGIN and x + size + _MARGIN > width:
            x = _MARGIN
            y += side + _MARGIN
        places.append((x, y))
        x += size + 3 * _MARGIN
    return places


def _write_entry(
    pencil: 'ImageDraw',
    place: tuple[int, int],
    caption: str,
    color: tuple[int, int, int],
    font: 'FreeTypeFont',
) -> None:
    """Draw the square and the caption of an entry.

    Args:
        pencil: of Pillow.
        place: (x, y) of the top left.
        caption: the text.
        color: of the square.
        font: of Pillow.
    """
    x, y = place
    side = sum(font.getmetrics())
    pencil.rectangle((x, y, x + side - 1, y + side - 1), color, '#222222')
    pencil.text((x + side + _MARGIN, y), caption, '#222222', font)
