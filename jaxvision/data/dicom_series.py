"""Series of DICOM files as volumes: slices in their order, on one grid, with its affine map."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxvision.data import dicom_files, walk
from jaxvision.data.dicom_files import Header
from jaxvision.data.protocol import Unreadable
from jaxvision.data.volume_grids import Grid
from jaxvision.data.volume_headers import MOST_VOXELS
from jaxvision.data.windows import Window

# Two distances of slices are equal up to this fraction.
_TOLERANCE = 0.01
# Two directions are equal up to this difference of their cosines.
_SAME_DIRECTION = 1e-3

Vector = Float[np.ndarray, '3']
# Of a file's voxels in their unit: the column, the row and the slice of each.
Voxels = Float[np.ndarray, 'w h d']
Affine = Float[np.ndarray, '4 4']


@dataclasses.dataclass(frozen=True)
class Series:
    """The slices of a series, sorted along the normal of their plane.

    Attributes:
        paths: of the files, in the order of the slices.
        headers: of the files.
        affine: maps (column, row, slice) to millimetres to the right, the front and the head, as
            NIfTI does.
    """

    paths: tuple[Path, ...]
    headers: tuple[Header, ...]
    affine: Affine

    @property
    def shape(self) -> tuple[int, int, int]:
        """(columns, rows, slices)."""
        height, width = self.headers[0].size
        return width, height, len(self.paths)

    @property
    def grid(self) -> Grid:
        """The grid of the voxels, whose slices are the files."""
        return Grid(self.shape, self.affine, is_axial=False)

    @property
    def window(self) -> Window | None:
        """The window that all files have; None if they have none, or several."""
        windows = {header.window for header in self.headers}
        return windows.pop() if len(windows) == 1 else None

    def voxels(self) -> Voxels:
        """Read the values of all slices; NaN is padding.

        Raises:
            Unreadable: A file is damaged, or its compression cannot be decoded.
        """
        voxels = np.empty(self.shape, np.float32)
        for number, path in enumerate(self.paths):
            try:
                voxels[..., number] = dicom_files.read(path).T
            except Unreadable as error:
                raise Unreadable(f'{path.name}: {error}') from error
        return voxels


def files_of(folder: Path) -> list[Path]:
    """The DICOM files of a folder, by their suffix, not those of folders in it."""
    names = walk.contents_of(folder).names
    return [folder / name for name in names if dicom_files.has_suffix(Path(name))]


def read(paths: Sequence[Path]) -> Series:
    """Sort the files of one series. No pixel is read.

    Args:
        paths: of the files, in any order.

    Raises:
        Unreadable: A file is damaged, the files are of several series, or they are not slices of
            one grid at equal distances.
        UserError: pydicom is not installed.
    """
    if not paths:
        raise Unreadable('a folder without DICOM files')
    headers = []
    for path in paths:
        try:
            headers.append(dicom_files.read_header(path))
        except Unreadable as error:
            raise Unreadable(f'{path.name}: {error}') from error
    _check_alike(headers)
    rows, columns, normal = _directions(headers[0])
    positions = np.array([_position(header) for header in headers])
    distances = positions @ normal
    order = np.argsort(distances, kind='stable').tolist()
    step = _step(positions[order], distances[order], normal)
    height, width = headers[0].spacing or (1.0, 1.0)
    affine = np.eye(4)
    affine[:3, 0] = rows * width
    affine[:3, 1] = columns * height
    affine[:3, 2] = step
    affine[:3, 3] = positions[order[0]]
    # DICOM counts to the left and to the back.
    affine[:2] *= -1
    return Series(
        tuple(paths[row] for row in order), tuple(headers[row] for row in order), affine
    )


def _check_alike(headers: Sequence[Header]) -> None:
    """Check that files are grey slices of one series, size and direction."""
    if not all(header.is_grey for header in headers):
        raise Unreadable('its slices are colours: expected grey')
    number = len({header.series for header in headers})
    if number > 1:
        raise Unreadable(
            f'files of {number} series: expected one. Put each series into a folder of its own'
        )
    first = headers[0]
    if any(header.axes is None or header.position is None for header in headers):
        raise Unreadable(
            'its files lack ImageOrientationPatient or ImagePositionPatient, which order slices'
        )
    for header in headers:
        cosines = np.subtract(header.axes, first.axes)
        is_turned = np.abs(cosines).max() > _SAME_DIRECTION
        is_other = header.size != first.size or header.spacing != first.spacing
        if is_other or is_turned or header.is_inverted != first.is_inverted:
            raise Unreadable('its slices differ in size, spacing, direction or kind')
    height, width = first.size
    if height * width * len(headers) > MOST_VOXELS:
        raise Unreadable(
            f'{width}x{height}x{len(headers)} voxels are more than {MOST_VOXELS:,}'
        )


def _directions(header: Header) -> tuple[Vector, Vector, Vector]:
    """Unit vectors along a row, along a column and of the normal.

    Raises:
        Unreadable: They are not at right angles.
    """
    axes = np.reshape(header.axes, (2, 3)).astype(np.float64)
    lengths = np.linalg.norm(axes, axis=1)
    if lengths.min() < 0.9 or lengths.max() > 1.1 or abs(axes[0] @ axes[1]) > 0.01:
        raise Unreadable(
            f'its ImageOrientationPatient {header.axes} is no pair of directions'
        )
    rows, columns = axes / lengths[:, None]
    return rows, columns, np.cross(rows, columns)


def _position(header: Header) -> tuple[float, float, float]:
    assert header.position is not None, '`_check_alike` checks it'
    return header.position


def _step(
    positions: Float[np.ndarray, 'd 3'],
    distances: Float[np.ndarray, 'd'],
    normal: Vector,
) -> Vector:
    """The vector from a slice to the next one, in millimetres to the left, back and head.

    Args:
        positions: of the sorted slices.
        distances: of the slices along the normal.
        normal: of their plane.

    Raises:
        Unreadable: Slices lie at one place, or their distances differ.
    """
    if len(positions) == 1:
        return normal
    gaps = np.diff(distances)
    middle = float(np.median(gaps))
    if gaps.min() <= _TOLERANCE * middle:
        raise Unreadable(
            'it has two slices at one place, as of several times: expected one series of a volume'
        )
    if np.abs(gaps - middle).max() > max(_TOLERANCE * middle, 1e-3):
        raise Unreadable(
            f'its slices are {gaps.min():.4g} to {gaps.max():.4g} mm apart: expected equal '
            'distances. Slices may be missing'
        )
    return (positions[-1] - positions[0]) / (len(positions) - 1)
