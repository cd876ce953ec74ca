"""Mask files: the number or the colour that is stored at each pixel.

A mask is an image in a lossless format. Its pixels are class labels, object numbers or colours of
classes, which `masks_classes` tells apart.
"""

import dataclasses
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Int, UInt8

from jaxvision.core.types import Value
from jaxvision.data import decode
from jaxvision.data.protocol import Unreadable

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ('PNG', 'BMP', 'GIF', 'TIFF')
# The suffixes of these formats.
SUFFIXES = ('.png', '.bmp', '.gif', '.tif', '.tiff')

# Of labels that a table can list.
MOST_VALUE = 65535

_WIDE_MODES = ('I', 'I;16', 'I;16L', 'I;16B', 'I;16N')
_GREY_MODES = ('1', 'L', 'P', 'LA', 'PA')
_PNG = b'\x89PNG\r\n\x1a\n'
_PHOTOMETRIC = 262
_WHITE_IS_ZERO = 0

# 'bytes': labels or palette entries of at most 8 bits. 'numbers': integers of more bits.
# 'colors': red * 65536 + green * 256 + blue.
Kind = Literal['bytes', 'numbers', 'colors']
Values = Int[np.ndarray, 'h w'] | UInt8[np.ndarray, 'h w']


@dataclasses.dataclass(frozen=True)
class StoredMask:
    """The pixels of a mask file, upright.

    Attributes:
        values: the number or the packed colour of each pixel.
        kind: the meaning of the values.
    """

    values: Values
    kind: Kind


def read(data: bytes, palette_colors: bool = False) -> StoredMask:
    """Read the pixels of a mask file.

    Grey values of 1, 2 and 4 bits stay the numbers that the file stores. Transparency is not read.

    Args:
        data: the encoded mask, a PNG, BMP, GIF or TIFF.
        palette_colors: whether grey values and palette entries become their colours.

    Returns:
        Values of the kind 'colors' for RGB files, or for all files with `palette_colors`. Other
        files have the kind 'bytes' or 'numbers'.

    Raises:
        Unreadable: The file is damaged, has several pages, is in a lossy format, or its pixels are
            neither integers nor 8-bit colours.
    """
    from PIL import ImageOps

    with decode.opened_as_stored(data) as image:
        _check_format(data, image)
        upright = ImageOps.exif_transpose(image) or image
        if upright.mode in _WIDE_MODES:
            return StoredMask(_nonnegative(np.asarray(upright)), 'numbers')
        is_grey = upright.mode in _GREY_MODES
        if not is_grey and upright.mode not in ('RGB', 'RGBA', 'RGBX'):
            raise Unreadable(
                f'its pixels are {upright.mode}: expected grey, a palette or RGB. Save it as PNG'
            )
        if palette_colors or not is_grey:
            return StoredMask(packed(np.asarray(upright.convert('RGB'))), 'colors')
        values = np.asarray(upright).astype(np.uint8)
        if values.ndim == 3:  # Grey or palette entries, and alpha.
            values = values[..., 0]
        return StoredMask(values // _scale_of_pillow(data), 'bytes')


def packed(rgb: UInt8[np.ndarray, '*b 3']) -> Int[np.ndarray, '*b']:
    """Colours as numbers: red * 65536 + green * 256 + blue, int32."""
    red, green, blue = np.moveaxis(rgb.astype(np.int32), -1, 0)
    return (red << 16) | (green << 8) | blue


def counts(values: Values) -> dict[int, int]:
    """{value: its pixels} of a mask, in ascending order of the values."""
    if values.dtype == np.uint8:
        pixels = np.bincount(values.reshape(-1), minlength=1)
        present = np.flatnonzero(pixels)
        return dict(zip(present.tolist(), pixels[present].tolist(), strict=True))
    flat = values.reshape(-1)
    # Masks have few and long runs of one value, and sorting the runs is much faster.
    is_start = np.ones(len(flat), bool)
    is_start[1:] = flat[1:] != flat[:-1]
    starts = np.flatnonzero(is_start)
    lengths = np.diff(starts, append=len(flat))
    present, places = np.unique(flat[starts], return_inverse=True)
    pixels = np.bincount(places, weights=lengths).astype(int)
    return dict(zip(present.tolist(), pixels.tolist(), strict=True))


def _check_format(data: bytes, image: 'Image.Image') -> None:
    """Refuse files whose pixels are not the numbers that were annotated."""
    if image.format not in FORMATS:
        raise Unreadable(
            f'a {image.format} file, which may change labels: expected a PNG. Export the mask as '
            'PNG again'
        )
    if getattr(image, 'n_frames', 1) > 1:
        raise Unreadable('it has several pages or frames: expected one')
    if image.format == 'TIFF' and _tiff_tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO:
        raise Unreadable('a TIFF in which 0 is white: expected 0 to be black')
    depth, color_type = _png_header(data)
    if depth == 16 and color_type != 0:
        raise Unreadable(
            'a PNG with several channels of 16 bits: expected grey of 16 bits, or 8 bits'
        )


def _tiff_tag(image: 'Image.Image', tag: int) -> Value:
    return getattr(image, 'tag_v2', {}).get(tag)


def _png_header(data: bytes) -> tuple[int, int]:
    """(bits of a channel, colour type) of a PNG; (8, 0) for other formats."""
    if not data.startswith(_PNG):
        return 8, 0
    return data[24], data[25]


def _scale_of_pillow(data: bytes) -> int:
    """The factor by which Pillow multiplies grey values of 2 and 4 bits."""
    depth, color_type = _png_header(data)
    if color_type != 0:
        return 1
    return {2: 85, 4: 17}.get(depth, 1)


def _nonnegative(values: np.ndarray) -> Int[np.ndarray, 'h w']:
    """Integers as int32.

    Raises:
        Unreadable: A value is negative.
    """
    values = values.astype(np.int32)
    if values.min(initial=0) < 0:
        raise Unreadable('it has negative values: expected numbers from 0')
    return values
