"""Similarity of generated to real images: distances between two sets of feature vectors.

All functions run on the host in float64. They take the features [N, D] of whole sets, from any
feature extractor.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

Features = Float[np.ndarray, 'n d']
OtherFeatures = Float[np.ndarray, 'm d']
Squares = Float[np.ndarray, 'rows m']


def frechet_distance(a: Features, b: OtherFeatures) -> float:
    """Fréchet distance of two Gaussians fitted to the features (Heusel et al. 2017).

    With the features of Inception this is the FID:
    ||mu_a - mu_b||^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)).
    Few examples bias it upwards, so compare sets of equal size. It is NaN if a feature is not
    finite.

    Raises:
        ValueError: A set has fewer than 2 examples.
    """
    _require(2, a, b)
    if not np.isfinite(a).all() or not np.isfinite(b).all():
        return float('nan')
    mean_a, root_a = _mean_and_root(a)
    mean_b, root_b = _mean_and_root(b)
    # With S = R^T R, the eigenvalues of S_a S_b are the squared singular values of R_a R_b^T.
    # Nothing is inverted and no covariances are multiplied, so singular ones are exact too.
    singular_values = np.linalg.svd(root_a @ root_b.T, compute_uv=False)
    trace = singular_values.sum()
    squared_difference = ((mean_a - mean_b) ** 2).sum()
    variance_a = (root_a**2).sum()
    variance_b = (root_b**2).sum()
    distance = squared_difference + variance_a + variance_b - 2 * trace
    return max(0.0, float(distance))


def _mean_and_root(
    features: Features,
) -> tuple[Float[np.ndarray, 'd'], Float[np.ndarray, 'r d']]:
    """The mean, and a root R of the unbiased covariance R^T R, with r = min(N, D) rows."""
    mean = features.mean(0, dtype=np.float64)
    triangle = np.linalg.qr(features - mean, mode='r')
    return mean, triangle / np.sqrt(len(features) - 1)


def kernel_distance(a: Features, b: OtherFeatures) -> float:
    """Kernel distance: the unbiased squared MMD with a cubic kernel (KID, Binkowski et al. 2018).

    The kernel is (x . y / D + 1)^3. All pairs of examples count, instead of random
    subsets. It is larger for less similar sets, and may be slightly negative for
    similar ones.

    Raises:
        ValueError: A set has fewer than 2 examples.
    """
    _require(2, a, b)
    within_a = _mean_kernel_within(a)
    within_b = _mean_kernel_within(b)
    between = _kernel_sum(a, b)
    pairs = len(a) * len(b)
    return float(within_a + within_b - 2 * between / pairs)


def _mean_kernel_within(a: Features) -> float:
    """Mean of the kernel over all pairs of different examples of a set."""
    number = len(a)
    pairs = number * (number - 1)
    total = _kernel_sum(a, a) - _kernel_trace(a)
    return total / pairs


def _kernel_sum(a: Features, b: OtherFeatures) -> float:
    """Sum of the kernel over all pairs of an example of `a` and one of `b`."""
    a = a.astype(np.float64)
    b = b.astype(np.float64)
    dimensions = a.shape[1]
    total = 0
    for rows in _blocks(len(a)):
        products = a[rows] @ b.T
        kernel = (products / dimensions + 1) ** 3
        total += kernel.sum()
    return total


def _kernel_trace(a: Features) -> float:
    """Sum of the kernel of each example with itself."""
    squares = a.astype(np.float64) ** 2
    kernel = (squares.mean(1) + 1) ** 3
    return kernel.sum()


def precision_recall(
    real: Features,
    fake: OtherFeatures,
    k: int = 3,
) -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al. 2019), each in [0, 1].

    Precision is the fraction of generated images on the manifold of the real ones. Recall is the
    fraction of real images on the manifold of the generated ones. A manifold is a union of balls,
    one about each example, with its k-th nearest neighbour on the surface. NaN lies on no manifold.

    Args:
        real: features of real images, [N, D].
        fake: features of generated images, [M, D].
        k: which nearest neighbour defines the radius of a ball.

    Returns:
        Precision and recall.

    Raises:
        ValueError: A set has k examples or fewer.
    """
    _require(k + 1, real, fake)
    real_radius = _squared_radius(real, k)
    fake_radius = _squared_radius(fake, k)
    is_realistic = np.zeros(len(fake), bool)
    is_covered = np.zeros(len(real), bool)
    for rows, squared in _squared_distances(real, fake):
        is_in_real_ball = squared <= real_radius[rows, None]
        is_realistic |= is_in_real_ball.any(0)
        is_in_fake_ball = squared <= fake_radius
        is_covered[rows] = is_in_fake_ball.any(1)
    return float(is_realistic.mean()), float(is_covered.mean())


def _squared_radius(features: Features, k: int) -> Float[np.ndarray, 'n']:
    """Squared distance of each example to its k-th nearest neighbour."""
    number = len(features)
    radius = np.empty(number)
    for rows, squared in _squared_distances(features, features):
        # An example is not its own neighbour.
        diagonal = np.arange(len(squared))
        columns = np.arange(number)[rows]
        squared[diagonal, columns] = np.inf
        ascending = np.partition(squared, k - 1)
        radius[rows] = ascending[:, k - 1]
    return radius


def nearest(queries: Features, among: OtherFeatures) -> Int[np.ndarray, 'n']:
    """Row of `among` nearest to each query: a generator may have memorised its data.

    The distance is Euclidean, and the first row wins a tie.
    """
    rows = [squared.argmin(1) for _, squared in _squared_distances(queries, among)]
    return np.concatenate(rows)


def _squared_distances(
    a: Features, b: OtherFeatures
) -> Iterator[tuple[slice, Squares]]:
    """Yield ||a_i - b_j||^2 for some rows at a time. All of 10,000 x 10,000 need 800 MB."""
    # Centred, because the squares of large features would swallow the differences.
    centre = b.mean(0, dtype=np.float64)
    a = a - centre
    b = b - centre
    a_squared = (a**2).sum(1)
    b_squared = (b**2).sum(1)
    for rows in _blocks(len(a)):
        sums = a_squared[rows, None] + b_squared
        products = 2 * a[rows] @ b.T
        # Rounding may give small negative numbers.
        yield rows, np.maximum(sums - products, 0)


def _blocks(number: int, size: int = 1024) -> Iterator[slice]:
    """Consecutive slices of at most `size` rows."""
    for start in range(0, number, size):
        end = min(start + size, number)
        yield slice(start, end)


def _require(number: int, *sets: Float[np.ndarray, '_ d']) -> None:
    fewest = min(map(len, sets))
    if fewest < number:
        raise ValueError(
            f'expected at least {number} examples in each set, got {fewest}. '
            'Evaluate more examples.'
        )
