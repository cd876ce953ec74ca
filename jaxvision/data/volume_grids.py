"""The grid of a volume's voxels: how they lie in the file, in the body, and in shown slices.

Axial slices go from the feet to the head, and are shown as radiologists do: the front of the body
is at the top, and its right side on the left. Other slices are those that were acquired.
"""

import dataclasses
from types import ModuleType

import numpy as np
from jaxtyping import Float, Num

from jaxvision.core.errors import UserError
from jaxvision.data.protocol import Unreadable
from jaxvision.data.volume_headers import Header

# Voxels as a file stores them, and as slices.
Stored = Num[np.ndarray, 'i j k']
Slices = Num[np.ndarray, 'd h w']

# The axes of an array that point to the right, the front and the head.
_FLAT = 1e-12  # the volume of a voxel that has none
_UPRIGHT = np.array([[0, 1], [1, 1], [2, 1]])


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """The voxels of a file and their places in the body.

    Attributes:
        shape: of the stored voxels.
        affine: maps the indices of a stored voxel to its centre in millimetres to the right, the
            front and the head.
        is_axial: whether slices are axial; False: a slice has the last index in common, a row
            the second one.
    """

    shape: tuple[int, int, int]
    affine: Float[np.ndarray, '4 4']
    is_axial: bool = True

    def header(self) -> Header:
        """The size and the spacing of the slices."""
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        order = [0, 1, 2]
        if self.is_axial:  # The stored axis that points along each axis of the body.
            order = self._orientation()[:, 0].argsort().tolist()
        width, height, depth = (self.shape[axis] for axis in order)
        x, y, z = (float(lengths[axis]) for axis in order)
        return Header((depth, height, width), (y, x), z)

    def to_slices(self, voxels: Stored) -> Slices:
        """Turn stored voxels into slices: a view of the same memory."""
        if not self.is_axial:
            return voxels.transpose(2, 1, 0)
        upright = _orientations().apply_orientation(voxels, self._orientation())
        return upright[::-1, ::-1].transpose(2, 1, 0)

    def from_slices(self, slices: Slices) -> Stored:
        """Turn slices into voxels as the file stores them: a view of the same memory."""
        if not self.is_axial:
            return slices.transpose(2, 1, 0)
        orientations = _orientations()
        back = orientations.ornt_transform(_UPRIGHT, self._orientation())
        upright = slices.transpose(2, 1, 0)[::-1, ::-1]
        return orientations.apply_orientation(upright, back)

    @property
    def axes(self) -> str:
        """The directions of the stored axes, such as 'LPS', and whether slices are axial."""
        letters = ''.join(_orientations().ornt2axcodes(self._orientation()))
        return f'{letters} axial' if self.is_axial else letters

    def like(self, other: 'Grid') -> 'Grid':
        """The grid of the same voxels, with the axes and the slices of another grid."""
        change = self._change(other)
        back = _orientations().inv_ornt_aff(change, self.shape)
        order = change[:, 0].argsort().tolist()
        first, second, third = (self.shape[axis] for axis in order)
        return Grid((first, second, third), self.affine @ back, other.is_axial)

    def voxels_like(self, voxels: Stored, other: 'Grid') -> Num[np.ndarray, '_ _ _']:
        """Turn stored voxels to the axes of another grid: a view of the same memory."""
        return _orientations().apply_orientation(voxels, self._change(other))

    def _change(self, other: 'Grid') -> Float[np.ndarray, '3 2']:
        """The axes of another grid, as those of this one."""
        start = self._orientation()
        return _orientations().ornt_transform(start, other._orientation())

    def distance(self, other: 'Grid') -> float:
        """How far the corners of two grids of the same slices lie apart, millimetres."""
        return float(np.abs(self._corners() - other._corners()).max())

    def _corners(self) -> Float[np.ndarray, '8 3']:
        """The centres of the voxels at the corners, in one order for all grids."""
        orientation = self._orientation()
        upright = self.affine @ _orientations().inv_ornt_aff(orientation, self.shape)
        order = orientation[:, 0].argsort()
        last = np.array(self.shape)[order] - 1
        places = np.stack(np.meshgrid(*([0, 1],) * 3, indexing='ij'), axis=-1)
        return places.reshape(-1, 3) * last @ upright[:3, :3].T + upright[:3, 3]

    def _orientation(self) -> Float[np.ndarray, '3 2']:
        return _orientations().io_orientation(self.affine)


def check_affine(affine: Float[np.ndarray, '4 4']) -> None:
    """Check that an affine map gives each axis a direction.

    Raises:
        Unreadable: It is not finite, or two axes lie along one line.
    """
    matrix = affine[:3, :3]
    if not np.isfinite(affine).all() or abs(np.linalg.det(matrix)) < _FLAT:
        raise Unreadable('its affine map is damaged: axes without a direction')


def _orientations() -> ModuleType:
    """nibabel's functions for the order and the direction of axes."""
    try:
        from nibabel import orientations
    except ImportError as error:
        raise UserError(
            'Volumes need nibabel, which is not installed. Install the extra `medical`: pip '
            "install -e '.[medical]' in a checkout of jaxvision."
        ) from error
    return orientations
