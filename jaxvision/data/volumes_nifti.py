"""NIfTI volumes by nibabel, with the axes of the file in any order and direction."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.data import files, volume_grids
from jaxvision.data.protocol import Unreadable
from jaxvision.data.volume_grids import Grid, Slices
from jaxvision.data.volume_headers import MOST_VOXELS

SUFFIXES = ('.nii', '.nii.gz')
# Millimetres of the units that a file can name.
_UNITS = {'meter': 1000.0, 'mm': 1.0, 'micron': 0.001}


def is_nifti(path: Path) -> bool:
    """Whether a file has the suffix of a NIfTI volume."""
    return path.name.lower().endswith(SUFFIXES)


def grid_of(path: Path) -> Grid:
    """The grid of the voxels of a file. No voxel is read.

    Raises:
        Unreadable: The file is damaged, or has other than three dimensions.
        UserError: nibabel is not installed.
    """
    return _grid_of(_opened(path))


def read(path: Path) -> Slices:
    """Read the slices of a volume.

    Raises:
        Unreadable: The file is damaged, or has other than three dimensions.
        UserError: nibabel is not installed.
    """
    volume = _opened(path)
    try:
        values = np.asanyarray(volume.dataobj)
    except Exception as error:
        raise Unreadable(_reason(error)) from error
    if values.dtype.kind not in 'biuf':
        raise Unreadable(f'its voxels are {values.dtype}: expected numbers')
    return _grid_of(volume).to_slices(values)


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


def _grid_of(volume: Any) -> Grid:
    """The grid of a volume in millimetres."""
    unit = _UNITS.get(volume.header.get_xyzt_units()[0], 1.0)
    affine = np.array(volume.affine, np.float64)
    affine[:3] *= unit
    volume_grids.check_affine(affine)
    first, second, third = volume.shape
    return Grid((first, second, third), affine)


def _reason(error: Exception) -> str:
    text = ' '.join(str(error).split())
    return text or type(error).__name__
