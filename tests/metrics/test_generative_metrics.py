import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg
from sklearn.metrics import pairwise_distances_argmin
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors

from jaxvision.metrics import generative


def features(number, size, seed=0, shift=0.0):
    """Correlated and not Gaussian, like a network's after its ReLU."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(number, size)) @ np.random.default_rng(size).normal(
        size=(size, size)
    )
    return np.maximum(mixed + shift, 0).astype(np.float32)


def frechet_by_matrix_root(a, b):
    """tr (S_a S_b)^(1/2) = tr (R S_b R)^(1/2) with R = S_a^(1/2), which may be singular."""
    cov_a, cov_b = (
        np.cov(a.astype(float), rowvar=False),
        np.cov(b.astype(float), rowvar=False),
    )
    variances, axes = linalg.eigh(cov_a)
    root_a = axes * np.sqrt(np.maximum(variances, 0)) @ axes.T
    inner = linalg.eigvalsh(root_a @ cov_b @ root_a)
    return (
        ((a.mean(0, dtype=float) - b.mean(0, dtype=float)) ** 2).sum()
        + np.trace(cov_a)
        + np.trace(cov_b)
        - 2 * np.sqrt(np.maximum(inner, 0)).sum()
    )


@pytest.mark.parametrize(
    'n, m, size', [(400, 300, 16), (300, 300, 64), (40, 60, 64), (20, 200, 64)]
)
def test_frechet_distance_equals_the_formula(n, m, size):
    a, b = features(n, size, 1), features(m, size, 2, shift=0.5)
    got = generative.frechet_distance(a, b)
    assert got == pytest.approx(frechet_by_matrix_root(a, b), rel=1e-5)
    assert got == pytest.approx(generative.frechet_distance(b, a), rel=1e-10)


def test_frechet_distance_equals_sqrtm_of_the_product():
    a, b = features(500, 24, 3), features(400, 24, 4, shift=1.0)
    cov_a, cov_b = (
        np.cov(a.astype(float), rowvar=False),
        np.cov(b.astype(float), rowvar=False),
    )
    root = linalg.sqrtm(cov_a @ cov_b).real
    expected = (
        (a.mean(0, dtype=float) - b.mean(0, dtype=float)) ** 2
    ).sum() + np.trace(cov_a + cov_b - 2 * root)
    assert generative.frechet_distance(a, b) == pytest.approx(expected, rel=1e-7)


def test_frechet_distance_of_known_covariances():
    """Rows +-s e_i have the covariance diag(2 s^2) / (2 D - 1): roots that anyone can take."""

    def cross(scales):
        return np.concatenate([np.diag(scales), -np.diag(scales)])

    a, b = np.array([1.0, 2.0, 3.0]), np.array([5.0, 2.0, 0.0])
    expected = 9 * 3 + ((a - b) ** 2).sum() * 2 / 5
    assert generative.frechet_distance(cross(a), cross(b) + 3) == pytest.approx(
        expected, rel=1e-12
    )


def test_kernel_distance_equals_scikit_learn():
    """1,100 examples are more than one block."""
    a, b = features(1100, 8, 1), features(300, 8, 2, shift=0.5)
    within_a, within_b, between = (
        polynomial_kernel(x.astype(float), y.astype(float), degree=3)
        for x, y in ((a, a), (b, b), (a, b))
    )
    expected = between.mean() * -2
    for within in (within_a, within_b):
        expected += within[~np.eye(len(within), dtype=bool)].mean()
    assert generative.kernel_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_is_unbiased():
    """Its mean over many pairs of small sets of one distribution is 0."""
    rng = np.random.default_rng(0)
    distances = [
        generative.kernel_distance(*rng.normal(size=(2, 8, 4))) for _ in range(1000)
    ]
    assert abs(np.mean(distances)) < 3 * np.std(distances) / np.sqrt(len(distances))


def fraction_on_manifold(manifold, points, k):
    """Fraction of points closer to a point of the manifold than its k-th neighbour."""
    neighbours = NearestNeighbors(algorithm='kd_tree').fit(manifold)
    # Without a query, a point is not its own neighbour.
    distances, _ = neighbours.kneighbors(n_neighbors=k)
    radius = distances[:, -1]
    distance = np.linalg.norm(points[:, None] - manifold, axis=-1)
    return (distance <= radius).any(1).mean()


@pytest.mark.parametrize('k', [1, 3, 5])
def test_precision_and_recall_equal_scikit_learn(k):
    real, fake = (
        features(1050, 6, 1).astype(float),
        features(200, 6, 2, shift=1.0).astype(float),
    )
    real += np.random.default_rng(0).normal(size=real.shape) * 1e-3  # no two alike
    expected = fraction_on_manifold(real, fake, k), fraction_on_manifold(fake, real, k)
    assert min(expected) > 0.1 and max(expected) < 0.99
    assert generative.precision_recall(real, fake, k) == pytest.approx(
        expected, abs=1e-12
    )


def test_outliers_lower_precision_and_missing_modes_lower_recall():
    rng = np.random.default_rng(0)
    two_modes = rng.normal(size=(200, 2)) + np.repeat([[0, 0], [50, 0]], 100, axis=0)
    one_mode = rng.normal(size=(100, 2))
    strange = np.concatenate([one_mode, rng.normal(size=(100, 2)) + [0, 50]])
    precision, recall = generative.precision_recall(two_modes, one_mode)
    assert precision > 0.9 and 0.4 < recall <= 0.5
    precision, recall = generative.precision_recall(one_mode, strange)
    assert 0.4 < precision <= 0.5 and recall > 0.9


def test_nearest_equals_scikit_learn():
    queries, among = features(1100, 5, 1), features(300, 5, 2)
    rows = generative.nearest(queries, among)
    np.testing.assert_array_equal(rows, pairwise_distances_argmin(queries, among))


def test_distances_survive_a_large_common_offset():
    """Without centring, differences of squares would lose all digits."""
    points = features(50, 8, 1).astype(float) + 1e6
    np.testing.assert_array_equal(generative.nearest(points, points), np.arange(50))


@settings(max_examples=25, deadline=None)
@given(st.integers(5, 30), st.integers(1, 12), st.integers(0, 2**16))
def test_invariance_to_order_shift_and_exchange(number, size, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, number, size))
    shift, order = rng.normal(size=size), rng.permutation(number)

    assert generative.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert generative.precision_recall(a, a) == (1, 1)
    assert generative.frechet_distance(a, a + shift) == pytest.approx(
        (shift**2).sum(), abs=1e-9
    )
    for measure in (generative.frechet_distance, generative.precision_recall):
        np.testing.assert_allclose(measure(a[order], b), measure(a, b), rtol=1e-9)
        np.testing.assert_allclose(
            measure(a + shift, b + shift), measure(a, b), rtol=1e-9
        )
    assert generative.precision_recall(b, a) == generative.precision_recall(a, b)[::-1]
    kernel = generative.kernel_distance(a, b)
    assert generative.kernel_distance(b[order], a) == pytest.approx(
        kernel, rel=1e-9, abs=1e-12
    )
    np.testing.assert_array_equal(generative.nearest(a[order], a), order)


def test_nan_features_give_nan_distances_and_zero_precision():
    real, fake = features(10, 4, 1), np.full((10, 4), np.nan, np.float32)
    assert np.isnan(generative.frechet_distance(real, fake))
    assert np.isnan(generative.kernel_distance(real, fake))
    assert generative.precision_recall(real, fake) == (0, 0)


def test_too_few_examples_are_an_error():
    with pytest.raises(ValueError, match='at least 2 examples .*got 1'):
        generative.frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match='at least 4 examples .*got 3'):
        generative.precision_recall(np.zeros((5, 3)), np.zeros((3, 3)))
