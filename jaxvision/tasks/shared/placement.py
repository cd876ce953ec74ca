"""Where an image goes on its canvas: by a fixed rule, or at random in training."""

import numpy as np
from jaxtyping import Float, UInt8

from jaxvision.boxes import overlap
from jaxvision.core.fields import Config, Field, Fields
from jaxvision.data import pillow_resize, resizing
from jaxvision.image import warp
from jaxvision.image.types import Size
from jaxvision.image.warp import Warp

FIELDS: Fields = {
    'scale': Field(
        0.0,
        'Largest change of the size: 0.5 makes images 0.5 to 1.5 times as large; '
        '0.9 is large-scale jitter.',
        least=0,
        below=1,
    ),
    'crop': Field(
        0.0,
        'Fraction of the images that are cropped to a random part with an object.',
        least=0,
        most=1,
    ),
    'translate': Field(
        0.0,
        'Largest shift of an image, as a fraction of the height and of the width.',
        least=0,
        most=1,
    ),
    'rotate': Field(0.0, 'Largest rotation of an image, degrees.', least=0, most=180),
}

GREY = 114  # the value of the canvas around an image

# A cropped part overlaps one of its objects by at least one of these IoUs.
_LEAST_IOUS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
_TRIALS = 40

Pixels = UInt8[np.ndarray, '_ _ _']
Boxes = Float[np.ndarray, 'n 4']

# `(source, target) -> Warp` from an image's (height, width) to the canvas's, by resize rule.
WARPS = {
    # All images of the dataset fill the canvas; those of a user may have other sizes.
    'none': warp.letterbox,
    'letterbox': warp.letterbox,
    'top_left': warp.top_left,
    # Stretched, as published detectors without a crop see images.
    'shorter_side': Warp.resize,
    # Published segmenters see the image itself, between two sides.
    'unpadded': warp.unpadded,
}


def by_rule(rule: str, pixels: Pixels, target: Size) -> tuple[Warp, Pixels]:
    """Resize an image to fit a canvas, with its aspect ratio unless the rule stretches it.

    Args:
        rule: 'letterbox' or 'none' puts the image in the centre, 'top_left' in that
            corner. 'shorter_side' stretches it to a square canvas, with Pillow.
            'unpadded' resizes it between two sides, with Pillow.
        pixels: the image, uint8 [H, W, C].
        target: (height, width) of the canvas, pixels. For 'unpadded': (the shorter side,
            most pixels of the longer one).

    Returns:
        (the map from the image to the canvas, the canvas, grey around the image).
    """
    map_ = WARPS[rule](pixels.shape[:2], target)
    if rule == 'top_left':
        return map_, at_top_left(map_, pixels)
    if rule == 'shorter_side':
        return map_, stretched(pixels, target[0])
    if rule == 'unpadded':
        height, width = map_.size
        return map_, pillow_resize.resize(pixels, height, width, 'bilinear')
    return map_, apply(map_, pixels)


def at_random(
    augment: Config,
    rng: np.random.Generator,
    rule: str,
    pixels: Pixels,
    boxes: Boxes,
    target: Size,
) -> tuple[list[Warp], Pixels]:
    """Crop, resize, shift and rotate an image at random, each if its field is above 0.

    The field 'crop' is the probability of a crop, the others are the largest changes.

    Args:
        augment: the fields of `task.augment`, of which those in `FIELDS` are used.
        rng: the random generator, which is used only by fields above 0.
        rule: rule of `by_rule`, which places the image if `augment.scale` is 0.
        pixels: the image, uint8 [H, W, C].
        boxes: edges of its objects, pixels.
        target: (height, width) of the canvas, pixels.

    Returns:
        (maps that follow each other from the image to the canvas, the canvas). Pixels
        outside the target of any of these maps are lost.
    """
    maps = []
    if augment.crop and rng.uniform() < augment.crop:
        crop = random_crop(rng, pixels.shape[:2], boxes)
        pixels = apply(crop, pixels)
        maps.append(crop)
    if augment.scale:
        place = random_place(rng, pixels.shape[:2], target, augment.scale)
        canvas = apply(place, pixels)
    else:
        place, canvas = by_rule(rule, pixels, target)
    maps.append(place)
    if augment.translate or augment.rotate:
        turn = random_turn(rng, target, augment.translate, augment.rotate)
        canvas = resizing.map_affine(canvas, turn.matrix, target, GREY)
        maps.append(turn)
    return maps, canvas


def random_crop(rng: np.random.Generator, source: Size, boxes: Boxes) -> Warp:
    """Choose a part of an image that shows an object (SSD, arXiv 1512.02325).

    The sides of the part are at least 0.3 of the image's, and one side is at most twice
    the other. The centre of an object is inside. The part has an IoU with such an object
    of at least 0, 0.1, 0.3, 0.5, 0.7 or 0.9, chosen at random.

    Args:
        rng: the random generator.
        source: (height, width) of the image, pixels.
        boxes: edges of the objects, pixels. Without objects any part will do.

    Returns:
        The map to the part; the identity if 40 random parts do not fit.
    """
    least_iou = rng.choice(_LEAST_IOUS)
    for _ in range(_TRIALS):
        height, width = np.maximum(rng.uniform(0.3, 1, size=2) * source, 1).astype(int)
        top, left = rng.integers([source[0] - height + 1, source[1] - width + 1])
        part = np.array([top, left, top + height, left + width], np.float64)
        has_shape = height <= 2 * width and width <= 2 * height
        if has_shape and _shows_object(part, boxes, least_iou):
            return Warp.crop(int(top), int(left), (int(height), int(width)))
    return Warp.identity(source)


def _shows_object(part: Float[np.ndarray, '4'], boxes: Boxes, least_iou: float) -> bool:
    """Whether a part has an object's centre and enough IoU with that object."""
    if not len(boxes):
        return True
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    is_inside = ((part[:2] < centers) & (centers < part[2:])).all(axis=1)
    is_overlapped = overlap.iou_on_host(part, boxes) >= least_iou
    return bool((is_inside & is_overlapped).any())


def random_place(
    rng: np.random.Generator,
    source: Size,
    target: Size,
    largest_change: float,
) -> Warp:
    """Choose the size and the place of an image on a canvas at random.

    The aspect ratio stays. An image that is larger than the canvas is cropped.

    Args:
        rng: the random generator.
        source: (height, width) of the image, pixels.
        target: (height, width) of the canvas, pixels.
        largest_change: 0.5 gives 0.5 to 1.5 times the largest size that fits.

    Returns:
        The map from pixels of the image to pixels of the canvas.
    """
    factor = 1 + rng.uniform(-largest_change, largest_change)
    fitted = np.array(warp.fitted_size(source, target))
    height, width = np.maximum(np.round(factor * fitted), 1).astype(int)
    resize = Warp.resize(source, (int(height), int(width)))
    # The image lies inside the canvas, or covers it.
    free = np.array([target[0] - height, target[1] - width])
    top, left = np.floor(rng.uniform(size=2) * (free + np.sign(free))).astype(int)
    return resize.then(Warp.crop(int(-top), int(-left), target))


def random_turn(
    rng: np.random.Generator, size: Size, translate: float, rotate: float
) -> Warp:
    """Choose a rotation around the centre of a canvas and a shift at random.

    Args:
        rng: the random generator.
        size: (height, width) of the canvas, pixels, which stays.
        translate: largest shift to each side, as a fraction of the height and width.
        rotate: largest angle to each side, degrees.
    """
    angle = rng.uniform(-rotate, rotate)
    shift = rng.uniform(-translate, translate, size=2) * size
    return Warp.rotate(angle, size).then(Warp.crop(-shift[0], -shift[1], size))


def apply(map_: Warp, pixels: Pixels) -> Pixels:
    """Resize an image and put it on its canvas, whose other pixels are grey.

    Parts of the image outside the canvas are cut off. The scaled edges are rounded to
    whole pixels.

    Args:
        map_: scales and shifts, without rotation, from the image to the canvas, and the
            size of the canvas.
        pixels: uint8 [H, W, C].
    """
    height, width, channels = pixels.shape
    (top, left), (bottom, right) = np.round(
        map_.points(np.array([[0.0, 0.0], [height, width]]))
    ).astype(int)
    resized = pixels
    if (bottom - top, right - left) != (height, width):
        resized = resizing.resize(pixels, int(bottom - top), int(right - left))
    if resized.shape[:2] == map_.size and top == left == 0:
        return resized
    canvas = np.full((*map_.size, channels), GREY, np.uint8)
    rows = slice(max(top, 0), max(min(bottom, map_.size[0]), 0))
    columns = slice(max(left, 0), max(min(right, map_.size[1]), 0))
    canvas[rows, columns] = resized[
        rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]
    return canvas


def at_top_left(map_: Warp, pixels: Pixels) -> Pixels:
    """Resize an image without antialiasing to the top left of a grey canvas.

    The scaled sides are rounded down.

    Args:
        map_: scales both axes alike, see `warp.top_left`.
        pixels: uint8 [H, W, C].
    """
    scale = map_.matrix[0, 0]
    height = max(int(pixels.shape[0] * scale), 1)
    width = max(int(pixels.shape[1] * scale), 1)
    canvas = np.full((*map_.size, pixels.shape[2]), GREY, np.uint8)
    canvas[:height, :width] = resizing.resize_bilinear(pixels, height, width)
    return canvas


def stretched(pixels: Pixels, side: int) -> Pixels:
    """Stretch an image to a square by Pillow's bilinear filter, which antialiases.

    Args:
        pixels: uint8 [H, W, C].
        side: of the square, pixels.
    """
    return pillow_resize.resize_then_crop(
        pixels, side, pixels.shape[2], shorter=0, interpolation='bilinear'
    )
