"""The meaning of pixels that Pillow's modes do not tell: their range, and what is transparent."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Num, UInt8, UInt16

from jaxvision.data.protocol import Unreadable
from jaxvision.image.contrast import Table

if TYPE_CHECKING:
    from PIL import Image

# Formats whose 16 bits Pillow scales to the range 0 to 65535, or reads as they are.
_WIDE_FORMATS = ('PNG', 'PPM', 'TIFF', 'JPEG2000')

# Tags of TIFF, and their values.
_BITS = 258
_PHOTOMETRIC = 262
_WHITE_IS_ZERO = 0
_SAMPLES = 277
_EXTRA_SAMPLES = 338
_ALPHAS = (1, 2)
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
        table: the new value of each of `levels_of`, 0 to 255; None: linear.
        unknown: why the range of the values is not known, in words; empty: it is known.
    """

    largest: int = 65535
    white_is_zero: bool = False
    transparent: int = -1
    table: Table | None = None
    unknown: str = ''


USUAL = Meaning()


def meaning(opened: 'Image.Image') -> Meaning:
    """Read from the header how pixel values map to brightness, before any pixel is decoded.

    Args:
        opened: as `PIL.Image.open` returns it. Its decoder settings are corrected where
            Pillow would misread the file.

    Returns:
        The range of the values, whether 0 is white, and the value that is transparent. For a
        TIFF the range may be unknown.

    Raises:
        Unreadable: The range of the pixels is not known, or Pillow cannot read their layout.
    """
    if opened.format == 'TIFF':
        return _meaning_of_tiff(opened)
    if opened.mode == 'F':
        raise Unreadable('its pixels are floats, whose range is not known')
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

    if is_wide(image.mode):
        numbers = np.clip(np.asarray(image), 0, meaning.largest)
        if meaning.table is not None:
            grey = meaning.table[levels_of(image, meaning)]
        else:
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
    if not is_wide(image.mode):
        return np.asarray(image.convert('RGBA'))
    grey = eight_bits(image, dataclasses.replace(meaning, transparent=-1))
    alpha = np.where(np.asarray(image) == meaning.transparent, 0, 255)
    return np.stack([grey, grey, grey, alpha.astype(np.uint8)], axis=-1)


def numbers_of(image: 'Image.Image') -> Num[np.ndarray, 'h w']:
    """The numbers of a TIFF whose range is unknown: floats, or integers of 32 bits."""
    numbers = np.asarray(image)
    is_unsigned = _SIGNED not in image.tag_v2.get(_SAMPLE_FORMAT, ())
    if image.mode == 'I' and is_unsigned:  # Pillow wraps them.
        return numbers.view(np.uint32)
    return numbers


def levels_of(image: 'Image.Image', meaning: Meaning) -> UInt16[np.ndarray, 'h w']:
    """The brightness of grey pixels of 16 bits: 0 is black, `meaning.largest` is white."""
    numbers = np.clip(np.asarray(image), 0, meaning.largest)
    if meaning.white_is_zero:
        numbers = meaning.largest - numbers
    return numbers.astype(np.uint16)


def is_wide(mode: str) -> bool:
    """Whether a mode is one of grey pixels of 16 bits, or of integers of 32 bits."""
    return mode == 'I' or mode.startswith('I;16')


def is_grey(mode: str) -> bool:
    """Whether a mode is one of grey images; `I` and `I;16...` hold 16 bits."""
    return mode in ('1', 'L', 'LA', 'La') or is_wide(mode)


def _meaning_of_tiff(opened: 'Image.Image') -> Meaning:
    tags = opened.tag_v2
    bits = tags.get(_BITS, (1,))
    unknown = ''
    if opened.mode == 'F':
        unknown = 'its pixels are floats, whose range is not known'
    elif _SIGNED in tags.get(_SAMPLE_FORMAT, ()):
        unknown = 'its pixels are signed integers, whose range is not known'
    elif opened.mode == 'I':
        unknown = 'its pixels are integers of 32 bits, whose range is not known'
    white_is_zero = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    if unknown and (white_is_zero or opened.mode not in ('F', 'I')):
        raise Unreadable(unknown)
    _check_channels(opened)
    if tags.get(_PLANES) == _IN_SEPARATE_PLANES and bits[0] == 16:
        _correct_planes(opened)
    return Meaning(
        largest=2 ** bits[0] - 1,
        white_is_zero=white_is_zero,
        unknown=unknown,
    )


def _check_channels(opened: 'Image.Image') -> None:
    """Check that Pillow reads all channels. It leaves out those that it does not know.

    Raises:
        Unreadable: There are more than the colours and one of transparency, or two of grey.
    """
    stored = opened.tag_v2.get(_SAMPLES, 1)
    shown = len(opened.getbands())
    extra = opened.tag_v2.get(_EXTRA_SAMPLES, ())
    has_alpha = bool(set(_ALPHAS) & set(extra))
    most = 4 if shown == 3 else shown
    if stored > most and not (has_alpha and stored == shown + 1):
        raise Unreadable(
            f'it has {stored} channels: expected 1 or 3. Save the channels that show the '
            'objects as an image in grey or RGB'
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
