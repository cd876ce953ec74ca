"""JPEG with simplejpeg: the size without decoding, and fast decoding of only the pixels needed."""

import io
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

Pixels = UInt8[np.ndarray, 'h w c']

_EXIF_ORIENTATION = 0x0112
_APP1 = 0xE1  # the marker of a segment that may hold EXIF
_BASELINE = 0xC0  # the marker of a frame header
_EXTENDED_SEQUENTIAL = 0xC1  # the marker of a frame header
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = b'\xff\xd9'


def is_jpeg(data: bytes) -> bool:
    """Whether encoded data begin as a JPEG does."""
    return data[:2] == b'\xff\xd8'


def size(data: bytes) -> tuple[int, int] | None:
    """Upright (height, width) in pixels, from the header of an encoded image.

    It is None if the data are no JPEG, or one with a damaged header, or one that
    simplejpeg cannot decode to grey and RGB.
    """
    if not is_jpeg(data):
        return None
    import simplejpeg

    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    except (ValueError, KeyError):  # KeyError: an unusual chroma subsampling.
        return None
    if colorspace not in ('YCbCr', 'Gray', 'RGB'):
        return None
    if _orientation(data) >= 5:
        return width, height
    return height, width


def decode(
    data: bytes, channels: int, by: int = 1, bottom: int | None = None
) -> Pixels | None:
    """Decode a JPEG to upright pixels.

    Args:
        data: a JPEG of which the function `size` returned a size, not None.
        channels: 1 (luma) or 3 (RGB).
        by: reduces both sides 1, 2, 4 or 8 times, which is faster than decoding them whole.
            Sides are rounded up.
        bottom: how many rows from the top are needed, before the reduction; None: all.
            Rows below these may be missing in the result.

    Returns:
        The pixels, or None if the data are damaged or so unusual that simplejpeg fails.
    """
    import simplejpeg

    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    orientation = _orientation(data)
    needed = data
    if bottom is not None and orientation == 1:
        # One more row, because chroma is interpolated between it and the last row.
        needed, height = _ending_at(data, height, bottom + by)
    reduced_height = -(-height // by)
    reduced_width = -(-width // by)
    pixels = np.empty((reduced_height, reduced_width, channels), np.uint8)
    try:
        simplejpeg.decode_jpeg(
            needed,
            'GRAY' if channels == 1 else 'RGB',
            min_height=reduced_height,
            min_width=reduced_width,
            buffer=pixels,
        )
    except ValueError as error:
        # simplejpeg raises the first warning of libjpeg once all pixels are written. libjpeg
        # warns of rows that were cut off as extraneous bytes. Damage above them comes before.
        is_cut = needed is not data and 'extraneous bytes before marker' in str(error)
        if not is_cut:
            return None
    return _upright(pixels, orientation)


def _orientation(data: bytes) -> int:
    """The orientation in EXIF, 1 to 8. From 5 on, the image is stored lying on its side."""
    if not _has_exif(data):
        return 1
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as opened:
            orientation = opened.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # Damaged EXIF raises nearly anything. The image may be whole.
        return 1
    return orientation if orientation in range(1, 9) else 1


def _has_exif(data: bytes) -> bool:
    """Whether a segment is EXIF. To search all the data for the word takes far longer."""
    return any(
        marker == _APP1 and data.startswith(b'Exif\0\0', start + 2)
        for marker, start in _segments(data)
    )


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """(marker, start of the contents) of each segment before the pixels."""
    place = 2
    while data[place : place + 1] == b'\xff' and place + 3 < len(data):
        marker = data[place + 1]
        if marker == _START_OF_SCAN:
            return
        if marker == 0xFF:  # a fill byte before a marker
            place += 1
            continue
        yield marker, place + 2
        length = int.from_bytes(data[place + 2 : place + 4])
        place += 2 + length


def _ending_at(data: bytes, height: int, bottom: int) -> tuple[bytes, int]:
    """Let a JPEG end at a row, by changing the height in its frame header.

    Args:
        data: the JPEG.
        height: its height.
        bottom: the number of rows to keep.

    Returns:
        The changed data and `bottom`; or the data as they are and `height`, if the JPEG is
        truncated, progressive, or no higher than `bottom`.
    """
    if bottom >= height:
        return data, height
    for marker, start in _segments(data):
        # In a sequential JPEG, the rows below come after those above.
        is_sequential = marker in (_BASELINE, _EXTENDED_SEQUENTIAL)
        if is_sequential and data.rfind(_END_OF_IMAGE) > start:
            # The segment holds its length (2 bytes), the precision (1), and the height (2).
            before = data[: start + 3]
            after = data[start + 5 :]
            return before + bottom.to_bytes(2) + after, bottom
    return data, height


def _upright(pixels: Pixels, orientation: int) -> UInt8[np.ndarray, 'height width c']:
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
