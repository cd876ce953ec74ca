"""Distances between the surfaces of two masks, in the unit of their spacing, in 2D and 3D.

The definition is that of DeepMind's library surface-distance (arXiv 1809.04430). A surface passes
between pixels: through the corners at which the mask is neither full nor empty. A corner
stands for a piece of contour (2D) or of surface (3D, by marching cubes), and distances are
weighted by its length or area. Libraries that measure between the centres of border pixels, such
as MONAI, give slightly other numbers.

Empty masks: if both masks are empty, the prediction is perfect: distances are 0 and the normalised
surface distance is 1. If one mask is empty, distances are the diagonal of the image, which no
distance exceeds, and the normalised surface distance is 0. So the mean over images never
improves as more objects are missed.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from jaxvision.core.types import BACKGROUND, IGNORED, MetricValues, Records

# The metrics of `summarize`.
NAMES = ('hd95', 'asd', 'nsd')
# Two or three axes.
Mask = Bool[np.ndarray, '*size']
# One value for each piece of a surface.
Distances = Float[np.ndarray, '_']
Areas = Float[np.ndarray, '_']
# The corners of pixels or voxels.
Codes = Int[np.ndarray, '...']
Sizes = Float[np.ndarray, 'codes']


@dataclasses.dataclass(frozen=True, kw_only=True)
class SurfaceDistances:
    """Distances from the pieces of each surface to the nearest corner of the other one.

    Attributes:
        to_prediction: from each piece of the true surface, in the unit of the spacing.
        to_truth: from each piece of the predicted surface.
        true_areas: length or area of each piece of the true surface.
        predicted_areas: of each piece of the predicted surface.
        diagonal: of the image, in the unit of the spacing.
    """

    to_prediction: Distances
    to_truth: Distances
    true_areas: Areas
    predicted_areas: Areas
    diagonal: float

    @property
    def is_perfect(self) -> bool:
        """Whether both masks are empty."""
        return not len(self.to_prediction) and not len(self.to_truth)

    @property
    def is_missing(self) -> bool:
        """Whether exactly one mask is empty."""
        return bool(len(self.to_prediction)) != bool(len(self.to_truth))


def distances(
    truth: Mask, prediction: Mask, spacing: Sequence[float]
) -> SurfaceDistances:
    """Measure the distances between the surfaces of two masks.

    Args:
        truth: bool [H, W] or [D, H, W]. Outside the array there is no object.
        prediction: bool, of the same shape.
        spacing: distance between neighbouring pixels along each axis, such as
            millimetres.

    Raises:
        ValueError: the masks have another number of axes than 2 or 3, or than the
            spacing.
    """
    axes = truth.ndim
    if axes not in (2, 3) or len(spacing) != axes:
        raise ValueError(
            f'spacing={tuple(spacing)}: expected a number for each of the 2 or 3 axes of '
            f'the mask, which has the shape {truth.shape}. Give one for each axis.'
        )
    steps = np.asarray(spacing, np.float64)
    diagonal = float(np.linalg.norm(steps * truth.shape))
    box = _bounding_box(truth | prediction)
    true_codes = _corner_codes(truth[box])
    predicted_codes = _corner_codes(prediction[box])
    full = 2 ** (2**axes) - 1
    true_surface = (true_codes > 0) & (true_codes < full)
    predicted_surface = (predicted_codes > 0) & (predicted_codes < full)
    sizes = _piece_sizes(steps)
    to_prediction = _nearest(true_surface, predicted_surface, steps, diagonal)
    to_truth = _nearest(predicted_surface, true_surface, steps, diagonal)
    return SurfaceDistances(
        to_prediction=to_prediction,
        to_truth=to_truth,
        true_areas=sizes[true_codes[true_surface]],
        predicted_areas=sizes[predicted_codes[predicted_surface]],
        diagonal=diagonal,
    )


def hausdorff(measured: SurfaceDistances) -> float:
    """The largest distance from a surface to the other one (Hausdorff distance)."""
    if measured.is_perfect:
        return 0.0
    if measured.is_missing:
        return measured.diagonal
    return float(max(measured.to_prediction.max(), measured.to_truth.max()))


def robust_hausdorff(measured: SurfaceDistances, percent: float = 95.0) -> float:
    """The Hausdorff distance without the most distant parts (HD95).

    Args:
        measured: of `distances`.
        percent: part of each surface that counts, in (0, 100].

    Returns:
        The larger of both percentiles of distances, weighted by areas, in the unit of
        the spacing.
    """
    if measured.is_perfect:
        return 0.0
    if measured.is_missing:
        return measured.diagonal
    fraction = percent / 100
    return max(
        _percentile(measured.to_prediction, measured.true_areas, fraction),
        _percentile(measured.to_truth, measured.predicted_areas, fraction),
    )


def average_distance(measured: SurfaceDistances) -> float:
    """The average symmetric surface distance: the mean over both surfaces together."""
    if measured.is_perfect:
        return 0.0
    if measured.is_missing:
        return measured.diagonal
    total = np.dot(measured.to_prediction, measured.true_areas)
    total += np.dot(measured.to_truth, measured.predicted_areas)
    return float(total / (measured.true_areas.sum() + measured.predicted_areas.sum()))


def normalized_distance(measured: SurfaceDistances, tolerance: float) -> float:
    """The normalised surface distance (surface Dice): the fraction of both surfaces that fits.

    Args:
        measured: of `distances`.
        tolerance: largest distance that fits, in the unit of the spacing, inclusive.

    Returns:
        A value in [0, 1]; 1 is the best.
    """
    if measured.is_perfect:
        return 1.0
    if measured.is_missing:
        return 0.0
    fitting = measured.true_areas[measured.to_prediction <= tolerance].sum()
    fitting += measured.predicted_areas[measured.to_truth <= tolerance].sum()
    return float(fitting / (measured.true_areas.sum() + measured.predicted_areas.sum()))


def record(
    truth: Integer[np.ndarray, '*size'],
    prediction: Integer[np.ndarray, '*size'],
    classes: int,
    spacing: Sequence[float],
    tolerance: float,
) -> Records:
    """The distances of the surfaces of each class of an image, for `summarize`.

    Pixels with the label IGNORED (255) belong to no class, neither in the truth nor in
    the prediction.

    Args:
        truth: labels [H, W] or [D, H, W] in [0, K), or IGNORED.
        prediction: classes in [0, K), of the same shape.
        classes: the number of classes K.
        spacing: as for `distances`.
        tolerance: as for `normalized_distance`.

    Returns:
        By `NAMES`, float64 [K]: the robust Hausdorff distance at 95 %, the average
        symmetric surface distance and the normalised surface distance. NaN for a class
        that is neither in the truth nor in the prediction.
    """
    counted = truth != IGNORED
    values = np.full((classes, len(NAMES)), np.nan)
    for number in range(classes):
        true_mask = truth == number
        predicted_mask = (prediction == number) & counted
        if true_mask.any() or predicted_mask.any():
            measured = distances(true_mask, predicted_mask, spacing)
            values[number] = (
                robust_hausdorff(measured),
                average_distance(measured),
                normalized_distance(measured, tolerance),
            )
    return dict(zip(NAMES, values.T, strict=True))


def summarize(class_names: Sequence[str], records: Records) -> MetricValues:
    """Compute the means of distances over images, and then over classes.

    Args:
        class_names: of the K classes. A class that is named 'background' is left out,
            unless it is the only one.
        records: arrays [images, K] of `record`.

    Returns:
        By `NAMES`. Images that have a class neither in the truth nor in the prediction
        are left out of its mean. If every image is left out, the values are those of a
        perfect prediction.
    """
    is_counted = np.array([name != BACKGROUND for name in class_names])
    if not is_counted.any():
        is_counted[:] = True
    perfect = {'hd95': 0.0, 'asd': 0.0, 'nsd': 1.0}
    means = {}
    for name in NAMES:
        by_class = []
        for values in records[name][:, is_counted].T:
            present = values[~np.isnan(values)]
            if len(present):
                by_class.append(present.mean())
        means[name] = float(np.mean(by_class)) if by_class else perfect[name]
    return means


def _bounding_box(mask: Mask) -> tuple[slice, ...]:
    """The smallest box around a mask; without pixels it is empty."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        indices = np.flatnonzero(mask.any(axis=others))
        if not len(indices):
            return (slice(0, 0),) * mask.ndim
        box.append(slice(int(indices[0]), int(indices[-1]) + 1))
    return tuple(box)


def _corner_codes(mask: Mask) -> Codes:
    """The pixels around each corner as bits, the first pixel as the highest bit.

    Args:
        mask: of the shape [...], on a background without objects.

    Returns:
        int64, one more than the mask along each axis: 0 to 15, or to 255 in 3D.
    """
    padded = np.pad(mask, 1)
    codes = np.zeros([side + 1 for side in mask.shape], np.int64)
    for offset in itertools.product((0, 1), repeat=mask.ndim):
        window = [
            slice(start, start + side)
            for start, side in zip(offset, codes.shape, strict=True)
        ]
        codes = 2 * codes + padded[tuple(window)]
    return codes


def _nearest(
    surface: Mask, other: Mask, steps: Float[np.ndarray, 'axes'], diagonal: float
) -> Distances:
    """The distance from each corner of a surface to the nearest corner of the other one.

    Args:
        surface: bool [...].
        other: of the same shape.
        steps: the spacing.
        diagonal: of the image, the distance if the other surface is empty.
    """
    from scipy import ndimage

    if not other.any():
        return np.full(np.count_nonzero(surface), diagonal)
    return ndimage.distance_transform_edt(~other, sampling=steps)[surface]


def _percentile(values: Distances, areas: Areas, fraction: float) -> float:
    """The smallest distance with at least a fraction of the area at or below it."""
    order = np.argsort(values, kind='stable')
    covered = np.cumsum(areas[order]) / areas.sum()
    place = np.searchsorted(covered, fraction)
    return float(values[order[min(place, len(order) - 1)]])


def _piece_sizes(steps: Float[np.ndarray, 'axes']) -> Sizes:
    """The length or area of the surface at a corner, by its code."""
    if len(steps) == 2:
        return _lengths(*steps.tolist())
    sizes = np.zeros(256)
    for code, triangles in enumerate(_triangles()):
        corners = steps * triangles
        sides = corners[:, 1:] - corners[:, :1]
        normals = np.cross(sides[:, 0], sides[:, 1])
        sizes[code] = 0.5 * np.linalg.norm(normals, axis=-1).sum()
    return sizes


def _lengths(height: float, width: float) -> Sizes:
    """The length of the contour between the four pixels around a corner, by code.

    Args:
        height: distance between rows.
        width: distance between columns.
    """
    cut = 0.5 * np.hypot(height, width)  # One pixel differs from the three others.
    lengths = np.full(16, cut)
    lengths[[0, 15]] = 0
    lengths[[0b0011, 0b1100]] = width
    lengths[[0b0101, 0b1010]] = height
    lengths[[0b0110, 0b1001]] = 2 * cut
    return lengths


@functools.cache
def _triangles() -> list[Float[np.ndarray, 't 3 3']]:
    """The triangles of marching cubes between the eight voxels around a corner, by code.

    The corners of the triangles are midpoints between voxels that are 1 apart. A code with
    more than four voxels has the triangles of the opposite code.
    """
    from skimage.measure import marching_cubes

    by_code = []
    for code in range(256):
        bits = [code >> place & 1 for place in range(7, -1, -1)]
        voxels = np.array(bits, np.float64).reshape(2, 2, 2)
        if sum(bits) > 4:
            voxels = 1 - voxels
        if voxels.any():
            corners, faces, _, _ = marching_cubes(voxels, 0.5, method='lorensen')
            by_code.append(corners.astype(np.float64)[faces])
        else:
            by_code.append(np.zeros((0, 3, 3)))
    return by_code
