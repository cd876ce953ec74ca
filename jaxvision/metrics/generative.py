"""How close generated images are to real ones: distances between two sets of their features.

All run on the host, in float64, over any extractor's features [N, D] of whole sets.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

Features = Float[np.ndarray, 'n d']


def frechet_distance(a: Float[np.ndarray, 'n d'], b: Float[np.ndarray, 'm d']) -> float:
    """||mu_a - mu_b||^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) (Heusel et al. 2017).

    The FID, where the features are Inception's; biased upwards for few examples, so compare equal
    numbers. NaN for features that are not finite; ValueError for fewer than 2 examples.
    """
    _require(2, a, b)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float('nan')
    (mean_a, root_a), (mean_b, root_b) = _mean_and_root(a), _mean_and_root(b)
    # With S = R^T R, S_a S_b has the squared singular values of R_a R_b^T as its eigenvalues.
    # Nothing is inverted and no product of covariances formed: exact for singular ones too.
    trace = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    distance = (
        ((mean_a - mean_b) ** 2).sum()
        + (root_a**2).sum()
        + (root_b**2).sum()
        - 2 * trace
    )
    return max(0.0, float(distance))


def _mean_and_root(
    features: Features,
) -> tuple[Float[np.ndarray, 'd'], Float[np.ndarray, 'r d']]:
    """The mean, and R with R^T R the covariance (of N - 1): r = min(N, D)."""
    mean = features.mean(0, dtype=np.float64)
    return mean, np.linalg.qr(features - mean, mode='r') / np.sqrt(len(features) - 1)


def kernel_distance(a: Float[np.ndarray, 'n d'], b: Float[np.ndarray, 'm d']) -> float:
    """KID (Binkowski et al. 2018): the unbiased squared MMD of k(x, y) = (x . y / D + 1)^3.

    Over all examples, not the mean over random subsets of them; slightly negative for like sets.
    Raises ValueError for fewer than 2 examples.
    """
    _require(2, a, b)
    n, m = len(a), len(b)
    within_a = (_kernel_sum(a, a) - _kernel_trace(a)) / (n * (n - 1))
    within_b = (_kernel_sum(b, b) - _kernel_trace(b)) / (m * (m - 1))
    return float(within_a + within_b - 2 * _kernel_sum(a, b) / (n * m))


def _kernel_sum(a: Float[np.ndarray, 'n d'], b: Float[np.ndarray, 'm d']) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return sum(
        (((a[rows] @ b.T) / a.shape[1] + 1) ** 3).sum() for rows in _blocks(len(a))
    )


def _kernel_trace(a: Features) -> float:
    return (((a.astype(np.float64) ** 2).mean(1) + 1) ** 3).sum()


def precision_recall(
    real: Float[np.ndarray, 'n d'], fake: Float[np.ndarray, 'm d'], k: int = 3
) -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al. 2019), each in [0, 1].

    Precision is the share of the fakes that lie on the reals' manifold, recall that of the reals
    on the fakes': within some example's distance to its k-th nearest other. Features that are not
    numbers lie nowhere. Raises ValueError unless there are more than k of both.
    """
    _require(k + 1, real, fake)
    real_radius, fake_radius = _squared_radius(real, k), _squared_radius(fake, k)
    realistic, covered = np.zeros(len(fake), bool), np.zeros(len(real), bool)
    for rows, squared in _squared_distances(real, fake):
        realistic |= (squared <= real_radius[rows, None]).any(0)
        covered[rows] = (squared <= fake_radius).any(1)
    return float(realistic.mean()), float(covered.mean())


def _squared_radius(features: Features, k: int) -> Float[np.ndarray, 'n']:
    """Squared distance of each example to its k-th nearest other one."""
    radius = np.empty(len(features))
    for rows, squared in _squared_distances(features, features):
        squared[np.arange(len(squared)), np.arange(len(features))[rows]] = (
            np.inf
        )  # itself
        radius[rows] = np.partition(squared, k - 1)[:, k - 1]
    return radius


def nearest(
    wanted: Float[np.ndarray, 'n d'], among: Float[np.ndarray, 'm d']
) -> Int[np.ndarray, 'n']:
    """The row of `among` that is nearest to each wanted one: has a generator only memorised?"""
    return np.concatenate(
        [squared.argmin(1) for _, squared in _squared_distances(wanted, among)]
    )


def _squared_distances(
    a: Float[np.ndarray, 'n d'], b: Float[np.ndarray, 'm d']
) -> Iterator[tuple[slice, Float[np.ndarray, 'rows m']]]:
    """||a_i - b_j||^2, some rows at a time: of 10,000 x 10,000 all are 800 MB."""
    # About their centre, because the squares of large features would swallow the differences.
    centre = b.mean(0, dtype=np.float64)
    a, b = a - centre, b - centre
    a_squared, b_squared = (a**2).sum(1), (b**2).sum(1)
    for rows in _blocks(len(a)):
        yield rows, np.maximum(a_squared[rows, None] + b_squared - 2 * a[rows] @ b.T, 0)


def _blocks(number: int, size: int = 1024) -> Iterator[slice]:
    return (slice(start, min(start + size, number)) for start in range(0, number, size))


def _require(number: int, *sets: Float[np.ndarray, '_ d']) -> None:
    fewest = min(map(len, sets))
    if fewest < number:
        raise ValueError(
            f'at least {number} examples are needed on each side, got {fewest}'
        )
