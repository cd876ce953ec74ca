"""An image with what its pixels alone do not tell: transparency, and what its colours mean."""

import dataclasses
import io
import struct
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from jaxvision.data import decode, jpeg, pillow_modes, resizing

if TYPE_CHECKING:
    from PIL import Image

Alpha = UInt8[np.ndarray, 'h w']

# Colour spaces as the header of an ICC profile names them, and Pillow's mode of such pixels.
_MODES = {b'RGB ': 'RGB', b'GRAY': 'L', b'CMYK': 'CMYK', b'Lab ': 'LAB'}
_REACH = 8  # pixels from an invisible pixel to visible ones whose colour it takes
_ROWS = 256  # at once

CONVERTED = 'converted to sRGB'
LEFT_OUT = 'its colour profile is damaged or of another kind, and was left out'


@dataclasses.dataclass(frozen=True)
class Layers:
    """An image whose transparency is apart from its colours.

    Attributes:
        pixels: upright, uint8 [h, w, 3], not laid over white. They have the file's
            colours, unless `note` tells of a conversion.
        alpha: uint8 [h, w], 255 where opaque; None where every pixel is.
        color: the chunks of a PNG that tell what the numbers in `pixels` mean, by name.
        note: what was done with the colours, for the user; empty: nothing.
    """

    pixels: UInt8[np.ndarray, 'h w 3']
    alpha: Alpha | None
    color: Mapping[bytes, bytes]
    note: str = ''


def read(data: bytes, channels: int) -> Layers:
    """Decode an image and keep its transparency and colour profile.

    Args:
        data: the encoded image.
        channels: 1 (grey) or 3 (RGB), of the PNG that will hold the profile. Colours
            whose profile does not fit such a PNG are converted to sRGB, or else lose
            it: `note` says which. The pixels are RGB anyway.

    Raises:
        Unreadable: The image is damaged, in no known format, or too large.
    """
    info = _jpeg_info(data)
    if info is not None and _fits(info.get('icc_profile'), info['mode'], channels):
        return Layers(decode.decode(data, 3), None, _color_chunks(info, 'JPEG'))
    with decode.opened(data) as (image, meaning):
        color = _color_chunks(image.info, image.format)
        profile = image.info.get('icc_profile')
        rgb = None
        note = ''
        if not _fits(profile, image.mode, channels):
            color = {}
            rgb = _in_srgb(image, meaning, profile)
            note = CONVERTED
            if rgb is None:
                note = LEFT_OUT
        alpha = None
        if image.has_transparency_data or meaning.transparent >= 0:
            rgba = decode.converted(image, 4, meaning)
            alpha = rgba[..., 3].copy()
            if rgb is None:
                rgb = rgba[..., :3].copy()
    if rgb is None:
        rgb = decode.decode(data, 3)
    if alpha is not None and (alpha == 255).all():
        alpha = None
    return Layers(rgb, alpha, color, note)


def without_invisible(
    pixels: UInt8[np.ndarray, 'h w c'], alpha: Alpha
) -> UInt8[np.ndarray, 'h w c']:
    """Give invisible pixels the mean colour of the visible ones near them.

    Files store any colour there. It would bleed into the visible edge when the image is
    resized or filtered.

    Args:
        pixels: the colours.
        alpha: 0 where they are invisible.

    Returns:
        `pixels` itself if all are visible, else a copy. An invisible pixel keeps its
        colour if none is visible in the 17x17 pixels around it.
    """
    import cv2

    if alpha.all():
        return pixels
    filled = pixels.copy()
    side = 2 * _REACH + 1
    for top in range(0, len(pixels), _ROWS):
        first = max(0, top - _REACH)
        last = min(len(pixels), top + _ROWS + _REACH)
        colors = pixels[first:last]
        is_visible = alpha[first:last] > 0
        seen = is_visible.astype(np.float32)
        weights = cv2.blur(seen, (side, side))[..., None]
        sums = cv2.blur(colors * seen[..., None], (side, side))
        means = sums.reshape(colors.shape) / np.maximum(weights, 1e-6)
        mean_colors = np.rint(means).astype(np.uint8)
        # A sum of one visible pixel is 1 / side^2; less is a rounding error.
        has_weight = weights > 0.5 / side**2
        is_near = ~is_visible[..., None] & has_weight
        strip = np.where(is_near, mean_colors, colors)
        start = top - first
        filled[top : top + _ROWS] = strip[start : start + _ROWS]
    return filled


def enlarged_rows(
    alpha: Alpha, scale: int, top: int, bottom: int
) -> UInt8[np.ndarray, 'n w2']:
    """Some rows of an alpha channel that is enlarged bilinearly.

    Args:
        alpha: the channel.
        scale: the factor of both sides.
        top: the first row to return, in the enlarged channel.
        bottom: the row after the last one to return.

    Returns:
        [bottom - top, scale * width].
    """
    if scale == 1:
        return alpha[top:bottom]
    # One more row on each side is interpolated with.
    first = max(0, top // scale - 1)
    last = min(len(alpha), -(-bottom // scale) + 1)
    strip = alpha[first:last, :, None]
    large = resizing.resize(strip, scale * len(strip), scale * alpha.shape[1])
    start = scale * first
    return large[top - start : bottom - start, :, 0]


def _jpeg_info(data: bytes) -> dict[str, Any] | None:
    """The `info` of a JPEG's header, and its mode; None for other images.

    To open a JPEG upright would decode it a second time.
    """
    from PIL import Image

    if jpeg.size(data) is None:
        return None
    try:
        with Image.open(io.BytesIO(data)) as image:
            return {**image.info, 'mode': image.mode}
    except Exception:  # Pillow raises nearly anything at a damaged file.
        return None


def _fits(profile: bytes | None, mode: str, channels: int) -> bool:
    """Whether a PNG of so many channels can hold the profile of an image of a mode."""
    if not profile:
        return True
    described = _described(profile, mode)
    return described == ('L' if channels == 1 else 'RGB')


def _described(profile: bytes, mode: str) -> str:
    """The mode of the colours that a profile describes; empty if it is none of an image's."""
    described = _MODES.get(profile[16:20], '')
    has_other_form = 'CMYK' in (described, mode) or 'LAB' in (described, mode)
    if has_other_form and described != mode:
        return ''
    if described == 'L' and not pillow_modes.is_grey(mode):
        return ''
    return described


def _in_srgb(
    image: 'Image.Image', meaning: pillow_modes.Meaning, profile: bytes
) -> UInt8[np.ndarray, 'h w 3'] | None:
    """Convert an image to sRGB, without its alpha.

    Args:
        image: upright.
        meaning: of its numbers.
        profile: an ICC profile.

    Returns:
        The pixels; None if the profile is not one of such an image.
    """
    from PIL import Image, ImageCms

    mode = _described(profile, image.mode)
    if not mode:
        return None
    if image.mode.startswith('I'):
        image = Image.fromarray(pillow_modes.eight_bits(image, meaning))
    try:
        converted = ImageCms.profileToProfile(
            image.convert(mode),
            io.BytesIO(profile),
            ImageCms.createProfile('sRGB'),
            outputMode='RGB',
            # Its tables for speed are wrong by ten levels in the shadows.
            flags=ImageCms.Flags.NOOPTIMIZE,
        )
    except (ImageCms.PyCMSError, OSError):
        return None
    return np.asarray(converted)


def _color_chunks(info: Mapping, image_format: str | None) -> dict[bytes, bytes]:
    """The chunks of a PNG that say the same of its colours as a file does."""
    if info.get('icc_profile'):
        return {b'iCCP': b'ICC profile\0\0' + zlib.compress(info['icc_profile'])}
    chunks = {}
    if image_format != 'PNG':
        return chunks
    if 'srgb' in info:
        chunks[b'sRGB'] = struct.pack('>B', info['srgb'])
    if 'gamma' in info:
        chunks[b'gAMA'] = struct.pack('>I', round(100_000 * info['gamma']))
    if 'chromaticity' in info:
        points = [round(100_000 * number) for number in info['chromaticity']]
        chunks[b'cHRM'] = struct.pack('>8I', *points)
    return chunks
