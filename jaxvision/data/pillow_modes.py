"""The meaning of pixels that Pillow's modes do not tell: their range, and what is transparent."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from jaxvision.data.protocol import Unreadable

if TYPE_CHECKING:
    from PIL import Image

# Formats whose 16 bits Pillow scales to the range 0 to 65535, or reads as they are.
_WIDE_FORMATS = ('PNG', 'PPM', 'TIFF', 'JPEG2000')

# Tags of TIFF, and their values.
_BITS = 258
_PHOTOMETRIC = 262
_WHITE_IS_ZERO = 0
_PLANES = 284
_IN_SEPARATE_PLANES = 2
_SAMPLE_FORMAT = 339
_SIGNED = 2


@dataclasses.dataclass(frozen=True)
class Meaning:
    """The meaning of the pixel values of a grey image of 16 bits.

    Attributes:
        largest: the value of full intensity.
        white_is_zero: whether 0 is white and `largest` black.
        transparent: the value of transparent pixels; -1: no pixel is transparent.
    """

    largest: int = 65535
    white_is_zero: bool = False
    transparent: int = -1


USUAL = Meaning()


def meaning(opened: 'Image.Image') -> Meaning:
    """Read from the header how pixel values map to brightness, before any pixel is decoded.

    Args:
        opened: as `PIL.Image.open` returns it. Its decoder settings are corrected where
            Pillow would misread the file.

    Returns:
        The range of the values, whether 0 is white, and the value that is transparent.

    Raises:
        Unreadable: The range of the pixels is not known, or Pillow cannot read their layout.
    """
    if opened.mode == 'F':
        raise Unreadable('its pixels are floats, whose range is not known')
    if opened.format == 'TIFF':
        return _meaning_of_tiff(opened)
    if opened.format == 'PNG' and isinstance(opened.info.get('transparency'), int):
        return _meaning_of_png(opened)
    # In a PNG or PGM, Pillow's mode of 32 bits holds 16 bits.
    if opened.mode == 'I' and opened.format not in ('PNG', 'PPM'):
        raise Unreadable('its pixels are integers of 32 bits, whose range is not known')
    if opened.mode.startswith('I;16') and opened.format not in _WIDE_FORMATS:
        raise Unreadable(
            f'its pixels are integers of 16 bits, whose range in a {opened.format} file '
            'is not known'
        )
    if opened.format == 'PNG' and _raw_mode(opened) == 'RGB;16B':
        _refuse_a_wide_transparent_color(opened)
    return USUAL


def eight_bits(image: 'Image.Image', meaning: Meaning) -> UInt8[np.ndarray, 'h w *k']:
    """Bring pixels to 8 bits, with transparency over white.

    Args:
        image: of any mode but 'F'.
        meaning: of the pixel values. It is used only if they have 16 bits.

    Returns:
        [h, w] for an image in grey of 16 bits, or of at most 8 bits without transparency.
        RGB [h, w, 3] for any other.
    """
    from PIL import Image

    if image.mode.startswith('I'):
        numbers = np.clip(np.asarray(image), 0, meaning.largest)
        grey = np.round(numbers / (meaning.largest / 255)).astype(np.uint8)
        if meaning.white_is_zero:
            grey = 255 - grey
        return np.where(numbers == meaning.transparent, np.uint8(255), grey)
    if image.has_transparency_data:
        white = Image.new('RGBA', image.size, 'white')
        image = Image.alpha_composite(white, image.convert('RGBA'))
    is_grey = image.mode in ('1', 'L')
    return np.asarray(image.convert('L' if is_grey else 'RGB'))


def with_alpha(image: 'Image.Image', meaning: Meaning) -> UInt8[np.ndarray, 'h w 4']:
    """Convert pixels to RGBA with 8 bits; transparent pixels keep their stored colour.

    Args:
        image: of any mode but 'F'.
        meaning: of the pixel values. It is used only if they have 16 bits.
    """
    if not image.mode.startswith('I'):
        return np.asarray(image.convert('RGBA'))
    grey = eight_bits(image, dataclasses.replace(meaning, transparent=-1))
    alpha = np.where(np.asarray(image) == meaning.transparent, 0, 255)
    return np.stack([grey, grey, grey, alpha.astype(np.uint8)], axis=-1)


def is_grey(mode: str) -> bool:
    """Whether a mode is one of grey images; `I` and `I;16...` hold 16 bits."""
    return mode in ('1', 'L', 'LA', 'La', 'I') or mode.startswith('I;16')


def _meaning_of_tiff(opened: 'Image.Image') -> Meaning:
    tags = opened.tag_v2
    bits = tags.get(_BITS, (1,))
    if _SIGNED in tags.get(_SAMPLE_FORMAT, ()):
        raise Unreadable('its pixels are signed integers, whose range is not known')
    if opened.mode == 'I':
        raise Unreadable('its pixels are integers of 32 bits, whose range is not known')
    if tags.get(_PLANES) == _IN_SEPARATE_PLANES and bits[0] == 16:
        _correct_planes(opened)
    return Meaning(
        largest=2 ** bits[0] - 1,
        white_is_zero=tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO,
    )


def _correct_planes(opened: 'Image.Image') -> None:
    """Let Pillow read separate planes of 16 bits, which it takes for 8 bits.

    Planes that are compressed go to libtiff, which reads them right.
    """
    order = 'L' if opened.tag_v2.prefix == b'II' else 'B'
    tiles = []
    for tile in opened.tile:
        if tile.codec_name == 'raw':
            plane, *rest = tile.args
            if plane not in tuple('RGBA'):
                raise Unreadable(
                    'its colours of 16 bits are stored in separate planes, which Pillow '
                    'does not read; save it with interleaved channels'
                )
            tile = tile._replace(args=(f'{plane};16{order}', *rest))
        tiles.append(tile)
    opened.tile = tiles


def _meaning_of_png(opened: 'Image.Image') -> Meaning:
    """The meaning of grey with one transparent number, whose bits are those of the file."""
    number = opened.info['transparency']
    if opened.mode.startswith('I'):
        return Meaning(transparent=number)
    bits = {'1': 1, 'L;2': 2, 'L;4': 4}.get(_raw_mode(opened), 8)
    if opened.mode in ('1', 'L'):
        # Pillow scales pixels to 8 bits, but not this number.
        opened.info['transparency'] = number * 255 // (2**bits - 1)
    return USUAL


def _refuse_a_wide_transparent_color(opened: 'Image.Image') -> None:
    if 'transparency' in opened.info:
        raise Unreadable(
            'one of its colours of 16 bits is transparent, and Pillow keeps 8 bits; save '
            'it with an alpha channel'
        )


def _raw_mode(opened: 'Image.Image') -> str:
    """The layout of the pixels in the file."""
    if not opened.tile:
        return ''
    args = opened.tile[0].args
    if isinstance(args, str):
        return args
    return args[0]
