"""NIfTI volumes by nibabel, with the axes of the file in any order and direction."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num

from jaxvision.core.errors import UserError
from jaxvision.data import files
from jaxvision.data.protocol import Unreadable
from jaxvision.data.volume_headers import MOST_VOXELS, Header

SUFFIXES = ('.nii', '.nii.gz')
# Millimetres of the units that a file can name.
_UNITS = {'meter': 1000.0, 'mm': 1.0, 'micron': 0.001}

# Slices from the feet to the head, the front of the body at the top, its right side on the left.
Slices = Num[np.ndarray, 'd h w']


def is_nifti(path: Path) -> bool:
    """Whether a file has the suffix of a NIfTI volume."""
    return path.name.lower().endswith(SUFFIXES)


def read_header(path: Path) -> Header:
    """Read the size of a volume. No voxel is read.

    Raises:
        Unreadable: The file is damaged, or has other than three dimensions.
        UserError: nibabel is not installed.
    """
    return _header_of(_canonical(_opened(path)))


def read(path: Path) -> Slices:
    """Read the slices of a volume.

    Raises:
        Unreadable: The file is damaged, or has other than three dimensions.
        UserError: nibabel is not installed.
    """
    volume = _canonical(_opened(path))
    try:
        values = np.asanyarray(volume.dataobj)
    except Exception as error:
        raise Unreadable(_reason(error)) from error
    if values.dtype.kind not in 'biuf':
        raise Unreadable(f'its voxels are {values.dtype}: expected numbers')
    return values[::-1, ::-1].transpose(2, 1, 0)


def _opened(path: Path) -> Any:
    """A volume of three dimensions as nibabel opens it."""
    try:
        import nibabel
    except ImportError as error:
        raise UserError(
            f'{path}: NIfTI files need nibabel, which is not installed. Install the extra '
            "`medical`: pip install -e '.[medical]' in a checkout of jaxvision."
        ) from error

    files.size(path)
    try:
        volume: Any = nibabel.load(path)
        if len(volume.shape) == 4 and volume.shape[3] == 1:
            volume = volume.slicer[..., 0]
        if len(volume.shape) != 3 or 0 in volume.shape:
            raise Unreadable(f'expected three dimensions, not the shape {volume.shape}')
        if math.prod(volume.shape) > MOST_VOXELS:
            raise Unreadable(f'{volume.shape} voxels are more than {MOST_VOXELS:,}')
        return volume
    except Exception as error:  # nibabel raises nearly anything at a damaged file.
        raise Unreadable(_reason(error)) from error


def _canonical(volume: Any) -> Any:
    """A volume with its first axis to the right, the second to the front, the third upwards."""
    import nibabel

    try:
        return nibabel.as_closest_canonical(volume)
    except Exception as error:
        raise Unreadable(_reason(error)) from error


def _header_of(canonical: Any) -> Header:
    width, height, slices = canonical.shape[:3]
    unit = _UNITS.get(canonical.header.get_xyzt_units()[0], 1.0)
    x, y, z = (unit * float(side) for side in canonical.header.get_zooms()[:3])
    return Header((slices, height, width), (y, x), z)


def _reason(error: Exception) -> str:
    text = ' '.join(str(error).split())
    return text or type(error).__name__
