"""Store distances of DeepMind's surface-distance in tests/metrics/surfaces.npz.

    PYTHON tests/bench/surface_distances.py

PYTHON is an interpreter that has the package surface-distance 0.1 (Apache-2.0), of the repository
google-deepmind/surface-distance.
"""

from pathlib import Path

import numpy as np
import surface_distance
from scipy import ndimage

FILE = Path(__file__).parents[1] / 'metrics' / 'surfaces.npz'
TOLERANCES = (0.0, 1.0, 2.5)
CASES = (
    ((14, 17), (1.0, 1.0)),
    ((20, 11), (0.7, 2.0)),
    ((9, 8, 7), (1.0, 1.0, 1.0)),
    ((6, 9, 8), (3.0, 1.5, 0.7)),
    ((5, 5, 5), (1.0, 0.5, 2.0)),
)


def masks(rng, size, rough):
    """A mask, which touches the edges of the array, and another near it."""
    noise = rng.normal(size=size)
    smooth = ndimage.gaussian_filter(noise, 0.4 if rough else 1.2)
    truth = smooth > np.quantile(smooth, 0.7)
    other = smooth + 0.05 * rng.normal(size=size)
    return truth, np.roll(other > np.quantile(other, 0.65), 1, axis=0)


def main():
    rng = np.random.default_rng(0)
    arrays = {'tolerances': np.array(TOLERANCES)}
    for number, (size, spacing) in enumerate(CASES):
        # Noise has every code of a corner, the ambiguous ones too.
        truth, prediction = masks(rng, size, rough=number in (1, 4))
        measured = surface_distance.compute_surface_distances(
            truth, prediction, spacing
        )
        hausdorff = surface_distance.compute_robust_hausdorff
        at_tolerance = surface_distance.compute_surface_dice_at_tolerance
        arrays |= {
            f'truth_{number}': truth,
            f'prediction_{number}': prediction,
            f'spacing_{number}': np.array(spacing),
            f'averages_{number}': np.array(
                surface_distance.compute_average_surface_distance(measured)
            ),
            f'hd50_{number}': hausdorff(measured, 50),
            f'hd95_{number}': hausdorff(measured, 95),
            f'hd100_{number}': hausdorff(measured, 100),
            f'normalized_{number}': np.array(
                [at_tolerance(measured, tolerance) for tolerance in TOLERANCES]
            ),
        }
        for side in ('gt', 'pred'):
            arrays[f'area_{side}_{number}'] = measured[f'surfel_areas_{side}'].sum()
    np.savez_compressed(FILE, **arrays)
    print(f'{FILE}: {FILE.stat().st_size:,} bytes')


if __name__ == '__main__':
    main()
