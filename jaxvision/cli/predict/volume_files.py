"""The volumes among the user's files: NIfTI files, series of DICOM files, and stacks of TIFF."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8

from jaxvision.cli.predict.predictor import Request
from jaxvision.core.files import atomic_path
from jaxvision.data import dicom_files, dicom_series, tiff_files, volumes, volumes_nifti
from jaxvision.data.protocol import Unreadable
from jaxvision.data.volume_grids import Grid
from jaxvision.data.windows import Window

Slices = UInt8[np.ndarray, 'd h w']
Labels = Integer[np.ndarray, 'd h w']


@dataclasses.dataclass(frozen=True)
class VolumeFile:
    """A volume of the user.

    Attributes:
        name: its path as the user gave it; of a series, the path of its folder.
        paths: of the file, or of the files of a series.
    """

    name: str
    paths: tuple[Path, ...]

    @property
    def is_stack(self) -> bool:
        """Whether it is a stack of TIFF, whose slices have no place in a body."""
        return len(self.paths) == 1 and not volumes_nifti.is_nifti(self.paths[0])

    @property
    def suffix(self) -> str:
        """The suffix of the file of its labels."""
        return '.tif' if self.is_stack else '.nii.gz'

    def read(self, window: Window | None) -> tuple[Slices, Grid | None]:
        """Read the slices, and the grid of their voxels; None for a stack.

        Args:
            window: of the values; None: as `volumes.image` chooses it.

        Raises:
            Unreadable: A file is damaged, or the files are no volume.
        """
        if len(self.paths) > 1:
            series = dicom_series.read(self.paths)
            return volumes.of_series(series, window), series.grid
        (path,) = self.paths
        return volumes.converted(path, window), volumes.grid_of(path)

    def write(self, path: Path, labels: Labels, grid: Grid | None) -> None:
        """Write labels of the slices as the volume is stored.

        Args:
            path: of the new file.
            labels: of the slices.
            grid: of the voxels; None: a stack is written.
        """
        if grid is None:
            _write_stack(path, labels)
            return
        is_file = len(self.paths) == 1
        volumes_nifti.write_labels(
            path, labels, grid, self.paths[0] if is_file else None
        )


def _write_stack(path: Path, labels: Labels) -> None:
    """Write labels as a compressed TIFF, a page for each slice."""
    import tifffile

    with atomic_path(path, durable=False) as partial:
        tifffile.imwrite(
            partial,
            labels,
            photometric='minisblack',
            compression='zlib',
            metadata={'axes': 'ZYX'},
        )


def split(request: Request) -> tuple[list[VolumeFile], Request]:
    """Divide a request into its volumes and a request with all other files.

    Files of one DICOM series in one folder are a volume, unless it is one file.
    """
    found: list[VolumeFile] = []
    others = []
    series: dict[tuple[str, str], list[str]] = {}
    for path in request.paths:
        if volumes_nifti.is_nifti(Path(path)) or tiff_files.is_stack(Path(path)):
            found.append(VolumeFile(path, (Path(path),)))
        elif dicom_files.is_dicom(path):
            key = (os.path.dirname(path), _series_of(path))
            series.setdefault(key, []).append(path)
        else:
            others.append(path)
    counts: dict[str, int] = {}
    for (folder, number), paths in series.items():
        if not number or len(paths) == 1:
            others += paths
            continue
        counts[folder] = counts.get(folder, 0) + 1
        # A folder may hold several series.
        name = folder or '.'
        if counts[folder] > 1:
            name = f'{name} (series {counts[folder]})'
        found.append(VolumeFile(name, tuple(map(Path, paths))))
    order = {path: row for row, path in enumerate(request.paths)}
    others.sort(key=order.__getitem__)
    return found, dataclasses.replace(request, paths=others)


def _series_of(path: str) -> str:
    """The number of the series of a DICOM file; '' if the file cannot be read."""
    try:
        return dicom_files.read_header(Path(path)).series
    except Unreadable:
        return ''


def stems(files: Sequence[VolumeFile]) -> list[str]:
    """A name for the files of each volume: its file name without the suffix."""
    names = []
    for file in files:
        name = os.path.basename(os.path.normpath(file.name))
        for suffix in ('.nii.gz', '.nii', *tiff_files.SUFFIXES):
            if name.lower().endswith(suffix):
                name = name[: -len(suffix)]
                break
        names.append(name)
    return names
