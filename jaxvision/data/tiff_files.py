"""TIFF files by tifffile: stacks of slices, and kinds of pixels that Pillow does not read.

A stack is a file whose pages are slices, times or images of one size. Pages that are channels of
one image, as ImageJ stores them, are refused.
"""

import contextlib
import io
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Num, UInt8

from jaxvision.core.errors import UserError
from jaxvision.data import files, scaling
from jaxvision.data.protocol import Unreadable
from jaxvision.data.volume_headers import MOST_VOXELS, Header

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

SUFFIXES = ('.tif', '.tiff')
_MAGIC = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
_MOST_BYTES = 2**32
_ORIENTATION = 274
_UPRIGHT = 1

# Voxels as they are stored: the slice, the row and the column of each.
Stack = Num[np.ndarray, 'd h w']


def is_tiff(data: bytes) -> bool:
    """Whether bytes begin as a TIFF does."""
    return data.startswith(_MAGIC)


def pixels(data: bytes) -> UInt8[np.ndarray, 'h w *c']:
    """Decode the first page of a TIFF, in grey or RGB.

    Values of 16 bits are scaled linearly, so that 65535 becomes 255. Floats, signed numbers and
    numbers of more bits are scaled by `scaling.by_percentiles`, all channels together.

    Args:
        data: the encoded image.

    Raises:
        Unreadable: The file is damaged or too large, or has another number of channels.
    """
    with _opened(data) as file:
        page = file.pages[0]
        _check_channels(page)
        _check_upright(page)
        _check_length(math.prod(page.shape), page.dtype)
        values = page.asarray(maxworkers=1)
        is_inverted = page.photometric.name == 'MINISWHITE'
        if values.ndim == 3 and page.axes[0] == 'S':
            values = np.moveaxis(values, 0, -1)
    if values.dtype == np.uint16:
        scaled = np.round(values / 257).astype(np.uint8)
    elif values.dtype == np.uint8:
        scaled = values
    else:
        _check_numbers(values.dtype)
        scaled = scaling.by_percentiles(values)
    return 255 - scaled if is_inverted else scaled


def size(encoded: Path | bytes) -> tuple[int, int] | None:
    """The (height, width) of the first page, from its tags; None if they cannot be read."""
    try:
        with _opened(encoded) as file:
            page = file.pages[0]
            return int(page.imagelength), int(page.imagewidth)
    except Unreadable:
        return None


def is_stack(path: Path) -> bool:
    """Whether a file is a TIFF of several pages in grey that belong together.

    It is False for a damaged file, for pages in colour, and for an image that is stored in several
    resolutions.
    """
    if not path.name.lower().endswith(SUFFIXES):
        return False
    try:
        with _opened(path) as file:
            series = file.series[0]
            sides = dict(zip(series.axes, series.shape, strict=True))
            return sides.get('S', 1) == 1 and len(_slices_of(series)) > 0
    except Unreadable:
        return False


def read_header(path: Path) -> Header:
    """Read the size of a stack. No voxel is read.

    Raises:
        Unreadable: The file is damaged, or its pages are no slices in grey.
    """
    with _opened(path) as file:
        series = file.series[0]
        shape = _checked_shape(series)
        _check_numbers(series.dtype)
        return Header(shape, None, bits=8 * series.dtype.itemsize)


def stack(path: Path) -> Stack:
    """Read the voxels of a stack.

    Raises:
        Unreadable: The file is damaged or too large, or its pages are no slices in grey.
    """
    with _opened(path) as file:
        series = file.series[0]
        shape = _checked_shape(series)
        _check_length(math.prod(shape), series.dtype)
        _check_numbers(series.dtype)
        return series.asarray(maxworkers=1).reshape(shape)


@contextlib.contextmanager
def _opened(encoded: Path | bytes) -> 'Iterator[TiffFile]':
    """Open a TIFF in a `with` block. Any error inside the block becomes `Unreadable`."""
    try:
        import tifffile
    except ImportError as error:
        raise UserError(
            'TIFF files of this kind need tifffile, which is not installed. Install the extra '
            "`medical`: pip install -e '.[medical]' in a checkout of jaxvision."
        ) from error

    # It reports what it skips in a damaged file.
    logging.getLogger('tifffile').setLevel(logging.CRITICAL)
    if isinstance(encoded, Path):
        files.size(encoded)
    source = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
    try:
        with tifffile.TiffFile(source) as file:
            yield file
    except Unreadable:
        raise
    except Exception as error:  # tifffile raises nearly anything at a damaged file.
        raise Unreadable(_reason(error)) from error


def _reason(error: Exception) -> str:
    """What an error of tifffile means, in one line."""
    text = ' '.join(str(error).split()) or type(error).__name__
    if 'imagecodecs' in text:
        return (
            f'{text}. Install it with `pip install imagecodecs`, or save the file without '
            'compression'
        )
    return text


def _slices_of(series: 'TiffPageSeries') -> str:
    """The axes of a series but those of an image: 'Z' of a stack, '' of an image."""
    axes = ''
    for axis, length in zip(series.axes, series.shape, strict=True):
        if axis not in 'YXS' and length > 1:
            axes += axis
    return axes


def _checked_shape(series: 'TiffPageSeries') -> tuple[int, int, int]:
    """The (slices, height, width) of a stack in grey.

    Raises:
        Unreadable: It has other axes.
    """
    sides = dict(zip(series.axes, series.shape, strict=True))
    if sides.get('C', 1) > 1:
        raise Unreadable(
            f'its pages are {sides["C"]} channels: expected slices in grey. Save the channel that '
            'shows the objects'
        )
    axes = _slices_of(series)
    if len(axes) != 1:
        shown = ', '.join(f'{axis}: {sides[axis]}' for axis in series.axes)
        raise Unreadable(f'expected slices along one axis, not the axes {shown}')
    return sides[axes], sides['Y'], sides['X']


def _check_channels(page: 'TiffPage') -> None:
    """Check that a page is in grey or RGB."""
    if page.samplesperpixel not in (1, 3):
        raise Unreadable(
            f'it has {page.samplesperpixel} channels: expected 1 or 3. Save the channels that '
            'show the objects as an image in grey or RGB'
        )
    if page.photometric.name not in ('MINISBLACK', 'MINISWHITE', 'RGB'):
        raise Unreadable(
            f'its colours are {page.photometric.name}: expected grey or RGB. Save it as PNG'
        )


def _check_upright(page: 'TiffPage') -> None:
    orientation = page.tags.valueof(_ORIENTATION, default=_UPRIGHT)
    if orientation != _UPRIGHT:
        raise Unreadable('it is stored on its side: expected an upright image')


def _check_length(number: int, dtype: np.dtype | None) -> None:
    """Check that values fit into memory before they are read."""
    item = 8 if dtype is None else dtype.itemsize
    if number > MOST_VOXELS or number * item > _MOST_BYTES:
        raise Unreadable(
            f'{number:,} values of {item} bytes are more than {MOST_VOXELS:,} values or '
            f'{_MOST_BYTES:,} bytes'
        )


def _check_numbers(dtype: np.dtype | None) -> None:
    if dtype is None or dtype.kind not in 'biuf':
        raise Unreadable(f'its pixels are {dtype}: expected numbers')
