import itertools
import math

import numpy as np
import pytest

from jaxvision.attribution import perturbation, shapley
from jaxvision.core.errors import UserError

SIZE = (6, 9)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def image(rng):
    return rng.random((*SIZE, 3)).astype(np.float32)


@pytest.fixture
def baseline(image):
    return np.full_like(image, 0.25)


@pytest.fixture
def weights(rng):
    return rng.normal(size=(*SIZE, 3))


@pytest.fixture
def linear(weights):
    return lambda images: np.einsum('bhwc,hwc->b', images, weights) + 2.0


def test_occlusion_of_a_linear_score_by_windows_side_by_side(
    linear, image, baseline, weights
):
    got = perturbation.occlusion(
        linear, image, baseline, window=(2, 3), stride=(2, 3), batch=4
    )
    contributions = (weights * (image - baseline)).sum(axis=-1)
    by_window = contributions.reshape(3, 2, 3, 3).sum(axis=(1, 3))
    expected = by_window.repeat(2, axis=0).repeat(3, axis=1)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_occlusion_averages_overlapping_windows_and_cuts_the_last(
    linear, image, baseline, weights
):
    got = perturbation.occlusion(
        linear, image, baseline, window=(4, 4), stride=(3, 2), batch=3
    )
    contributions = (weights * (image - baseline)).sum(axis=-1)
    total = np.zeros(SIZE)
    count = np.zeros(SIZE)
    for top in (0, 3):
        for left in (0, 2, 4, 6):
            window = np.s_[top : top + 4, left : left + 4]
            total[window] += contributions[window].sum()
            count[window] += 1
    np.testing.assert_allclose(got, total / count, atol=1e-5)


def test_occlusion_is_mirrored_with_the_image(weights, image, baseline):
    def score_with(weights):
        return lambda images: np.einsum('bhwc,hwc->b', images**2, weights)

    options = dict(window=(2, 3), stride=(2, 3))
    got = perturbation.occlusion(score_with(weights), image, baseline, **options)
    mirrored = perturbation.occlusion(
        score_with(weights[:, ::-1]), image[:, ::-1], baseline, **options
    )
    np.testing.assert_allclose(mirrored, got[:, ::-1], atol=1e-5)


def test_a_stride_beyond_the_window_is_an_error(linear, image, baseline):
    with pytest.raises(UserError, match='expected at most the window'):
        perturbation.occlusion(linear, image, baseline, window=(2, 2), stride=(2, 3))


def test_scores_do_not_depend_on_the_batch_and_batches_have_one_size(linear, image):
    sizes = []

    def score(images):
        sizes.append(len(images))
        return linear(images)

    images = [image * factor for factor in (0.1, 0.2, 0.3, 0.4, 0.5)]
    got = perturbation.score_in_batches(score, images, 2)
    np.testing.assert_allclose(got, linear(np.stack(images)), rtol=1e-6)
    assert sizes == [2, 2, 2]


def test_rise_of_a_linear_score_finds_each_weight(image, baseline, rng):
    weights = np.zeros((*SIZE, 3))
    weights[1, 7] = 1.0

    def score(images):
        return np.einsum('bhwc,hwc->b', images - baseline, weights)

    bright = np.ones_like(image)
    got = perturbation.rise(
        score, bright, baseline, rng, masks=1500, cells=3, batch=100
    )
    row, column = np.unravel_index(got.argmax(), SIZE)
    assert abs(row - 1) <= 1 and abs(column - 7) <= 1
    # Pixels that share no cell with the marked one are unrelated, up to chance.
    assert abs(got[5, 0]) < 0.15 * got.max()


def test_rise_ignores_a_constant_of_the_score(image, baseline, linear):
    def of(constant):
        rng = np.random.default_rng(3)
        return perturbation.rise(
            lambda images: linear(images) + constant,
            image,
            baseline,
            rng,
            masks=64,
            cells=3,
        )

    np.testing.assert_allclose(of(0.0), of(1000.0), atol=1e-8)


def test_rise_masks_are_enlarged_grids_with_random_shifts(rng):
    masks = perturbation.rise_masks(rng, 400, (8, 12), 4, 0.3)
    assert masks.shape == (400, 8, 12)
    assert masks.min() >= 0 and masks.max() <= 1
    assert masks.mean() == pytest.approx(0.3, abs=0.02)
    # Neighbours are alike, distant pixels are not.
    near = np.corrcoef(masks[:, 3, 4], masks[:, 3, 5])[0, 1]
    far = np.corrcoef(masks[:, 0, 0], masks[:, 7, 11])[0, 1]
    assert near > 0.8
    assert abs(far) < 0.2


def test_kernel_shap_of_a_linear_score_is_exact(linear, image, baseline, weights, rng):
    segments = shapley.grid_segments(SIZE, 2, 3)
    got = shapley.kernel_shap(linear, image, baseline, segments, rng, samples=24)
    contributions = (weights * (image - baseline)).sum(axis=-1)
    expected = np.bincount(segments.ravel(), contributions.ravel())
    np.testing.assert_allclose(got, expected, atol=1e-5)


def permuted_values(game, number):
    """Shapley values by their definition: mean gain over all orders."""
    values = np.zeros(number)
    for order in itertools.permutations(range(number)):
        kept = np.zeros(number, bool)
        for part in order:
            before = game(kept)
            kept[part] = True
            values[part] += game(kept) - before
    return values / math.factorial(number)


def test_kernel_shap_of_all_coalitions_gives_the_values_of_their_definition(
    image, baseline, rng
):
    segments = shapley.grid_segments(SIZE, 2, 2)
    brightest = np.ones_like(image)

    def game(kept):
        # Parts 0 and 3 help only together; part 1 counts less beside part 2.
        return 3.0 * (kept[0] and kept[3]) + kept[1] * (2.0 - kept[2]) + 0.5 * kept[2]

    def score(images):
        tops = images[:, [0, 0, 5, 5], [0, 8, 0, 8], 0] > 0.5
        return np.array([game(kept) for kept in tops])

    got = shapley.kernel_shap(score, brightest, baseline, segments, rng)
    np.testing.assert_allclose(got, permuted_values(game, 4), atol=1e-6)


def test_sampled_kernel_shap_is_near_and_sums_to_the_difference(baseline, image):
    segments = shapley.grid_segments(SIZE, 3, 3)
    parts = np.ones_like(image)

    def score(images):
        kept = images[:, ::2, ::3, 0].reshape(len(images), -1) > 0.5
        return kept @ np.arange(9.0) + 4.0 * kept[:, 0] * kept[:, 8]

    expected = np.arange(9.0)
    expected[[0, 8]] += 2.0
    got = shapley.kernel_shap(
        score, parts, baseline, segments, np.random.default_rng(1), samples=300
    )
    np.testing.assert_allclose(got, expected, atol=0.5)
    assert got.sum() == pytest.approx(40.0)


def test_a_grid_covers_the_image_with_nearly_equal_parts():
    segments = shapley.grid_segments((7, 10), 2, 3)
    counts = np.bincount(segments.ravel())
    assert len(counts) == 6
    assert counts.sum() == 70
    np.testing.assert_array_equal(segments[0], [0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    np.testing.assert_array_equal(segments[:, 0], [0, 0, 0, 0, 3, 3, 3])
