import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.attribution import (
    cam,
    gradients,
    intermediates,
    measures,
    perturbation,
    scores,
    shapley,
)

SIZE = (12, 18)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def image(rng):
    return rng.random((*SIZE, 3)).astype(np.float32)


@pytest.fixture
def region():
    """A region that is not in the centre."""
    mask = np.zeros(SIZE, bool)
    mask[2:5, 11:16] = True
    return mask


@pytest.fixture
def planted(region):
    """A score that depends on the region alone: the planted model."""

    @jax.jit
    def score(images):
        return (images[:, 2:5, 11:16] ** 2).sum(axis=(1, 2, 3))

    return score


def explanations(score, image):
    """The map of each method for the score of one image."""
    images = jnp.asarray(image)[None]
    baseline = np.zeros_like(image)
    rng = np.random.default_rng(0)
    keys = jax.random.split(jax.random.key(0), 1)
    segments = shapley.grid_segments(SIZE, 4, 6)

    def network(images):
        maps = images**2
        inside = jnp.zeros(SIZE).at[2:5, 11:16].set(1.0)
        pooled = (maps * inside[..., None]).sum(axis=(1, 2))
        return pooled.sum(axis=1), {'maps': maps}

    layer = intermediates.layer_gradient(network, images, 'maps', lambda x: x)
    blank = jnp.zeros_like(images)
    integrated = gradients.integrated_gradients(score, images, blank, 8)
    options = dict(window=(3, 3), stride=(1, 1))
    return {
        'gradient': gradients.gradient(score, images)[0].sum(axis=-1),
        'input_x_gradient': gradients.input_x_gradient(score, images)[0].sum(-1),
        'smooth_grad': gradients.smooth_grad(score, images, keys)[0].sum(axis=-1),
        'integrated_gradients': integrated.attribution[0].sum(axis=-1),
        'hires_cam': cam.hires_cam(layer.activations, layer.gradients)[0],
        'occlusion': perturbation.occlusion(score, image, baseline, **options),
        'rise': perturbation.rise(
            score, image, baseline, rng, masks=600, cells=5, batch=100
        ),
        'shapley': shapley.kernel_shap(
            score, image, baseline, segments, rng, samples=600, batch=100
        )[segments],
    }


def test_every_method_points_at_a_planted_region(planted, image, region):
    # The methods on grids may spread over the border of their cells.
    bright = np.maximum(image, 0.6)
    maps = explanations(planted, bright)
    hits = {
        name: measures.pointing_game(np.asarray(map_), region)
        for name, map_ in maps.items()
    }
    cells = hits.pop('shapley')
    assert hits == dict.fromkeys(hits, 1.0)
    # A part of the grid is rows 3 to 5 and columns 12 to 14, of which the region has two rows.
    assert cells == pytest.approx(2 / 3)
    exact = np.asarray(maps['integrated_gradients'])
    assert measures.energy_inside(exact, region) == 1.0


def test_a_constant_map_points_inside_as_often_as_chance(region):
    fraction = region.mean()
    constant = np.ones(SIZE)
    assert measures.pointing_game(constant, region) == pytest.approx(fraction)
    assert measures.energy_inside(constant, region) == pytest.approx(fraction)
    assert measures.energy_inside(-constant, region) == pytest.approx(fraction)


def test_energy_counts_positive_values_only(region):
    map_ = np.where(region, 3.0, -5.0)
    map_[0, 0] = 9.0
    expected = 3.0 * region.sum() / (3.0 * region.sum() + 9.0)
    assert measures.energy_inside(map_, region) == pytest.approx(expected)


def linear_score(weights):
    return lambda images: np.einsum('bhwc,hwc->b', images, weights)


@pytest.fixture
def weights(rng):
    return rng.normal(size=(*SIZE, 3))


def test_the_true_order_deletes_fastest_and_inserts_fastest(image, weights, rng):
    score = linear_score(weights)
    blank = np.zeros_like(image)
    exact = (weights * image).sum(axis=-1)
    # The area of the best order: means of the sums of the largest contributions.
    falling = np.cumsum(np.sort(exact.ravel())[::-1])
    inserted = np.concatenate([[0.0], falling])[:: len(falling) // 12]
    best = measures.insertion(score, image, blank, exact, rng, steps=12)
    np.testing.assert_allclose(best.scores, inserted, atol=1e-3)
    np.testing.assert_allclose(best.fractions, np.arange(13) / 12)
    assert best.area == pytest.approx(np.trapezoid(inserted, dx=1 / 12), rel=1e-4)
    deleted = measures.deletion(score, image, blank, exact, rng, steps=12)
    np.testing.assert_allclose(deleted.scores, falling[-1] - inserted, atol=1e-3)
    for other in (rng.normal(size=SIZE), -exact):
        assert measures.insertion(score, image, blank, other, rng).area < best.area
        assert measures.deletion(score, image, blank, other, rng).area > deleted.area


def test_equal_pixels_are_deleted_in_random_order(image):
    """An order of rows would delete the upper half first."""

    def upper_half(images):
        return images[:, :6].sum(axis=(1, 2, 3)) / image[:6].sum()

    curve = measures.deletion(
        upper_half,
        image,
        np.zeros_like(image),
        np.zeros(SIZE),
        np.random.default_rng(0),
        steps=4,
    )
    np.testing.assert_allclose(curve.scores, [1, 0.75, 0.5, 0.25, 0], atol=0.12)


def test_infidelity_is_0_for_a_linear_score_and_1_for_a_map_of_nothing(
    image, weights, rng
):
    score = linear_score(weights)
    blank = np.full_like(image, 0.5)
    exact = (weights * (image - blank)).sum(axis=-1)

    def of(map_):
        return measures.infidelity(score, image, blank, map_, rng, samples=200)

    assert of(exact) == pytest.approx(0.0, abs=1e-6)
    # The scale of a map does not matter.
    assert of(1000 * exact) == pytest.approx(0.0, abs=1e-6)
    assert of(np.zeros(SIZE)) == 1.0
    assert of(rng.normal(size=SIZE)) > 0.5


def test_rank_correlation_is_that_of_absolute_values(rng):
    map_ = rng.normal(size=SIZE)
    assert measures.rank_correlation(map_, -2 * map_) == pytest.approx(1.0)
    assert measures.rank_correlation(map_, 1 / map_) == pytest.approx(-1.0)
    assert abs(measures.rank_correlation(map_, rng.normal(size=SIZE))) < 0.25
    assert measures.rank_correlation(map_, np.ones(SIZE)) == 0.0


def test_baseline_maps_say_nothing_of_the_model(image):
    center = measures.center_map(SIZE)
    assert center.argmax() in (5 * 18 + 8, 5 * 18 + 9, 6 * 18 + 8, 6 * 18 + 9)
    np.testing.assert_allclose(center, center[::-1, ::-1])
    grey = np.full((*SIZE, 3), 0.5, np.float32)
    grey[3, 4] = 0.9
    bright = measures.brightness_map(grey)
    assert bright[3, 4] == pytest.approx(1.2)
    assert (bright > 0).sum() == 1


# The randomisation test: a small network with deep ReLUs, trained or with other parameters.


def backbone(params, images, relu):
    maps = images
    for kernel in params['kernels']:
        maps = relu(
            jax.lax.conv_general_dilated(
                maps, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
            )
        )
    return maps


def network_with(relu):
    def network(params, images):
        maps = backbone(params, images, relu)
        return maps.mean(axis=(1, 2)) @ params['head'], {'maps': maps}

    return network


@jax.custom_vjp
def guided_relu(x):
    return jax.nn.relu(x)


def _forward(x):
    return guided_relu(x), x


def _backward(x, cotangent):
    """Guided backpropagation: only positive gradients pass (Springenberg et al. 2014)."""
    return (jnp.where((x > 0) & (cotangent > 0), cotangent, 0.0),)


guided_relu.defvjp(_forward, _backward)


def random_params(seed):
    rng = np.random.default_rng(seed)
    widths = (1, 16, 16, 16, 16)
    kernels = [
        rng.normal(size=(3, 3, before, after)) * np.sqrt(2 / (9 * before))
        for before, after in zip(widths, widths[1:], strict=False)
    ]
    head = rng.normal(size=(16, 4))
    return {
        'kernels': [jnp.asarray(kernel, jnp.float32) for kernel in kernels],
        'head': jnp.asarray(head, jnp.float32),
    }


@pytest.fixture(scope='module')
def discs():
    """Images with edges, each once for each of four classes."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:20, :28]
    pictures = []
    for _ in range(2):
        picture = 0.05 * rng.random((20, 28))
        for _ in range(3):
            row, column, radius = rng.uniform((4, 4, 2), (16, 24, 6))
            is_inside = np.hypot(rows - row, columns - column) < radius
            picture = np.where(is_inside, rng.uniform(0.4, 1), picture)
        pictures.append(picture)
    images = jnp.asarray(np.array(pictures)[..., None], jnp.float32)
    return images.repeat(4, axis=0)


def correlations(relu, explain, discs):
    """Correlation of the maps with those of other parameters.

    The mean over all pairs of six networks, over images and over classes.
    """

    @jax.jit
    def maps_of(params):
        return explain(functools.partial(network_with(relu), params), discs)

    maps = [np.asarray(maps_of(random_params(seed))) for seed in range(6)]
    values = []
    for ones, others in itertools.combinations(maps, 2):
        pairs = zip(ones, others, strict=True)
        values += [measures.rank_correlation(one, other) for one, other in pairs]
    return np.mean(values)


def class_logits(logits):
    return scores.of_class(logits, jnp.arange(8) % 4)


def by_gradient(network, images):
    def score(images):
        return class_logits(network(images)[0])

    return gradients.gradient(score, images).sum(axis=-1)


def by_grad_cam(network, images):
    layer = intermediates.layer_gradient(network, images, 'maps', class_logits)
    return cam.grad_cam(layer.activations, layer.gradients)


def test_gradients_and_grad_cam_pass_the_randomisation_test(discs):
    assert abs(correlations(jax.nn.relu, by_gradient, discs)) < 0.2
    assert abs(correlations(jax.nn.relu, by_grad_cam, discs)) < 0.3


def test_guided_backpropagation_fails_the_randomisation_test(discs):
    assert correlations(guided_relu, by_gradient, discs) > 0.6


def test_a_cascade_replaces_one_module_after_the_other():
    trained = {'head': 1, 'stage2': 2, 'stage1': 3}
    random = {'head': -1, 'stage2': -2, 'stage1': -3}
    steps = list(measures.cascade(trained, random, ['head', 'stage2']))
    assert steps == [
        {'head': -1, 'stage2': 2, 'stage1': 3},
        {'head': -1, 'stage2': -2, 'stage1': 3},
    ]
    assert trained['head'] == 1
