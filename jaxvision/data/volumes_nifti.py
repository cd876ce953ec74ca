"""NIfTI volumes by nibabel, with the axes of the file in any order and direction."""

import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from jaxvision.core.errors import UserError
from jaxvision.core.files import atomic_write
from jaxvision.data import files, volume_grids
from jaxvision.data.protocol import Unreadable
from jaxvision.data.volume_grids import Grid, Slices
from jaxvision.data.volume_headers import MOST_VOXELS

SUFFIXES = ('.nii', '.nii.gz')
Labels = Shaped[np.ndarray, 'd h w']
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


def read(path: Path, like: Grid | None = None) -> Slices:
    """Read the slices of a volume.

    Args:
        path: of the file.
        like: a grid whose slices are meant; None: axial slices.

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
    grid = _grid_of(volume)
    if like is None:
        return grid.to_slices(values)
    return like.to_slices(grid.voxels_like(values, like))


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


def write_labels(
    path: Path, slices: Labels, grid: Grid, original: Path | None = None
) -> None:
    """Write labels as a compressed NIfTI file on the grid of a volume.

    Args:
        path: of the file, NAME.nii.gz.
        slices: the labels, unsigned integers.
        grid: of the volume, whose slices these are.
        original: the NIfTI file of the volume. The labels get its shape, its affine map and its
            unit. None: they are in millimetres.
    """
    import nibabel

    voxels = np.ascontiguousarray(grid.from_slices(slices))
    if original is None:
        image: Any = nibabel.Nifti1Image(voxels, grid.affine)
        image.header.set_xyzt_units('mm')
    else:
        source: Any = nibabel.load(original)
        header = nibabel.Nifti1Header.from_header(source.header)
        header.set_data_dtype(voxels.dtype)
        # The range that viewers show is that of the image.
        header['cal_min'] = header['cal_max'] = 0
        voxels = voxels.reshape(source.shape)
        image = nibabel.Nifti1Image(voxels, source.affine, header)
    image.header.set_slope_inter(1, 0)
    with atomic_write(path, 'wb', durable=False) as file:
        file.write(gzip.compress(image.to_bytes(), mtime=0))
