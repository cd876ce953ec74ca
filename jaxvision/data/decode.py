"""Encoded images to uint8 arrays on the host: whole, or the one crop that is wanted of them."""

import functools
import io
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from jaxvision.data.protocol import Unreadable

if TYPE_CHECKING:
    from PIL import Image

Pixels = UInt8[np.ndarray, 'h w c']
Encoded = (
    bytes | str | os.PathLike | UInt8[np.ndarray, 'h w k'] | UInt8[np.ndarray, 'h w']
)
Box = tuple[int, int, int, int]  # top, left, height, width

_STRIP = 2**20  # pixels


@functools.cache
def _opencv():
    """OpenCV on one thread: the pipeline's own threads are what runs in parallel."""
    import cv2

    cv2.setNumThreads(1)
    return cv2


def decode(image: Encoded, channels: int) -> Pixels:
    """The whole image, upright, with 1 (luma) or 3 (RGB) channels.

    EXIF orientation is applied, 16 bits are scaled to 8, transparency is laid over white, and of
    an animation the first frame is taken.

    Args:
        image: an encoded image, its path, or a uint8 array.
        channels: 1 or 3.
    Raises:
        Unreadable: damaged, no image, or too large to be one (Pillow's limit on bombs).
    """
    if isinstance(image, np.ndarray):
        return _with_channels(image, channels)
    data = _read(image)
    if _jpeg_size(data):
        return _decode_jpeg(data, channels)
    return _decode_any(data, channels)


def is_jpeg(data: bytes) -> bool:
    return data[:2] == b'\xff\xd8'


def random_resized_crop(
    image: Encoded,
    rng: np.random.Generator,
    size: int,
    channels: int,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> UInt8[np.ndarray, 'size size c']:
    """A random crop resized to a square (Szegedy et al., 2015, arXiv:1409.4842).

    Args:
        image: as for `decode`.
        rng: draws the box.
        size: side of the answer, pixels.
        channels: 1 or 3.
        scale: range of the crop's area, as a fraction of the image's.
        ratio: range of its width over its height.
    Raises:
        Unreadable: as `decode`, but damage below the crop that cuts nothing off goes unseen.
    """
    return _resized_crop(
        image,
        lambda height, width: crop_box(rng, height, width, scale, ratio),
        size,
        channels,
    )


def resize_center_crop(
    image: Encoded,
    size: int,
    channels: int,
    fraction: float = 0.875,
) -> UInt8[np.ndarray, 'size size c']:
    """Shorter side resized to size / fraction, then the central square, in one resampling.

    Args:
        image: as for `decode`.
        size: side of the answer, pixels.
        channels: 1 or 3.
        fraction: of the shorter side that is kept.
    Raises:
        Unreadable: as `random_resized_crop`.
    """

    def box(height: int, width: int) -> Box:
        side = max(1, round(fraction * min(height, width)))
        return (height - side) // 2, (width - side) // 2, side, side

    return _resized_crop(image, box, size, channels)


def squash(
    image: Encoded, size: int, channels: int
) -> UInt8[np.ndarray, 'size size c']:
    """The whole image resized to a square, whatever its shape; arguments and errors as above."""
    return _resized_crop(
        image, lambda height, width: (0, 0, height, width), size, channels
    )


def thumbnail(image: Encoded, channels: int, most: int) -> Pixels:
    """The whole image, upright, made smaller where a side has more than `most` pixels.

    Arguments and errors as for `decode`.
    """
    data = image if isinstance(image, np.ndarray) else _read(image)
    jpeg_size = None if isinstance(data, np.ndarray) else _jpeg_size(data)
    pixels = (
        decode(data, channels)
        if jpeg_size is None
        else _decode_jpeg(
            data,
            channels,
            next((by for by in (8, 4, 2) if max(jpeg_size) >= by * most), 1),
        )
    )
    height, width = jpeg_size or pixels.shape[:2]
    shrink = min(1, most / max(height, width))
    return resize(pixels, max(1, round(shrink * height)), max(1, round(shrink * width)))


def crop_box(
    rng: np.random.Generator,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Box:
    """Inception's random box: area uniform, log aspect uniform; the centre after ten misses."""
    for _ in range(10):
        area = rng.uniform(*scale) * height * width
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < h <= height and 0 < w <= width:
            top, left = rng.integers(0, (height - h, width - w), endpoint=True)
            return int(top), int(left), h, w
    h = min(height, max(1, round(width / ratio[0])))
    w = min(width, max(1, round(height * ratio[1])))
    return (height - h) // 2, (width - w) // 2, h, w


def resize(
    pixels: Pixels, height: int, width: int
) -> UInt8[np.ndarray, 'height width c']:
    """Antialiased bilinear resize, near to Pillow's BILINEAR and several times as fast.

    Bilinear interpolation is a triangle filter one pixel wide, of variance 1/6; to shrink by s
    the triangle has to be s wide. The missing variance, (s^2 - 1) / 6, is a Gaussian's before it.
    """
    cv2 = _opencv()
    h, w, channels = pixels.shape
    # Averaging down to three times the size first spares a great reduction a wide Gaussian.
    h = 3 * height if h > 6 * height else h
    w = 3 * width if w > 6 * width else w
    if (h, w) != pixels.shape[:2]:
        pixels = cv2.resize(pixels, (w, h), interpolation=cv2.INTER_AREA)
    (taps_y, sigma_y), (taps_x, sigma_x) = _gaussian(h / height), _gaussian(w / width)
    if taps_y > 1 or taps_x > 1:
        pixels = cv2.GaussianBlur(
            pixels,
            (taps_x, taps_y),
            sigma_x,
            sigmaY=sigma_y,
            borderType=cv2.BORDER_REPLICATE,
        )
    pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    return pixels.reshape(height, width, channels)


def _gaussian(shrink: float) -> tuple[int, float]:
    """Taps and sigma of the Gaussian of variance (shrink^2 - 1) / 6; one tap is none."""
    if shrink < 1.06:  # too little to pay a pass over the pixels for
        return 1, 1.0
    variance = (shrink**2 - 1) / 6
    if shrink <= 2:
        # Three taps (a, 1 - 2a, a), of variance 2a: cut so short, a Gaussian's own differs.
        a = variance / 2
        return 3, math.sqrt(-0.5 / math.log(a / (1 - 2 * a)))
    sigma = math.sqrt(variance)
    return 2 * math.ceil(2 * sigma) + 1, sigma


def _resized_crop(
    image: Encoded,
    choose: Callable[[int, int], Box],
    size: int,
    channels: int,
) -> UInt8[np.ndarray, 'size size c']:
    data = image if isinstance(image, np.ndarray) else _read(image)
    jpeg_size = None if isinstance(data, np.ndarray) else _jpeg_size(data)
    if jpeg_size is None:
        pixels = decode(data, channels)
        top, left, h, w = choose(*pixels.shape[:2])
    else:
        box = choose(*jpeg_size)
        # A JPEG decodes to a half, a quarter or an eighth faster than whole. Twice the wanted
        # size is kept: the rest of the shrinking is antialiased, and the box, which moves to the
        # coarser pixels, moves by a quarter of a final pixel at most.
        by = next((by for by in (8, 4, 2) if min(box[2:]) >= 2 * by * size), 1)
        pixels = _decode_jpeg(data, channels, by, box[0] + box[2])
        top, left = round(box[0] / by), round(box[1] / by)
        h, w = round((box[0] + box[2]) / by) - top, round((box[1] + box[3]) / by) - left
    return resize(pixels[top : top + h, left : left + w], size, size)


def _read(image: bytes | str | os.PathLike) -> bytes:
    if isinstance(image, bytes):
        return image
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise Unreadable(error.strerror) from error


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Upright height and width of a JPEG that simplejpeg decodes to grey and RGB, else None."""
    if not is_jpeg(data):
        return None
    import simplejpeg

    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    except (
        ValueError,
        KeyError,
    ):  # KeyError: sampled in a way that simplejpeg has no name for
        return None
    if colorspace not in ('YCbCr', 'Gray', 'RGB'):
        return None
    _refuse_bomb(height, width)
    return (width, height) if _orientation(data) >= 5 else (height, width)


def _orientation(data: bytes) -> int:
    """EXIF's, 1 to 8: from 5 on the picture lies on its side."""
    if not _has_exif(data):
        return 1
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as opened:
            orientation = opened.getexif().get(0x0112, 1)
    except Exception:  # damaged EXIF raises nearly anything; the picture may be whole
        return 1
    return orientation if orientation in range(1, 9) else 1


def _has_exif(data: bytes) -> bool:
    """Whether a segment is EXIF's; to look for the word in all the data takes far longer."""
    return any(
        marker == 0xE1 and data.startswith(b'Exif\0\0', at + 2)
        for marker, at in _segments(data)
    )


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and place of each segment before a JPEG's pixels."""
    at = 2
    while (
        data[at : at + 1] == b'\xff' and at + 3 < len(data) and data[at + 1] != 0xDA
    ):  # the scan
        if data[at + 1] == 0xFF:  # may fill the room before a marker
            at += 1
            continue
        yield data[at + 1], at + 2
        at += 2 + int.from_bytes(data[at + 2 : at + 4])


def _upright(pixels: Pixels, orientation: int) -> UInt8[np.ndarray, 'height width c']:
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _decode_jpeg(
    data: bytes, channels: int, by: int = 1, bottom: int | None = None
) -> Pixels:
    """Reduced `by` 2, 4 or 8; of an upright JPEG only the rows above `bottom` and one more."""
    import simplejpeg

    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    orientation = _orientation(data)
    wanted = data
    if bottom is not None and orientation == 1:
        # A row more, between which and the last one chroma is interpolated.
        wanted, height = _ending_at(data, height, bottom + by)
    h, w = -(-height // by), -(-width // by)
    pixels = np.empty((h, w, channels), np.uint8)
    try:
        simplejpeg.decode_jpeg(
            wanted,
            'GRAY' if channels == 1 else 'RGB',
            min_height=h,
            min_width=w,
            buffer=pixels,
        )
    except ValueError as error:
        # What libjpeg warned of first is raised when all pixels are written. Rows that were cut
        # off are extraneous bytes to it; damage above them comes before.
        if wanted is data or 'extraneous bytes before marker' not in str(error):
            # Truncated, or only odd (stray bytes between markers): Pillow tells them apart.
            pixels = _decode_any(data, channels)
            h, w, _ = pixels.shape
            return resize(pixels, -(-h // by), -(-w // by)) if by > 1 else pixels
    return _upright(pixels, orientation)


def _ending_at(data: bytes, height: int, bottom: int) -> tuple[bytes, int]:
    """The JPEG with a frame header that has it end at the row `bottom`, and its height then; as it
    is, if it is truncated or progressive."""
    if bottom < height:
        for marker, at in _segments(data):
            # Sequential, so that what is below comes after; and with its end.
            if marker in (0xC0, 0xC1) and data.rfind(b'\xff\xd9') > at:
                return data[: at + 3] + bottom.to_bytes(2) + data[at + 5 :], bottom
    return data, height


def _decode_any(data: bytes, channels: int) -> Pixels:
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data)) as opened:
            _refuse_bomb(opened.height, opened.width)
            if opened.format == 'EPS':  # Pillow would have Ghostscript run it
                raise Unreadable('PostScript is a program, not an image')
            _refuse_unknown_range(opened)
            ImageOps.exif_transpose(opened, in_place=True)
            return _converted(opened, channels)
    except Image.UnidentifiedImageError as error:
        raise Unreadable('no image in a format that Pillow knows') from error
    except (
        Exception
    ) as error:  # Pillow's readers raise nearly anything at a damaged file
        raise Unreadable(str(error) or type(error).__name__) from error


def _refuse_bomb(height: int, width: int) -> None:
    from PIL import Image

    if height * width > Image.MAX_IMAGE_PIXELS:
        raise Unreadable(
            f'{width}x{height} pixels are more than the {Image.MAX_IMAGE_PIXELS} '
            'that Pillow takes for an image'
        )


def _refuse_unknown_range(image: 'Image.Image') -> None:
    # Of PNG and PGM, Pillow's mode of 32 bits holds 16.
    if image.mode == 'F' or image.mode == 'I' and image.format not in ('PNG', 'PPM'):
        kind = {'F': 'floats', 'I': 'integers of 32 bits'}[image.mode]
        raise Unreadable(f'its pixels are {kind}, whose range is not known')


def _converted(image: 'Image.Image', channels: int) -> Pixels:
    """A strip at a time: whole, an image in transition would take 26 bytes a pixel."""
    width, height = image.size
    pixels = np.empty((height, width, channels), np.uint8)
    rows = -(-_STRIP // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        pixels[top : top + rows] = _with_channels(_eight_bits(strip), channels)
    return pixels


def _eight_bits(image: 'Image.Image') -> UInt8[np.ndarray, 'h w *k']:
    from PIL import Image

    if image.mode.startswith('I'):
        return np.round(np.clip(np.asarray(image), 0, 65535) / 257).astype(np.uint8)
    if image.has_transparency_data:
        white = Image.new('RGBA', image.size, 'white')
        image = Image.alpha_composite(white, image.convert('RGBA'))
    grey = image.mode in ('1', 'L')
    return np.asarray(image.convert('L' if grey else 'RGB'))


def _with_channels(pixels: UInt8[np.ndarray, 'h w *k'], channels: int) -> Pixels:
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if pixels.shape[-1] == channels:
        return pixels
    if pixels.shape[-1] == 1:
        return np.repeat(pixels, channels, axis=-1)
    from PIL import Image

    mode = 'L' if channels == 1 else 'RGB'
    flat = np.asarray(Image.fromarray(pixels).convert(mode))
    return flat.reshape(*flat.shape[:2], channels)
