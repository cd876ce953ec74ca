"""Volumes as slices of 8 bits: NIfTI files, and stacks of TIFF.

Slices of NIfTI are axial, from the feet to the head, and shown as radiologists do: the front of the
body is at the top, and its right side on the left. A converted volume is kept in the user's cache,
because a compressed file has to be read as a whole for each of its slices.
"""

import hashlib
import os
from pathlib import Path

import numpy as np
from jaxtyping import Num, UInt8, UInt16

from jaxvision.core.files import atomic_write, cache_folder
from jaxvision.data import scaling, tiff_files, volumes_nifti
from jaxvision.data.masks_reading import MOST_VALUE
from jaxvision.data.protocol import Unreadable
from jaxvision.data.volume_headers import Header

# The suffixes that only volumes have.
SUFFIXES = volumes_nifti.SUFFIXES
# Raise it whenever a file becomes other slices than before.
_VERSION = 1

Slices = UInt8[np.ndarray, 'd h w']
Labels = UInt16[np.ndarray, 'd h w']


def is_volume(path: Path) -> bool:
    """Whether a file has the suffix of NIfTI, or is a TIFF of several pages."""
    return volumes_nifti.is_nifti(path) or tiff_files.is_stack(path)


def read_header(path: Path) -> Header:
    """Read the size of a volume. No voxel is read.

    Raises:
        Unreadable: The file is damaged, or no volume in grey.
        UserError: The library that reads it is not installed.
    """
    if volumes_nifti.is_nifti(path):
        return volumes_nifti.read_header(path)
    return tiff_files.read_header(path)


def image(path: Path, content: str) -> Slices:
    """The slices of an image, with 0.5 % of the voxels black and 0.5 % white.

    Args:
        path: of the file.
        content: what identifies its content.

    Returns:
        uint8 [D, H, W], mapped from a file of the cache.

    Raises:
        Unreadable: The file is damaged, or has no finite voxel.
    """
    cache = _cache_file(path, content, 'image')
    known = _mapped(cache)
    if known is not None:
        return known
    return _kept(cache, scaling.by_percentiles(_voxels(path)))


def labels(path: Path, content: str) -> Labels:
    """The labels of a volume.

    Args:
        path: of the file.
        content: what identifies its content.

    Returns:
        uint16 [D, H, W], mapped from a file of the cache.

    Raises:
        Unreadable: The file is damaged, or its values are not whole numbers from 0 to 65535.
    """
    cache = _cache_file(path, content, 'labels')
    known = _mapped(cache)
    if known is not None:
        return known
    voxels = _voxels(path)
    whole = voxels
    if voxels.dtype.kind == 'f':
        whole = np.rint(np.nan_to_num(voxels, nan=-1))
    is_in_range = whole.min() >= 0 and int(whole.max()) <= MOST_VALUE
    if not is_in_range or (whole != voxels).any():
        raise Unreadable(f'expected whole numbers from 0 to {MOST_VALUE} as labels')
    return _kept(cache, whole.astype(np.uint16))


def _voxels(path: Path) -> Num[np.ndarray, 'd h w']:
    """The values of a volume, slice by slice."""
    if volumes_nifti.is_nifti(path):
        return volumes_nifti.read(path)
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
