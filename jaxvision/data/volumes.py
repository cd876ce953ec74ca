"""Volumes of medical images in NIfTI files, as slices of 8 bits.

Slices are axial, from the feet to the head, and shown as radiologists do: the front of the body is
at the top, and its right side on the left. A converted volume is kept in the user's cache, because
a compressed file has to be read as a whole for each of its slices.
"""

import dataclasses
import hashlib
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8, UInt16

from jaxvision.core.errors import UserError
from jaxvision.core.files import atomic_write, cache_folder
from jaxvision.data import files, scaling
from jaxvision.data.masks_reading import MOST_VALUE
from jaxvision.data.protocol import Unreadable

SUFFIXES = ('.nii', '.nii.gz')
# The window of an image: percentiles of its voxels that become black and white.
_MOST_VOXELS = 2**30
# Raise it whenever a file becomes other slices than before.
_VERSION = 1

Slices = UInt8[np.ndarray, 'd h w']
Labels = UInt16[np.ndarray, 'd h w']


@dataclasses.dataclass(frozen=True)
class Header:
    """The size of a volume.

    Attributes:
        shape: (slices, height, width).
        spacing: (height, width) of a pixel, in millimetres unless the file says another unit.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float]


def is_volume(path: Path) -> bool:
    """Whether a file has the suffix of a volume."""
    return path.name.lower().endswith(SUFFIXES)


def read_header(path: Path) -> Header:
    """Read the size of a volume. No voxel is read.

    Raises:
        Unreadable: The file is damaged, or has other than three dimensions.
        UserError: nibabel is not installed.
    """
    volume = _opened(path)
    width, height, slices = volume.shape[:3]
    x, y = (float(side) for side in volume.header.get_zooms()[:2])
    return Header((slices, height, width), (y, x))


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


def _opened(path: Path) -> Any:
    """A volume with its first axis to the right, the second to the front, the third upwards."""
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
        if math.prod(volume.shape) > _MOST_VOXELS:
            raise Unreadable(f'{volume.shape} voxels are more than {_MOST_VOXELS:,}')
        return nibabel.as_closest_canonical(volume)
    except Exception as error:  # nibabel raises nearly anything at a damaged file.
        text = ' '.join(str(error).split())
        raise Unreadable(text or type(error).__name__) from error


def _voxels(path: Path) -> np.ndarray:
    """The values of a volume [D, H, W]: upwards, to the back, and to the left of the body."""
    volume = _opened(path)
    try:
        values = np.asanyarray(volume.dataobj)
    except Exception as error:
        text = ' '.join(str(error).split())
        raise Unreadable(text or type(error).__name__) from error
    if values.dtype.kind not in 'biuf':
        raise Unreadable(f'its voxels are {values.dtype}: expected numbers')
    return values[::-1, ::-1].transpose(2, 1, 0)


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
