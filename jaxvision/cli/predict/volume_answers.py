"""The answer for one segmented volume: its classes in voxels and millimetres, and their table."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Integer

from jaxvision.cli.predict import segmentation_answers as answers
from jaxvision.cli.predict.segmentation_answers import Tally
from jaxvision.core.files import atomic_write
from jaxvision.core.types import Json
from jaxvision.data.volume_grids import Grid

Labels = Integer[np.ndarray, 'd h w']
# Centres [x, y, z] and corners of the voxels of the K classes.
Points = Float[np.ndarray, 'k 3']


def answer_of(
    names: Sequence[str], tally: Tally, labels: Labels, grid: Grid | None
) -> Json:
    """Describe a segmented volume.

    Args:
        names: of the K classes.
        tally: of all its slices.
        labels: the class of each voxel of the slices.
        grid: of the voxels; None: their places are not known.

    Returns:
        {'content': the largest classes, a text, 'size': [width, height, slices], 'classes':
        what each class covers}. A class has 'class', 'voxels', 'fraction', 'confidence',
        'centroid' (the mean index of its voxels, in the axes of the file) and 'slices' (the first
        and the last one, from 0). With a grid it also has 'volume_mm3', 'centroid_mm' and
        'extent_mm', the size of its box along the axes of the file.
    """
    depth, height, width = labels.shape
    answer: Json = {'content': answers.contents(names, tally.pixels)}
    answer['size'] = [width, height, depth]
    stored = labels.transpose(2, 1, 0) if grid is None else grid.from_slices(labels)
    classes = []
    for row in np.flatnonzero(tally.pixels).tolist():
        voxels = int(tally.pixels[row])
        covered: Json = {
            'class': names[row],
            'voxels': voxels,
            'fraction': round(voxels / labels.size, 6),
            'confidence': round(float(tally.confidence[row]), 4),
        }
        shown = np.flatnonzero((labels == row).any(axis=(1, 2)))
        covered['slices'] = [int(shown[0]), int(shown[-1])]
        center, sides = _place(stored == row)
        covered['centroid'] = [round(value, 2) for value in center.tolist()]
        if grid is not None:
            covered |= _in_millimetres(voxels, center, sides, grid)
        classes.append(covered)
    # The table lists a list of texts, and takes an empty list for one.
    answer['classes'] = tuple(classes)
    return answer


def _place(is_class: np.ndarray) -> tuple[Float[np.ndarray, '3'], Int[np.ndarray, '3']]:
    """(the mean index of True voxels, the number of voxels that they span along each axis)."""
    center = np.zeros(3)
    sides = np.zeros(3, np.int64)
    for axis in range(3):
        others = tuple({0, 1, 2} - {axis})
        counts = is_class.sum(axis=others)
        places = np.flatnonzero(counts)
        center[axis] = counts @ np.arange(len(counts)) / counts.sum()
        sides[axis] = places[-1] - places[0] + 1
    return center, sides


def _in_millimetres(
    voxels: int,
    center: Float[np.ndarray, '3'],
    sides: Int[np.ndarray, '3'],
    grid: Grid,
) -> Json:
    """The volume, the centre and the size of a class."""
    matrix = grid.affine[:3, :3]
    lengths = np.linalg.norm(matrix, axis=0)
    center_mm = matrix @ center + grid.affine[:3, 3]
    return {
        'volume_mm3': _rounded(voxels * abs(np.linalg.det(matrix))),
        'centroid_mm': [_rounded(value) for value in center_mm.tolist()],
        'extent_mm': [_rounded(value) for value in (sides * lengths).tolist()],
    }


def _rounded(value: float | np.floating) -> float:
    """A number with six significant digits."""
    return float(f'{value:.6g}')


def write_table(path: Path, answer: Json) -> None:
    """Write the classes of an answer as a CSV table, a row for each.

    Args:
        path: of the file, in an existing folder.
        answer: of `answer_of`. Lists of three become columns x, y and z.
    """
    rows = []
    for item in answer['classes']:
        row = {}
        for name, value in item.items():
            if isinstance(value, list):
                axes = 'xyz' if len(value) == 3 else ('first', 'last')
                for axis, part in zip(axes, value, strict=True):
                    row[f'{name}_{axis}'] = part
            else:
                row[name] = value
        rows.append(row)
    with atomic_write(path, durable=False) as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
