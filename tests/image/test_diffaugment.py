import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxvision.image import augment

KEYS = jax.random.split(jax.random.key(0), 256)


def augmented(image, policy):
    """One outcome a key, [256, H, W, C]."""
    function = jax.jit(
        jax.vmap(lambda key, x: augment.diffaugment(key, x, policy), (0, None))
    )
    return np.asarray(function(KEYS, jnp.asarray(image, jnp.float32)))


def picture(height, width):
    return np.random.default_rng(height * width).random((height, width, 3))


def constant_ratio(outcomes, image):
    """The factor of each outcome to the image, which must be one for all pixels."""
    factors = (outcomes * image).sum((1, 2, 3)) / (image**2).sum()
    np.testing.assert_allclose(
        outcomes, factors[:, None, None, None] * image, atol=1e-5
    )
    return factors


def test_colour_has_the_distributions_of_the_paper():
    image = picture(8, 6)
    outcomes = augmented(image, 'color')
    grey, greys = image.mean(-1, keepdims=True), outcomes.mean(-1, keepdims=True)
    mean, means = image.mean(), outcomes.mean((1, 2, 3), keepdims=True)

    shift = means.squeeze() - mean
    contrast = constant_ratio(greys - means, grey - mean)
    saturation = constant_ratio(outcomes - greys, image - grey) / contrast
    for samples, low, width in (
        (2 * shift, -0.5, 1),
        (saturation, 0, 2),
        (contrast, 0.5, 1),
    ):
        assert stats.kstest(samples, stats.uniform(low, width).cdf).pvalue > 0.01
    assert abs(np.corrcoef([shift, saturation, contrast]) - np.eye(3)).max() < 0.2


def test_translation_pads_with_grey_and_shifts_up_to_an_eighth():
    image, height, width = picture(16, 24), 16, 24
    padded = np.pad(image, ((2, 2), (3, 3), (0, 0)), constant_values=0.5).astype(
        np.float32
    )
    shifted = {
        padded[y : y + height, x : x + width].tobytes()
        for y in range(5)
        for x in range(7)
    }
    assert {outcome.tobytes() for outcome in augmented(image, 'translation')} == shifted


@pytest.mark.parametrize(
    'height, width', [(6, 5), (7, 4)]
)  # halves that are even and odd
def test_cutout_has_half_the_sides_and_any_centre(height, width):
    """Every outcome of the authors' code, whose indices are clamped to the image."""
    image = picture(height, width).astype(np.float32)
    half_height, half_width = height // 2, width // 2
    expected = set()
    for y in range(height + 1 - half_height % 2):
        for x in range(width + 1 - half_width % 2):
            rows = np.clip(np.arange(half_height) + y - half_height // 2, 0, height - 1)
            columns = np.clip(np.arange(half_width) + x - half_width // 2, 0, width - 1)
            cut = image.copy()
            cut[np.ix_(rows, columns)] = 0.5
            expected.add(cut.tobytes())
    assert {outcome.tobytes() for outcome in augmented(image, 'cutout')} == expected


@pytest.mark.parametrize(
    'policy', ['color', 'translation', 'cutout', 'color,translation,cutout']
)
def test_a_key_defines_one_affine_map_with_an_exact_gradient(policy):
    with jax.enable_x64(True):
        a, b, weight = jnp.asarray(np.random.default_rng(0).random((3, 8, 8, 3)))

        @jax.jit
        @jax.value_and_grad
        def score(x):
            return (weight * augment.diffaugment(KEYS[1], x, policy)).sum()

        before, gradient = score(a)
        change = score(b)[0] - before
        assert float(jnp.abs(gradient).max()) > 0.1
        assert float((gradient * (b - a)).sum()) == pytest.approx(
            float(change), rel=1e-10
        )


def test_a_policy_applies_its_parts_in_order_and_may_be_empty():
    image, key = jnp.asarray(picture(8, 8), jnp.float32), KEYS[0]
    parts = augment.diffaugment(key, augment.diffaugment(key, image, 'cutout'), 'color')
    np.testing.assert_array_equal(
        augment.diffaugment(key, image, 'cutout,color'), parts
    )
    np.testing.assert_array_equal(augment.diffaugment(key, image, ''), image)


def test_an_unknown_policy_is_an_error_that_lists_the_known_ones():
    with pytest.raises(
        ValueError, match="'colour'; did you mean 'color'.*translation, cutout"
    ):
        augment.diffaugment(KEYS[0], jnp.zeros((8, 8, 3)), 'colour,cutout')
