"""What the headers of image files tell, without decoding any pixel."""

import dataclasses
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from jaxvision.data import dicom_files, pillow_modes, tiff_files
from jaxvision.data.protocol import Unreadable

if TYPE_CHECKING:
    from PIL import Image

_THREADS = 4
_EXIF_ORIENTATION = 0x0112
_AT_ONCE = 256  # files; the first colour ends the search


@dataclasses.dataclass(frozen=True)
class Size:
    """The size of an image and how EXIF turns it.

    Attributes:
        height: of the upright image, as `decode` gives it.
        width: of the upright image.
        orientation: that of EXIF, 1 to 8. From 5 on, the image is stored lying on its side.
        is_wide: whether the image is grey of 16 bits.
    """

    height: int
    width: int
    orientation: int = 1
    is_wide: bool = False

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) of the upright image."""
        return self.height, self.width

    @property
    def stored(self) -> tuple[int, int]:
        """(height, width) of the pixels in the file, before EXIF turns them."""
        if self.orientation >= 5:
            return self.width, self.height
        return self.height, self.width


def sizes(paths: Sequence[Path]) -> list[Size | None]:
    """The size of each image, from its header; None where the header cannot be read.

    Args:
        paths: of the images.

    Returns:
        One entry for each path, in their order.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(size_of, paths))


def size_of(encoded: Path | bytes) -> Size | None:
    """The size of one image, from its header; None if the header cannot be read.

    Args:
        encoded: the path of the image, or its bytes.
    """
    from PIL import Image

    file = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
    try:
        with Image.open(file) as image:
            width, height = image.size
            # Pillow gives the upright size of a TIFF, and that of the file for other formats.
            is_upright = image.format == 'TIFF'
            orientation = _orientation(image)
            is_wide = image.mode.startswith('I;16')
    # Pillow raises nearly anything at a damaged file. The pipeline names it later.
    except Exception:
        return _size_of_other(encoded)
    if orientation >= 5 and not is_upright:
        width, height = height, width
    return Size(height, width, orientation, is_wide)


def _size_of_other(encoded: Path | bytes) -> Size | None:
    """The size of a TIFF or a DICOM file that Pillow does not read; None of another file."""
    if isinstance(encoded, Path) and dicom_files.is_dicom(encoded):
        return _size_of_dicom(encoded)
    try:
        if isinstance(encoded, bytes):
            head = encoded[:4]
        else:
            with encoded.open('rb') as file:
                head = file.read(4)
    except OSError:
        return None
    size = tiff_files.size(encoded) if tiff_files.is_tiff(head) else None
    return size and Size(*size)


def _size_of_dicom(path: Path) -> Size | None:
    try:
        return Size(*dicom_files.read_header(path).size)
    except Unreadable:
        return None


def common_shape(
    sizes: Sequence[Size | None],
) -> tuple[int | None, int | None, int]:
    """(height, width, 3) of RGB images; None stands for a side in which they differ.

    Args:
        sizes: of the images; None: the header cannot be read.
    """
    heights = {size and size.height for size in sizes}
    widths = {size and size.width for size in sizes}
    return _only(heights), _only(widths), 3


def _only(sides: set[int | None]) -> int | None:
    """The only side of a set, None if there are several."""
    if len(sides) == 1:
        return next(iter(sides))
    return None


def _orientation(image: 'Image.Image') -> int:
    """The orientation in EXIF; 1 if it is none of 1 to 8, or damaged."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # Damaged EXIF raises nearly anything. The image may be whole.
        return 1
    return orientation if orientation in range(1, 9) else 1


def channels(paths: Sequence[Path]) -> int:
    """Decide whether a dataset is grey, from the header of every file.

    20,000 grey files take about a second. A dataset with colours takes less, because the
    first file with colours decides.

    Args:
        paths: of the images. A file that cannot be read counts for nothing.

    Returns:
        1 if every image that can be read is stored as grey, with or without alpha,
        else 3. It is 3 if none can be read. Grey pixels stored as RGB are colours.
    """
    any_is_grey = False
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(paths), _AT_ONCE):
            for is_grey in pool.map(_is_grey, paths[start : start + _AT_ONCE]):
                if is_grey is False:
                    return 3
                any_is_grey = any_is_grey or bool(is_grey)
    if any_is_grey:
        return 1
    return 3


def _is_grey(path: Path) -> bool | None:
    """Whether an image is grey; None if its header cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return pillow_modes.is_grey(image.mode)
    # Pillow raises nearly anything at a damaged file. The pipeline names it later.
    except Exception:
        return None
