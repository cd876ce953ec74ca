"""`digit_scenes`: coloured digits on a dark, cluttered ground, with boxes, masks and captions."""

import functools

import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxvision.data import digit_captions
from jaxvision.data.composed import Composed, Digits
from jaxvision.data.protocol import Example, SourceInfo

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
# So that three of the least height fit side by side into 64 pixels; 99 % of the digits are so.
_WIDEST = 1.25  # width of the ink by its height
_LAYOUTS, _PLACES = 20, 20  # that are tried: of all objects, and then of each
_VISIBLE = 64  # the least ink of a resized digit that is in its mask
_FRAGMENT = 8  # side of what clutters the ground, in pixels

Box = tuple[int, int, int, int]  # ymin, xmin, ymax, xmax in pixels


def make(configuration: str, data_dir: str = '') -> Composed:
    """The data set of one of `CONFIGURATIONS`."""
    side, most = CONFIGURATIONS[configuration]
    info = SourceInfo(
        name=f'digit_scenes/{configuration}',
        split='',
        class_names=digit_captions.DIGITS,
        image_shape=(side, side, 3),
        multi_label=False,
        fingerprint='',
        holds=(
            'image',
            'captions',
            'boxes',
            'boxes_mask',
            'scene',
            'masks',
            'semantic',
        ),
    )
    return Composed(
        info,
        LENGTHS,
        functools.partial(compose, side=side, most=most),
        data_dir=data_dir,
    )


def compose(rng: np.random.Generator, digits: Digits, side: int, most: int) -> Example:
    """One scene of 1 to `most` objects, which are in order from left to right.

    Returns:
        image: uint8 [side, side, 3].
        captions: three of them, as `digit_captions.captions` says.
        boxes: float32 [most, 4], of the whole ink; boxes_mask: bool [most], False for padding.
        scene: int32 [most, 5], as `digit_captions` has it, centres rounded: the margins of `apart`
            keep every relation true.
        masks: bool [most, side, side], the ink that is seen: what is further right lies on top.
        semantic: uint8 [side, side], 0 or digit + 1.
    """
    number = int(rng.integers(1, most, endpoint=True))
    upright = np.flatnonzero(digits.aspects <= _WIDEST)
    rows = upright[rng.integers(len(upright), size=number)]
    colors = rng.integers(len(_RGB), size=number)
    sizes, boxes = layout(rng, digits.aspects[rows].tolist(), side)
    order = sorted(range(number), key=lambda i: _centre(boxes[i])[1])
    rows, colors = rows[order], colors[order]
    sizes, boxes = [sizes[i] for i in order], [boxes[i] for i in order]

    scene = np.full((most, 5), -1, np.int32)
    scene[:number] = [
        (digit, size, color, *map(round, _centre(box)))
        for digit, size, color, box in zip(digits.labels[rows], sizes, colors, boxes)
    ]
    padded = np.zeros((most, 4), np.float32)
    padded[:number] = boxes
    image, masks = paint(
        ground(rng, digits, side),
        [
            (digits.ink(int(row)), _RGB[color], box)
            for row, color, box in zip(rows, colors, boxes)
        ],
    )
    masks = np.concatenate([masks, np.zeros((most - number, side, side), bool)])
    return {
        'image': image,
        'captions': digit_captions.captions(scene),
        'boxes': padded,
        'boxes_mask': np.arange(most) < number,
        'scene': scene,
        'masks': masks,
        'semantic': (masks * (scene[:, :1, None] + 1)).sum(0, dtype=np.uint8),
    }


def layout(
    rng: np.random.Generator, aspects: list[float], side: int, tries: int = _LAYOUTS
) -> tuple[list[int], list[Box]]:
    """Sizes (0 small, 1 large) and boxes for objects of these widths by height.

    Any two objects are `apart`. Sizes are drawn anew where no place is found; after `tries` of
    that all are small and in a row.
    """
    for _ in range(tries):
        sizes = rng.integers(2, size=len(aspects)).tolist()
        shapes = [
            _shape(int(rng.integers(*HEIGHTS[size], endpoint=True)), aspect)
            for size, aspect in zip(sizes, aspects)
        ]
        boxes = _placed(rng, shapes, side)
        if boxes:
            return sizes, boxes
    shapes = [_shape(HEIGHTS[0][0], aspect) for aspect in aspects]
    step = side / len(shapes)
    corners = [
        ((side - height) // 2, int((i + 0.5) * step - width / 2))
        for i, (height, width) in enumerate(shapes)
    ]
    return [0] * len(shapes), [
        (y, x, y + height, x + width)
        for (y, x), (height, width) in zip(corners, shapes)
    ]


def _shape(height: int, aspect: float) -> tuple[int, int]:
    return height, max(1, round(aspect * height))


def _placed(
    rng: np.random.Generator, shapes: list[tuple[int, int]], side: int
) -> list[Box] | None:
    """A box in the canvas for each shape, one after the other; None where there is no room."""
    boxes = []
    for (height, width), places in zip(
        shapes, rng.random((len(shapes), _PLACES, 2)).tolist()
    ):
        for down, right in places:
            y, x = int(down * (side - height + 1)), int(right * (side - width + 1))
            box = y, x, y + height, x + width
            if all(apart(box, other) for other in boxes):
                boxes.append(box)
                break
        else:
            return None
    return boxes


def apart(a: Box, b: Box) -> bool:
    """Whether two boxes can be told apart, and what is said of their order and relation is sure.

    At most a third of the smaller box is in the larger, which is an IoU of at most 0.2.
    """
    dy, dx = (abs(p - q) for p, q in zip(_centre(a), _centre(b)))
    if dx < 3 or abs(dx - dy) < 4:
        return False
    height, width = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return 3 * max(height, 0) * max(width, 0) <= min(_area(a), _area(b))


def _centre(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def ground(
    rng: np.random.Generator, digits: Digits, side: int
) -> UInt8[np.ndarray, 's s 3']:
    """Grey fragments of digits on a dark, noisy ground, no value above 115 of 255."""
    number, last = (side // 16) ** 2, digits.images.shape[1] - _FRAGMENT
    inside = np.arange(_FRAGMENT)
    # From the middle, where the ink is.
    ys, xs = rng.integers(4, last - 4, (2, number, 1, 1), endpoint=True)
    rows = rng.integers(len(digits.images), size=(number, 1, 1))
    fragments = digits.images[rows, ys + inside[:, None], xs + inside]
    brightness = rng.integers(30, 70, (number, 1, 1), endpoint=True)
    grey = np.zeros((side, side), np.uint8)
    ys, xs = rng.integers(0, side - _FRAGMENT, (2, number, 1, 1), endpoint=True)
    grey[ys + inside[:, None], xs + inside] = fragments * brightness // 255
    noise = rng.integers(0, 16, (side, side, 3), np.uint8)
    tint = rng.integers(0, 30, 3, np.uint8, endpoint=True)
    return grey[..., None] + noise + tint


def paint(
    image: UInt8[np.ndarray, 's s 3'],
    objects: list[tuple[UInt8[np.ndarray, '_ _'], Float[np.ndarray, '3'], Box]],
) -> tuple[UInt8[np.ndarray, 's s 3'], Bool[np.ndarray, 'n s s']]:
    """The objects (ink, colour, box) painted onto the image, the last on top, and the mask of what
    is seen of each."""
    from PIL import Image

    masks = np.zeros((len(objects), *image.shape[:2]), bool)
    for i, (ink, color, (top, left, bottom, right)) in enumerate(objects):
        inside = slice(top, bottom), slice(left, right)
        resized = Image.fromarray(ink).resize(
            (right - left, bottom - top), Image.Resampling.BILINEAR
        )
        ink = np.asarray(resized)
        alpha = ink[..., None] / np.float32(255)
        image[inside] = np.rint(image[inside] * (1 - alpha) + color * alpha)
        seen = ink >= _VISIBLE
        masks[(slice(i), *inside)] &= ~seen
        masks[(i, *inside)] = seen
    return image, masks
