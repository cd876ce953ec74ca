"""`digit_scenes`: coloured digits on a dark, cluttered ground, with boxes, masks and captions."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxvision.core.types import BACKGROUND, Example
from jaxvision.data import digit_captions
from jaxvision.data.composed import Composed, Digits
from jaxvision.data.protocol import SourceInfo

CONFIGURATIONS = {'64': (64, 3), '128': (128, 5)}  # side in pixels, most objects
LENGTHS = (50_000, 1_000)
HEIGHTS = ((16, 20), (26, 32))  # of the ink of small and of large objects, in pixels

# In the order of digit_captions.COLORS.
_RGB = np.array(
    [
        (235, 45, 40),
        (50, 200, 70),
        (60, 95, 250),
        (245, 220, 50),
        (240, 240, 240),
        (175, 60, 225),
    ],
    np.float32,
)
# The most of an ink's width over its height: three small objects fit side by side into 64
# pixels. 99 % of the digits are narrower.
_WIDEST = 1.25
_LAYOUTS = 20  # tries to place all objects
_PLACES = 20  # tries to place one object
_VISIBLE = 64  # the least ink of a resized digit that is in its mask
_FRAGMENT = 8  # side of the fragments that clutter the ground, in pixels

Box = tuple[int, int, int, int]  # ymin, xmin, ymax, xmax in pixels
SquareImage = UInt8[np.ndarray, 's s 3']


@dataclasses.dataclass(frozen=True)
class Layout:
    """The places of objects.

    Attributes:
        sizes: 0 for a small object, 1 for a large one.
        boxes: (ymin, xmin, ymax, xmax) of each object in pixels.
    """

    sizes: list[int]
    boxes: list[Box]


@dataclasses.dataclass(frozen=True)
class Object:
    """A digit to paint, resized to fill its box.

    Attributes:
        ink: its opacity, 0 to 255, cropped to the digit.
        color: RGB, 0 to 255.
        box: (ymin, xmin, ymax, xmax) in pixels of the image.
    """

    ink: UInt8[np.ndarray, '_ _']
    color: Float[np.ndarray, '3']
    box: Box


def make(configuration: str, data_dir: str = '') -> Composed:
    """The dataset of a configuration.

    Args:
        configuration: '64', scenes of 64x64 pixels with up to 3 objects, or '128',
            scenes of 128x128 pixels with up to 5.
        data_dir: the folder where `mnist5k` is prepared if it is missing there; '': the
            user's cache.
    """
    side, most = CONFIGURATIONS[configuration]
    info = SourceInfo(
        name=f'digit_scenes/{configuration}',
        split='',
        class_names=digit_captions.DIGITS,
        image_shape=(side, side, 3),
        multi_label=False,
        fingerprint='',
        semantic_names=(BACKGROUND, *digit_captions.DIGITS),
        holds=(
            'image',
            'captions',
            'boxes',
            'box_classes',
            'box_mask',
            'crowd',
            'area',
            'scene',
            'masks',
            'semantic',
        ),
    )
    compose_scene = functools.partial(compose, side=side, most=most)
    return Composed(info, LENGTHS, compose_scene, data_dir=data_dir)


def compose(rng: np.random.Generator, digits: Digits, side: int, most: int) -> Example:
    """Compose one scene of 1 to `most` objects, ordered from left to right.

    Args:
        rng: draws the scene.
        digits: the digits to draw from.
        side: of the image in pixels.
        most: the most objects.

    Returns:
        image: uint8 [side, side, 3].
        captions: three texts about the whole scene, in three styles.
        boxes: float32 [most, 4], of the whole ink.
        box_classes: int32 [most], the digits; 0 for padding.
        box_mask: bool [most], False for padding.
        crowd: bool [most], all False.
        area: float32 [most], of the boxes.
        scene: int32 [most, 5], digit, size, colour, y and x of each object; -1 for
            padding. Its centres are rounded: the margins of `apart` keep every relation
            true.
        masks: bool [most, side, side], the visible ink. An object further right lies on top.
        semantic: uint8 [side, side], 0 for background, or digit + 1.
    """
    number = int(rng.integers(1, most, endpoint=True))
    narrow = np.flatnonzero(digits.aspects <= _WIDEST)
    rows = narrow[rng.integers(len(narrow), size=number)]
    colors = rng.integers(len(_RGB), size=number)
    placed = layout(rng, digits.aspects[rows].tolist(), side)
    order = sorted(range(number), key=lambda i: _centre(placed.boxes[i])[1])
    rows = rows[order]
    colors = colors[order]
    sizes = [placed.sizes[i] for i in order]
    boxes = [placed.boxes[i] for i in order]

    scene = np.full((most, 5), -1, np.int32)
    padded_boxes = np.zeros((most, 4), np.float32)
    objects = []
    for i, box in enumerate(boxes):
        y, x = map(round, _centre(box))
        row = int(rows[i])
        color = colors[i]
        scene[i] = (digits.labels[row], sizes[i], color, y, x)
        padded_boxes[i] = box
        objects.append(Object(digits.ink(row), _RGB[color], box))
    image, masks = paint(ground(rng, digits, side), objects)
    padding = np.zeros((most - number, side, side), bool)
    padded_masks = np.concatenate([masks, padding])
    classes = scene[:, :1, None] + 1
    semantic = (padded_masks * classes).sum(0, dtype=np.uint8)
    sides = padded_boxes[:, 2:] - padded_boxes[:, :2]
    return {
        'image': image,
        'captions': digit_captions.captions(scene),
        'boxes': padded_boxes,
        'box_classes': np.maximum(scene[:, 0], 0),
        'box_mask': np.arange(most) < number,
        'crowd': np.zeros(most, bool),
        'area': np.prod(sides, axis=1),
        'scene': scene,
        'masks': padded_masks,
        'semantic': semantic,
    }


def layout(
    rng: np.random.Generator, aspects: list[float], side: int, tries: int = _LAYOUTS
) -> Layout:
    """Draw sizes and boxes for objects, of which any two are `apart`.

    At most a third of the smaller box may lie in the other.

    Args:
        rng: draws the sizes and the places.
        aspects: the width over the height of each object.
        side: of the image in pixels.
        tries: how often sizes are drawn, at most. If no try finds a place for all
            objects, all are small and stand in a row.

    Returns:
        Sizes and boxes in the order of `aspects`. Boxes lie inside the image.
    """
    for _ in range(tries):
        sizes = rng.integers(2, size=len(aspects)).tolist()
        shapes = []
        for size, aspect in zip(sizes, aspects, strict=True):
            height = int(rng.integers(*HEIGHTS[size], endpoint=True))
            shapes.append(_shape(height, aspect))
        boxes = _place(rng, shapes, side)
        if boxes:
            return Layout(sizes, boxes)
    return _row(aspects, side)


def _row(aspects: list[float], side: int) -> Layout:
    """Small objects in a row through the middle."""
    step = side / len(aspects)
    boxes = []
    for i, aspect in enumerate(aspects):
        height, width = _shape(HEIGHTS[0][0], aspect)
        top = (side - height) // 2
        left = int((i + 0.5) * step - width / 2)
        boxes.append((top, left, top + height, left + width))
    return Layout([0] * len(aspects), boxes)


def _shape(height: int, aspect: float) -> tuple[int, int]:
    return height, max(1, round(aspect * height))


def _place(
    rng: np.random.Generator, shapes: list[tuple[int, int]], side: int
) -> list[Box] | None:
    """Draw a box for each (height, width), one after the other. None if there is no room."""
    boxes = []
    places_by_shape = rng.random((len(shapes), _PLACES, 2)).tolist()
    for (height, width), places in zip(shapes, places_by_shape, strict=True):
        for down, right in places:
            top = int(down * (side - height + 1))
            left = int(right * (side - width + 1))
            box = (top, left, top + height, left + width)
            if all(apart(box, other) for other in boxes):
                boxes.append(box)
                break
        else:
            return None
    return boxes


def apart(a: Box, b: Box) -> bool:
    """Whether two boxes are distinct, and captions of their order and relation are certain.

    Centres differ by at least 3 pixels from left to right. Their distances across and
    down differ by at least 4 pixels. At most a third of the smaller box is in the
    larger one, which is an IoU of at most 0.2.
    """
    y_a, x_a = _centre(a)
    y_b, x_b = _centre(b)
    dy = abs(y_a - y_b)
    dx = abs(x_a - x_b)
    if dx < 3 or abs(dx - dy) < 4:
        return False
    top = max(a[0], b[0])
    left = max(a[1], b[1])
    bottom = min(a[2], b[2])
    right = min(a[3], b[3])
    shared = max(bottom - top, 0) * max(right - left, 0)
    smaller = min(_area(a), _area(b))
    return 3 * shared <= smaller


def _centre(box: Box) -> tuple[float, float]:
    top, left, bottom, right = box
    return (top + bottom) / 2, (left + right) / 2


def _area(box: Box) -> int:
    top, left, bottom, right = box
    return (bottom - top) * (right - left)


def ground(rng: np.random.Generator, digits: Digits, side: int) -> SquareImage:
    """Draw grey fragments of digits on a dark, noisy ground, no value above 115 of 255.

    Args:
        rng: draws the fragments and the noise.
        digits: the digits to cut fragments from.
        side: of the image in pixels.
    """
    number = (side // 16) ** 2
    last = digits.images.shape[1] - _FRAGMENT
    inside = np.arange(_FRAGMENT)
    # From the middle, where the ink is.
    ys, xs = rng.integers(4, last - 4, (2, number, 1, 1), endpoint=True)
    rows = rng.integers(len(digits.images), size=(number, 1, 1))
    down = inside[:, None]
    fragments = digits.images[rows, ys + down, xs + inside]
    brightness = rng.integers(30, 70, (number, 1, 1), endpoint=True)
    grey = np.zeros((side, side), np.uint8)
    ys, xs = rng.integers(0, side - _FRAGMENT, (2, number, 1, 1), endpoint=True)
    grey[ys + down, xs + inside] = fragments * brightness // 255
    noise = rng.integers(0, 16, (side, side, 3), np.uint8)
    tint = rng.integers(0, 30, 3, np.uint8, endpoint=True)
    return grey[..., None] + noise + tint


def paint(
    image: SquareImage, objects: list[Object]
) -> tuple[SquareImage, Bool[np.ndarray, 'n s s']]:
    """Paint digits onto an image in place, the last one on top.

    Args:
        image: uint8 [S, S, 3], changed in place.
        objects: the digits. Each covers the image by the opacity of its ink.

    Returns:
        (the image; bool [N, S, S], True at the ink of each digit that no later digit
        covers). Ink is an opacity of 64 or more of 255.
    """
    from PIL import Image

    masks = np.zeros((len(objects), *image.shape[:2]), bool)
    for i, item in enumerate(objects):
        top, left, bottom, right = item.box
        size = (right - left, bottom - top)
        resized = Image.fromarray(item.ink).resize(size, Image.Resampling.BILINEAR)
        ink = np.asarray(resized)
        alpha = ink[..., None] / np.float32(255)
        part = image[top:bottom, left:right]
        part[:] = np.rint(part * (1 - alpha) + item.color * alpha)
        is_visible = ink >= _VISIBLE
        masks_in_box = masks[:, top:bottom, left:right]
        masks_in_box[:i] &= ~is_visible
        masks_in_box[i] = is_visible
    return image, masks
