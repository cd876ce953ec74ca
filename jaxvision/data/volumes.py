"""Volumes as slices of 8 bits: NIfTI files, folders of DICOM files, and stacks of TIFF.

A converted volume is kept in the user's cache, because a compressed file has to be read as a whole
for each of its slices.
"""

import hashlib
import os
from pathlib import Path

import numpy as np
from jaxtyping import Num, UInt8, UInt16

from jaxvision.core.files import atomic_write, cache_folder
from jaxvision.data import dicom_series, scaling, tiff_files, volumes_nifti
from jaxvision.data.masks_reading import MOST_VALUE
from jaxvision.data.protocol import Unreadable
from jaxvision.data.volume_grids import Grid
from jaxvision.data.volume_headers import Header
from jaxvision.data.windows import Window

# The suffixes that only volumes have.
SUFFIXES = volumes_nifti.SUFFIXES
# Raise it whenever a file becomes other slices than before.
_VERSION = 1

Slices = UInt8[np.ndarray, 'd h w']
Labels = UInt16[np.ndarray, 'd h w']


def is_volume(path: Path) -> bool:
    """Whether a path has the suffix of NIfTI, or is a folder or a TIFF of several pages."""
    return volumes_nifti.is_nifti(path) or path.is_dir() or tiff_files.is_stack(path)


def read_header(path: Path, like: Grid | None = None) -> Header:
    """Read the size of a volume. No voxel is read.

    Args:
        path: of the file, or of the folder of a series.
        like: a grid whose slices are meant; None: those of the volume.

    Raises:
        Unreadable: The file is damaged, or no volume in grey.
        UserError: The library that reads it is not installed.
    """
    grid = grid_of(path)
    if grid is None:
        return tiff_files.read_header(path)
    return (grid.like(like) if like else grid).header()


def grid_of(path: Path) -> Grid | None:
    """The grid of a volume in the body; None of a stack, whose slices have no place.

    Raises:
        Unreadable: The file is damaged, or no volume.
        UserError: The library that reads it is not installed.
    """
    if volumes_nifti.is_nifti(path):
        return volumes_nifti.grid_of(path)
    if path.is_dir():
        return dicom_series.read(dicom_series.files_of(path)).grid
    return None


def image(path: Path, content: str, window: Window | None = None) -> Slices:
    """The slices of an image.

    Args:
        path: of the file, or of the folder of a series.
        content: what identifies its content.
        window: of the values; None: that of all files of a series, or else 0.5 % of the voxels
            are black and 0.5 % white.

    Returns:
        uint8 [D, H, W], mapped from a file of the cache.

    Raises:
        Unreadable: The file is damaged, or has no finite voxel.
    """
    cache = _cache_file(path, content, f'image {window}' if window else 'image')
    known = _mapped(cache)
    if known is not None:
        return known
    return _kept(cache, converted(path, window))


def converted(path: Path, window: Window | None = None) -> Slices:
    """The slices of an image, which are not kept in the cache.

    Args:
        path: as for `image`.
        window: as for `image`.

    Raises:
        Unreadable: The file is damaged, or has no finite voxel.
    """
    if path.is_dir():
        return of_series(dicom_series.read(dicom_series.files_of(path)), window)
    voxels = _voxels(path)
    return window.apply(voxels) if window else scaling.by_percentiles(voxels)


def of_series(series: dicom_series.Series, window: Window | None = None) -> Slices:
    """The slices of a series of DICOM files.

    Args:
        series: the files in their order.
        window: as for `image`.

    Raises:
        Unreadable: A file is damaged, or its compression cannot be decoded.
    """
    window = window or series.window
    voxels = series.grid.to_slices(series.voxels())
    shown = window.apply(voxels) if window else scaling.by_percentiles(voxels)
    if series.headers[0].is_inverted:
        shown = np.where(np.isnan(voxels), 0, 255 - shown)
    return shown


def labels(path: Path, content: str, like: Grid | None = None) -> Labels:
    """The labels of a volume.

    Args:
        path: of the file.
        content: what identifies its content.
        like: the grid of the image, whose slices are meant; None: those of the volume.

    Returns:
        uint16 [D, H, W], mapped from a file of the cache.

    Raises:
        Unreadable: The file is damaged, or its values are not whole numbers from 0 to 65535.
    """
    axes = like.axes if like else ''
    cache = _cache_file(path, content, f'labels {axes}' if axes else 'labels')
    known = _mapped(cache)
    if known is not None:
        return known
    voxels = _voxels(path, like)
    whole = voxels
    if voxels.dtype.kind == 'f':
        whole = np.rint(np.nan_to_num(voxels, nan=-1))
    is_in_range = whole.min() >= 0 and int(whole.max()) <= MOST_VALUE
    if not is_in_range or (whole != voxels).any():
        raise Unreadable(f'expected whole numbers from 0 to {MOST_VALUE} as labels')
    return _kept(cache, whole.astype(np.uint16))


def _voxels(path: Path, like: Grid | None = None) -> Num[np.ndarray, 'd h w']:
    """The values of a volume, slice by slice."""
    if volumes_nifti.is_nifti(path):
        return volumes_nifti.read(path, like)
    return tiff_files.stack(path)


def _cache_file(path: Path, content: str, kind: str) -> Path:
    """Where the converted volume is kept."""
    identity = repr((_VERSION, os.path.abspath(path), content, kind))
    name = hashlib.sha256(identity.encode(errors='replace')).hexdigest()[:32]
    return cache_folder('volumes') / f'{name}.npy'


def _mapped(cache: Path) -> np.ndarray | None:
    """The array of a file of the cache; None if the file is missing or damaged."""
    try:
        return np.load(cache, mmap_mode='r')
    except (OSError, ValueError, EOFError):
        return None


def _kept(cache: Path, voxels: np.ndarray) -> np.ndarray:
    """Write an array into the cache, and return it as a map of that file."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(cache, 'wb', durable=False) as file:
            np.save(file, voxels)
        return np.load(cache, mmap_mode='r')
    except OSError:
        # The cache cannot be written: each slice then costs the whole volume.
        return voxels
