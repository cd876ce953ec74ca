"""Encoded images to uint8 arrays on the host: whole, or only the crop that is needed."""

import contextlib
import dataclasses
import functools
import io
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from jaxvision.data import jpeg, pillow_modes, resizing, scaling, tiff_files
from jaxvision.data.protocol import Unreadable
from jaxvision.image import contrast

if TYPE_CHECKING:
    from PIL import Image

Pixels = UInt8[np.ndarray, 'h w c']
Square = UInt8[np.ndarray, 'size size c']
Encoded = (
    bytes | str | os.PathLike | UInt8[np.ndarray, 'h w k'] | UInt8[np.ndarray, 'h w']
)
Box = tuple[int, int, int, int]  # top, left, height, width
Range = tuple[float, float]  # smallest and largest value

_STRIP = 2**20  # pixels


class OtherTiff(Unreadable):
    """A TIFF whose kind of pixels Pillow does not read."""


def decode(
    image: Encoded, channels: int, table: contrast.Table | None = None
) -> Pixels:
    """Decode a whole image, upright.

    EXIF orientation is applied, and transparency is laid over white. Values of 16 bits are scaled
    linearly, so that 65535 becomes 255. TIFFs of floats, signed numbers or 32 bits are scaled by
    `scaling.by_percentiles`. An animation gives its first frame.

    Args:
        image: an encoded image, its path, or a uint8 array [H, W] or [H, W, K]. The K
            channels are grey, grey and alpha, RGB, or RGB and alpha.
        channels: 1 (luma) or 3 (RGB).
        table: the new value of each of 256 levels, or of those of `depth.levels` if the
            image is grey of 16 bits; None: linear.

    Returns:
        uint8 [H, W, channels]. An array that has these channels is returned uncopied.

    Raises:
        Unreadable: The image is damaged, in no known format, or larger than Pillow's limit.
    """
    data = image if isinstance(image, np.ndarray) else read(image)
    if table is not None and len(table) > 256:
        return _decode_with_pillow(data, channels, table)
    if isinstance(data, np.ndarray):
        pixels = _with_channels(data, channels)
    elif _jpeg_size(data):
        pixels = _decode_jpeg(data, channels)
    else:
        pixels = _decode_with_pillow(data, channels)
    return pixels if table is None else table[pixels]


def has_pages(image: Encoded) -> bool:
    """Whether an image has several pages or frames, of which `decode` takes the first.

    The further pictures of a JPEG, such as thumbnails and gain maps, do not count.

    Args:
        image: an encoded image, its path, or a uint8 array, which has one frame.

    Raises:
        Unreadable: The image is damaged, in no known format, or larger than Pillow's
            limit. A JPEG is not checked.
    """
    if isinstance(image, np.ndarray):
        return False
    data = read(image)
    if jpeg.is_jpeg(data):
        return False
    with opened(data) as (picture, _):
        return getattr(picture, 'n_frames', 1) > 1


def random_resized_crop(
    image: Encoded,
    rng: np.random.Generator,
    size: int,
    channels: int,
    scale: Range = (0.08, 1.0),
    ratio: Range = (3 / 4, 4 / 3),
) -> Square:
    """Resize a random crop to a square, antialiased (Szegedy et al., arXiv:1409.4842).

    Args:
        image: an encoded image, its path, or a uint8 array.
        rng: draws the box, as `crop_box` does.
        size: side of the square in pixels.
        channels: 1 (luma) or 3 (RGB).
        scale: range of the crop's area, as a fraction of the image's.
        ratio: range of the crop's width over its height.

    Raises:
        Unreadable: The image is damaged, in no known format, or too large. Damaged rows
            below the crop are not noticed, unless the file is cut off.
    """
    choose = functools.partial(crop_box, rng, scale=scale, ratio=ratio)
    return _resized_crop(image, choose, size, channels)


def resize_center_crop(
    image: Encoded,
    size: int,
    channels: int,
    fraction: float = 0.875,
) -> Square:
    """Resize the shorter side to size / fraction and take the central square, in one resampling.

    Args:
        image: an encoded image, its path, or a uint8 array.
        size: side of the square in pixels.
        channels: 1 (luma) or 3 (RGB).
        fraction: the part of the shorter side that the square shows.

    Raises:
        Unreadable: The image is damaged, in no known format, or too large. Damaged rows
            below the crop are not noticed, unless the file is cut off.
    """
    choose = functools.partial(_central_square, fraction)
    return _resized_crop(image, choose, size, channels)


def _central_square(fraction: float, height: int, width: int) -> Box:
    side = max(1, round(fraction * min(height, width)))
    top = (height - side) // 2
    left = (width - side) // 2
    return top, left, side, side


def stretch(image: Encoded, size: int, channels: int) -> Square:
    """Resize the whole image to a square, antialiased. Its aspect ratio is lost.

    Args:
        image: an encoded image, its path, or a uint8 array.
        size: side of the square in pixels.
        channels: 1 (luma) or 3 (RGB).

    Raises:
        Unreadable: The image is damaged, in no known format, or larger than Pillow's limit.
    """
    return _resized_crop(image, _whole, size, channels)


def _whole(height: int, width: int) -> Box:
    return 0, 0, height, width


def thumbnail(image: Encoded, channels: int, most: int) -> UInt8[np.ndarray, 'h2 w2 c']:
    """Decode a whole image, and shrink it if it is large. Its aspect ratio stays.

    Args:
        image: an encoded image, its path, or a uint8 array.
        channels: 1 (luma) or 3 (RGB).
        most: the most pixels of the longest side. Smaller images keep their size.

    Raises:
        Unreadable: The image is damaged, in no known format, or larger than Pillow's limit.
    """
    data = image if isinstance(image, np.ndarray) else read(image)
    jpeg_size = None if isinstance(data, np.ndarray) else _jpeg_size(data)
    if jpeg_size is None:
        pixels = decode(data, channels)
        height, width, _ = pixels.shape
    else:
        height, width = jpeg_size
        pixels = _decode_jpeg(data, channels, _reduction(max(height, width) / most))
    shrink = min(1, most / max(height, width))
    small_height = max(1, round(shrink * height))
    small_width = max(1, round(shrink * width))
    return resizing.resize(pixels, small_height, small_width)


def crop_box(
    rng: np.random.Generator,
    height: int,
    width: int,
    scale: Range,
    ratio: Range,
) -> Box:
    """Draw Inception's random box: area uniform, log of the aspect ratio uniform.

    Ten boxes that do not fit give the largest central box within `ratio`.

    Args:
        rng: draws the box.
        height: of the image in pixels.
        width: of the image in pixels.
        scale: range of the box's area, as a fraction of the image's.
        ratio: range of the box's width over its height.

    Returns:
        (top, left, height, width) of the box in pixels, inside the image.
    """
    narrowest = math.log(ratio[0])
    widest = math.log(ratio[1])
    for _ in range(10):
        area = rng.uniform(*scale) * height * width
        aspect = math.exp(rng.uniform(narrowest, widest))
        w = round(math.sqrt(area * aspect))
        h = round(math.sqrt(area / aspect))
        if 0 < h <= height and 0 < w <= width:
            top, left = rng.integers(0, (height - h, width - w), endpoint=True)
            return int(top), int(left), h, w
    h = min(height, max(1, round(width / ratio[0])))
    w = min(width, max(1, round(height * ratio[1])))
    top = (height - h) // 2
    left = (width - w) // 2
    return top, left, h, w


def _resized_crop(
    image: Encoded,
    choose: Callable[[int, int], Box],
    size: int,
    channels: int,
) -> Square:
    """Resize a box of an image to a square.

    Args:
        image: as for `decode`.
        choose: gives the box by the height and the width of the image.
        size: side of the square in pixels.
        channels: 1 or 3.
    """
    data = image if isinstance(image, np.ndarray) else read(image)
    jpeg_size = None if isinstance(data, np.ndarray) else _jpeg_size(data)
    if jpeg_size is None:
        pixels = decode(data, channels)
        top, left, h, w = choose(*pixels.shape[:2])
    else:
        y, x, box_height, box_width = choose(*jpeg_size)
        # A reduced JPEG decodes faster. It keeps twice the needed size, and antialiasing shrinks
        # the rest. The box moves to coarser pixels, by at most a quarter of a final pixel.
        by = _reduction(min(box_height, box_width) / (2 * size))
        bottom = y + box_height
        right = x + box_width
        pixels = _decode_jpeg(data, channels, by, bottom)
        top = round(y / by)
        left = round(x / by)
        h = round(bottom / by) - top
        w = round(right / by) - left
    crop = pixels[top : top + h, left : left + w]
    return resizing.resize(crop, size, size)


def _reduction(shrink: float) -> int:
    """The largest reduction that a JPEG decoder offers, at most `shrink` times."""
    return next((by for by in (8, 4, 2) if shrink >= by), 1)


def read(image: bytes | str | os.PathLike) -> bytes:
    """The bytes of an encoded image, or of the file of a path.

    Raises:
        Unreadable: The file cannot be read.
    """
    if isinstance(image, bytes):
        return image
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise Unreadable(error.strerror) from error


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Upright height and width of a JPEG that simplejpeg decodes, else None."""
    size = jpeg.size(data)
    if size:
        _refuse_bomb(*size)
    return size


def _decode_jpeg(
    data: bytes, channels: int, by: int = 1, bottom: int | None = None
) -> Pixels:
    """Decode a JPEG as `jpeg.decode` does, or with Pillow if that fails."""
    pixels = jpeg.decode(data, channels, by, bottom)
    if pixels is not None:
        return pixels
    # Truncated, or only odd, such as stray bytes between markers. Pillow tells them apart.
    pixels = _decode_with_pillow(data, channels)
    if by == 1:
        return pixels
    height, width, _ = pixels.shape
    reduced_height = -(-height // by)
    reduced_width = -(-width // by)
    return resizing.resize(pixels, reduced_height, reduced_width)


def _decode_with_pillow(
    data: bytes, channels: int, table: contrast.Table | None = None
) -> Pixels:
    try:
        with opened(data) as (image, meaning):
            if meaning.unknown:
                grey = scaling.by_percentiles(pillow_modes.numbers_of(image))
                return _with_channels(grey, channels)
            if table is not None:
                meaning = dataclasses.replace(meaning, table=table)
            return converted(image, channels, meaning)
    except OtherTiff:
        size = tiff_files.size(data)
        if size:
            _refuse_bomb(*size)
        return _with_channels(tiff_files.pixels(data), channels)


@contextlib.contextmanager
def opened(data: bytes) -> 'Iterator[tuple[Image.Image, pillow_modes.Meaning]]':
    """Open encoded bytes with Pillow in a `with` block.

    Yields:
        (the image, upright; the meaning of its pixel values), as `converted` takes
        them.

    Raises:
        Unreadable: The image is damaged, in no known format, or too large. Any error
            inside the block becomes `Unreadable` too.
    """
    from PIL import ImageOps

    with opened_as_stored(data) as image:
        meaning = pillow_modes.meaning(image)
        ImageOps.exif_transpose(image, in_place=True)
        yield image, meaning


@contextlib.contextmanager
def opened_as_stored(data: bytes) -> 'Iterator[Image.Image]':
    """Open encoded bytes with Pillow in a `with` block, before EXIF turns the image.

    Raises:
        Unreadable: The image is damaged, in no known format, or too large. Any error
            inside the block becomes `Unreadable` too.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            _refuse_bomb(image.height, image.width)
            if image.format == 'EPS':  # Pillow would let Ghostscript run it.
                raise Unreadable('PostScript is a program, not an image')
            yield image
    except Image.UnidentifiedImageError as error:
        if tiff_files.is_tiff(data):
            reason = 'a TIFF whose kind of pixels Pillow does not read'
            raise OtherTiff(reason) from error
        raise Unreadable('no image in a format that Pillow knows') from error
    except Unreadable:
        raise
    except Exception as error:  # Pillow raises nearly anything at a damaged file.
        raise Unreadable(str(error) or type(error).__name__) from error


def _refuse_bomb(height: int, width: int) -> None:
    from PIL import Image

    if height * width > Image.MAX_IMAGE_PIXELS:
        raise Unreadable(
            f'{width}x{height} pixels are more than the {Image.MAX_IMAGE_PIXELS} '
            'that Pillow takes for an image'
        )


def converted(
    image: 'Image.Image',
    channels: int,
    meaning: pillow_modes.Meaning = pillow_modes.USUAL,
) -> Pixels:
    """Convert an image to uint8 [H, W, channels], strip by strip.

    Converted whole, it would take 26 bytes a pixel meanwhile.

    Args:
        image: as `opened` yields it.
        channels: 1 (luma) or 3 (RGB), with transparency over white; 4: RGB and alpha.
        meaning: of the pixel values, as `opened` yields it.

    Raises:
        Unreadable: The range of the values is not known.
    """
    if meaning.unknown:
        raise Unreadable(meaning.unknown)
    width, height = image.size
    pixels = np.empty((height, width, channels), np.uint8)
    top = 0
    for strip in strips(image):
        if channels == 4:
            part = pillow_modes.with_alpha(strip, meaning)
        else:
            part = _with_channels(pillow_modes.eight_bits(strip, meaning), channels)
        pixels[top : top + len(part)] = part
        top += len(part)
    return pixels


def strips(image: 'Image.Image') -> 'Iterator[Image.Image]':
    """Yield parts of an image from the top down, each about a million pixels."""
    width, height = image.size
    rows = -(-_STRIP // width)
    for top in range(0, height, rows):
        yield image.crop((0, top, width, min(top + rows, height)))


def _with_channels(pixels: UInt8[np.ndarray, 'h w *k'], channels: int) -> Pixels:
    height, width = pixels.shape[:2]
    pixels = pixels.reshape(height, width, -1)
    stored_channels = pixels.shape[-1]
    if stored_channels == channels:
        return pixels
    if stored_channels == 1:
        return np.repeat(pixels, channels, axis=-1)
    from PIL import Image

    if stored_channels in (2, 4):
        return converted(Image.fromarray(pixels), channels)
    mode = 'L' if channels == 1 else 'RGB'
    flat = np.asarray(Image.fromarray(pixels).convert(mode))
    return flat.reshape(height, width, channels)
