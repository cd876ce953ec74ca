"""DICOM files of one image, by pydicom: values in their unit, windows, and geometry.

The windows are those of DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3.
"""

import contextlib
import dataclasses
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from jaxvision.core.errors import UserError
from jaxvision.core.types import Value
from jaxvision.data import files, scaling
from jaxvision.data.protocol import Unreadable
from jaxvision.data.windows import Window

SUFFIXES = ('.dcm', '.dicom', '.ima')
_PREAMBLE = 128  # bytes before the magic
_MAGIC = b'DICM'
_DEFLATED = '1.2.840.10008.1.2.1.99'
_MOST_PIXELS = 2**27
_LONGEST = 200  # characters of a reason of pydicom
_INVERTED = 'MONOCHROME1'
_GREY = (_INVERTED, 'MONOCHROME2')

# The value of each pixel in the unit of the file, such as Hounsfield units; NaN: padding.
Values = Float[np.ndarray, 'h w']
Pixels = UInt8[np.ndarray, 'h w c']


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file says of its image.

    Attributes:
        size: (height, width) in pixels.
        is_grey: whether the image is grey, not RGB.
        is_inverted: whether small values are bright, as in MONOCHROME1.
        series: the number of its series; '': it has none.
        spacing: (height, width) of a pixel in millimetres; None: unknown.
        position: x, y, z of the centre of the first pixel in millimetres, to the left, the
            back and the head; None: unknown.
        axes: the direction of a row and that of a column, three numbers each; None: unknown.
        window: the first one of the file; None: it has none.
    """

    size: tuple[int, int]
    is_grey: bool
    is_inverted: bool
    series: str
    spacing: tuple[float, float] | None
    position: tuple[float, float, float] | None
    axes: tuple[float, ...] | None
    window: Window | None


def has_suffix(path: Path) -> bool:
    """Whether a file has a usual suffix of DICOM."""
    return path.suffix.lower() in SUFFIXES


def is_dicom(path: Path | str) -> bool:
    """Whether a file begins as DICOM files do, whatever its name."""
    try:
        files.size(path)
        with open(path, 'rb') as file:
            return file.read(_PREAMBLE + len(_MAGIC))[_PREAMBLE:] == _MAGIC
    except (Unreadable, OSError):
        return False


def read_header(path: Path) -> Header:
    """Read what a file says of its image. No pixel is read.

    Raises:
        Unreadable: The file is damaged, or has no image, or more than one.
        UserError: pydicom is not installed.
    """
    with _opened(path, stop_before_pixels=True) as dataset:
        return _header_of(dataset)


def read(path: Path) -> Values:
    """Read the values of a grey image, in the unit of the file.

    Raises:
        Unreadable: The file is damaged, its compression is not readable, or it is not grey.
        UserError: pydicom is not installed.
    """
    with _opened(path) as dataset:
        header = _header_of(dataset)
        if not header.is_grey:
            raise Unreadable('its pixels are colours: expected grey')
        return _values(dataset)


def pixels(path: Path, window: Window | None = None) -> Pixels:
    """Read an image as 8 bits, as the file says that it is shown.

    Without any window, 0.5 % of the values are black and 0.5 % white. Pixels of the kind
    MONOCHROME1 are inverted. Padding is black.

    Args:
        path: of the file.
        window: of the values; None: the window of the file.

    Returns:
        uint8 [H, W, 1], or RGB [H, W, 3].

    Raises:
        Unreadable: The file is damaged, or its compression or its colours are not readable.
        UserError: pydicom is not installed.
    """
    with _opened(path) as dataset:
        header = _header_of(dataset)
        if not header.is_grey:
            return _colors(dataset)
        values = _values(dataset)
        is_padding = np.isnan(values)
        if window is None and dataset.get('VOILUTSequence'):
            shown = _by_table(dataset, values)
        elif window is None and header.window is None:
            shown = scaling.by_percentiles(values)
        else:
            shown = (window or header.window).apply(values)
        if header.is_inverted:
            shown = 255 - shown
        shown[is_padding] = 0
        return shown[..., None]


@contextlib.contextmanager
def _opened(path: Path, stop_before_pixels: bool = False) -> Iterator[Any]:
    """Open a file in a `with` block. Any error inside the block becomes `Unreadable`."""
    try:
        import pydicom
    except ImportError as error:
        raise UserError(
            f'{path}: DICOM files need pydicom, which is not installed. Install the extra '
            "`medical`: pip install -e '.[medical]' in a checkout of jaxvision."
        ) from error

    # Values that break the standard are common, and pydicom reports each.
    logging.getLogger('pydicom').setLevel(logging.CRITICAL)
    warnings.filterwarnings('ignore', module='pydicom')
    if files.size(path) > files.MOST_BYTES:
        raise Unreadable(
            f'more than {files.MOST_BYTES:,} bytes are too many for an image'
        )
    if not is_dicom(path):
        raise Unreadable('no DICOM file: it does not begin with the prefix DICM')
    try:
        meta = pydicom.filereader.read_file_meta_info(path)
        if meta.get('TransferSyntaxUID') == _DEFLATED:
            raise Unreadable('the whole file is deflated, which may be of any size')
        yield pydicom.dcmread(path, stop_before_pixels=stop_before_pixels)
    except Unreadable:
        raise
    except Exception as error:  # pydicom raises nearly anything at a damaged file.
        text = ' '.join(str(error).split()) or type(error).__name__
        raise Unreadable(text) from error


def _header_of(dataset: Any) -> Header:
    """What a dataset says of its image.

    Raises:
        Unreadable: It has no image, more than one, a huge one, or one of an unknown kind.
    """
    sides = [int(dataset.get(name) or 0) for name in ('Rows', 'Columns')]
    if min(sides) < 1:
        raise Unreadable('it holds no image')
    frames = int(dataset.get('NumberOfFrames') or 1)
    if frames != 1:
        raise Unreadable(
            f'it has {frames} frames: expected one image a file. Save each frame as a file'
        )
    if math.prod(sides) > _MOST_PIXELS:
        raise Unreadable(f'{sides[1]}x{sides[0]} pixels are more than {_MOST_PIXELS:,}')
    kind = str(dataset.get('PhotometricInterpretation', ''))
    if kind not in _GREY and kind != 'RGB' and not kind.startswith('YBR'):
        raise Unreadable(f'its pixels are {kind or "of no kind"}: expected grey or RGB')
    spacing = _numbers(dataset, 'PixelSpacing', 2)
    spacing = spacing or _numbers(dataset, 'ImagerPixelSpacing', 2)
    position = _numbers(dataset, 'ImagePositionPatient', 3)
    return Header(
        size=(sides[0], sides[1]),
        is_grey=kind in _GREY,
        is_inverted=kind == _INVERTED,
        series=str(dataset.get('SeriesInstanceUID', '')),
        spacing=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
        position=(position[0], position[1], position[2]) if position else None,
        axes=_numbers(dataset, 'ImageOrientationPatient', 6),
        window=_window_of(dataset),
    )


def _numbers(dataset: Any, name: str, length: int) -> tuple[float, ...] | None:
    """The finite numbers of an element; None if it is missing or of another form."""
    try:
        numbers = tuple(float(value) for value in dataset.get(name) or ())
    except (TypeError, ValueError):
        return None
    if len(numbers) != length or not all(map(math.isfinite, numbers)):
        return None
    return numbers


def _window_of(dataset: Any) -> Window | None:
    """The first window of a file; None if it has none, or one that shows nothing."""
    center = _first(dataset.get('WindowCenter'))
    width = _first(dataset.get('WindowWidth'))
    if center is None or width is None:
        return None
    function = str(dataset.get('VOILUTFunction', 'LINEAR')).upper()
    least = 1 if function == 'LINEAR' else 0
    if width < least or width == 0:
        return None
    return Window(center, width, function)


def _first(value: Value) -> float | None:
    """The first number of an element of one or several; None if there is none."""
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    try:
        number = float(value[0] if is_list else value)
    except (TypeError, ValueError, IndexError):
        return None
    return number if math.isfinite(number) else None


def _stored(dataset: Any, raw: bool) -> np.ndarray:
    """Decode the pixels of a file.

    Args:
        dataset: of the file.
        raw: whether colours stay as they are stored; False: they become RGB.

    Raises:
        Unreadable: The compression of the file cannot be decoded.
    """
    from pydicom import pixels as decoding

    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed:
        return decoding.pixel_array(dataset, raw=raw)
    try:
        return decoding.pixel_array(dataset, raw=raw)
    except Exception as error:  # pydicom names the plugins that failed, and why.
        reason = ' '.join(str(error).split())
        raise Unreadable(
            f'its pixels, compressed as {syntax.name}, cannot be decoded ({reason[:_LONGEST]}). '
            'Install pylibjpeg with pylibjpeg-libjpeg and pylibjpeg-openjpeg, or decompress it'
        ) from error


def _values(dataset: Any) -> Values:
    """The values of a grey image in its unit; NaN for padding."""
    from pydicom import pixels as decoding

    stored = _stored(dataset, raw=True)
    if dataset.get('ModalityLUTSequence'):
        values = decoding.apply_modality_lut(stored, dataset).astype(np.float64)
    else:
        slope = float(dataset.get('RescaleSlope') or 1)
        intercept = float(dataset.get('RescaleIntercept') or 0)
        values = stored * slope + intercept
    padding = dataset.get('PixelPaddingValue')
    if isinstance(padding, int):
        limit = dataset.get('PixelPaddingRangeLimit', padding)
        low, high = sorted((padding, int(limit)))
        values[(stored >= low) & (stored <= high)] = np.nan
    return values


def _by_table(dataset: Any, values: Values) -> UInt8[np.ndarray, 'h w']:
    """The values as a table of the file shows them."""
    from pydicom import pixels as decoding

    _, _, bits = dataset.VOILUTSequence[0].LUTDescriptor
    whole = np.nan_to_num(values).astype(np.int64)
    return scaling.between(decoding.apply_voi(whole, dataset), 0.0, 2.0**bits - 1)


def _colors(dataset: Any) -> Pixels:
    """RGB of 8 bits."""
    colors = _stored(dataset, raw=False)
    if colors.dtype != np.uint8 or colors.ndim != 3 or colors.shape[2] != 3:
        raise Unreadable(
            f'its colours are {colors.dtype} {colors.shape}: expected RGB of 8 bits'
        )
    return colors
