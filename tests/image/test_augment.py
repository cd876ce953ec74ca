import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage, stats

from jaxvision.image import augment

KEYS = jax.random.split(jax.random.key(0), 256)


def warp(image, matrix, shift=(0, 0)):
    """Output -> input about the centre, (y, x), grey outside."""
    centre = (np.array(image.shape[:2]) - 1) / 2
    offset = centre + shift - matrix @ centre
    planes = [
        ndimage.affine_transform(
            plane, matrix, offset, order=1, mode='grid-constant', cval=0.5
        )
        for plane in np.moveaxis(image / 255, -1, 0)
    ]
    return np.stack(planes, -1)


def randaugment_references(image, strength):
    """Every outcome of one operation: scipy's maps, Pillow's colours."""
    height, width, _ = image.shape
    picture = Image.fromarray(image)
    colored = {
        'identity': picture,
        'autocontrast': ImageOps.autocontrast(picture),
        'equalize': ImageOps.equalize(picture),
        'solarize': ImageOps.solarize(picture, int(np.ceil(256 * (1 - strength)))),
        'posterize': ImageOps.posterize(picture, 8 - round(4 * strength)),
    }
    warped = {}
    for sign in (-1, 1):
        angle, shear = np.deg2rad(30 * strength * sign), 0.3 * strength * sign
        cos, sin, move = np.cos(angle), np.sin(angle), 150 / 331 * strength * sign
        warped['rotate', sign] = warp(image, np.array([[cos, sin], [-sin, cos]]))
        warped['shear x', sign] = warp(image, np.array([[1, 0], [shear, 1]]))
        warped['shear y', sign] = warp(image, np.array([[1, shear], [0, 1]]))
        warped['translate x', sign] = warp(image, np.eye(2), (0, move * width))
        warped['translate y', sign] = warp(image, np.eye(2), (move * height, 0))
        for enhance in ('Color', 'Contrast', 'Brightness', 'Sharpness'):
            enhancer = getattr(ImageEnhance, enhance)(picture)
            colored[enhance, sign] = enhancer.enhance(1 + 0.9 * strength * sign)
    return {name: np.asarray(p) / 255 for name, p in colored.items()} | warped


def closest(image, references, layers):
    """For each key the reference nearest to its outcome, and the largest difference."""
    randaugment = jax.jit(
        jax.vmap(lambda key, x: augment.randaugment(key, x, layers, 7), (0, None))
    )
    for augmented in np.asarray(randaugment(KEYS, jnp.array(image / 255, jnp.float32))):
        distance = {
            name: np.abs(augmented - ref).max() for name, ref in references.items()
        }
        name = min(distance, key=distance.get)
        yield name, distance[name]


def test_randaugment_applies_all_its_operations_and_no_other():
    image = np.random.default_rng(0).integers(40, 220, (16, 20, 3), np.uint8)
    references = randaugment_references(image, 0.7)
    seen = {name: error for name, error in closest(image, references, layers=1)}
    assert max(seen.values()) < 2.01 / 255, seen
    assert set(seen) == set(references)
    # Two layers leave one operation's mark where the other was the identity, or did nothing more.
    errors = np.array([error for _, error in closest(image, references, layers=2)])
    assert 0.05 < (errors < 2.01 / 255).mean() < 0.4


@pytest.mark.parametrize('magnitude', [-1, 10.5])
def test_randaugment_with_a_magnitude_out_of_range_is_an_error(magnitude):
    with pytest.raises(
        ValueError, match=r'magnitude=.*: expected a number in \[0, 10\]'
    ):
        augment.randaugment(KEYS[0], jnp.zeros((4, 4, 1)), 2, magnitude)


def rectangle(mask):
    """(height, width) of the box that the mask is."""
    rows, columns = mask.any(1), mask.any(0)
    np.testing.assert_array_equal(mask, rows[:, None] & columns)
    for line in (rows, columns):
        assert (np.diff(np.flatnonzero(line)) == 1).all()
    return rows.sum(), columns.sum()


def test_cutout_fills_one_square_that_may_cross_the_border():
    image = jnp.zeros((12, 10, 2))
    cut = jax.jit(jax.vmap(lambda key: augment.cutout(key, image, 5, 0.75)))(KEYS)
    assert set(np.unique(cut)) == {0, 0.75}
    sizes = {rectangle(mask) for mask in np.asarray(cut[..., 0] == 0.75)}
    # At least the centre's side of the square is inside: 5 pixels, 2 before the centre, 2 after.
    assert sizes == {(h, w) for h in (3, 4, 5) for w in (3, 4, 5)}


mixup = jax.jit(augment.mixup, static_argnums=3)
cutmix = jax.jit(augment.cutmix, static_argnums=3)
IMAGES = jnp.array(np.random.default_rng(0).random((256, 12, 24, 1)), jnp.float32)
TARGETS = jax.nn.one_hot(jnp.arange(256), 256)
PARTNER = np.arange(256) ^ 1


def own_share(targets):
    return np.asarray(targets)[np.arange(256), np.arange(256)]


def test_mixup_mixes_images_and_targets_by_the_same_fraction():
    images, targets = mixup(KEYS, IMAGES, TARGETS, 0.4)
    share = own_share(targets)
    np.testing.assert_array_equal(share[::2], share[1::2])
    assert stats.kstest(share[::2], stats.beta(0.4, 0.4).cdf).pvalue > 0.01
    lam = share[:, None, None, None]
    expected = lam * IMAGES + (1 - lam) * IMAGES[PARTNER]
    np.testing.assert_allclose(images, expected, atol=1e-6)
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)


def test_cutmix_pastes_a_box_and_mixes_targets_by_its_area():
    images, targets = cutmix(KEYS, IMAGES, TARGETS, 1.0)
    pasted = np.asarray(images != IMAGES)
    np.testing.assert_array_equal(images, jnp.where(pasted, IMAGES[PARTNER], IMAGES))
    np.testing.assert_allclose(
        own_share(targets), 1 - pasted.mean((1, 2, 3)), atol=1e-6
    )
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(pasted[::2], pasted[1::2])
    assert len({rectangle(mask) for mask in pasted[..., 0]}) > 10


def simulated_cutmix_areas(height, width, number):
    """The share of the image that the paper's box covers, lam ~ Beta(1, 1), in plain numpy."""
    rng = np.random.default_rng(0)
    for lam in rng.random(number):
        h, w = int(height * np.sqrt(1 - lam)), int(width * np.sqrt(1 - lam))
        y, x = rng.integers(height) - h // 2, rng.integers(width) - w // 2
        inside = (min(y + h, height) - max(y, 0)) * (min(x + w, width) - max(x, 0))
        yield inside / (height * width)


def test_cutmix_box_has_the_area_of_the_paper_and_the_ratio_of_the_image():
    images = jnp.zeros_like(IMAGES).at[1::2].set(1)
    cut = np.asarray(cutmix(KEYS, images, TARGETS, 1.0)[0])[::2, ..., 0] == 1
    inner = [
        mask for mask in cut if not (mask[[0, -1]].any() or mask[:, [0, -1]].any())
    ]
    sizes = np.array([rectangle(mask) for mask in inner])
    assert len(sizes) > 10
    assert np.abs(sizes[:, 1] - 2 * sizes[:, 0]).max() <= 1
    areas = list(simulated_cutmix_areas(12, 24, 5000))
    assert stats.ks_2samp(cut.mean((1, 2)), areas).pvalue > 0.01


@pytest.mark.parametrize('mix, alpha', [(mixup, 0.4), (cutmix, 1.0)])
def test_mixing_depends_on_pairs_alone_and_keeps_equal_neighbours(mix, alpha):
    images, targets = mix(KEYS, IMAGES, TARGETS, alpha)
    moved = np.roll(np.arange(256), 6)
    moved_images, moved_targets = mix(KEYS[moved], IMAGES[moved], TARGETS[moved], alpha)
    np.testing.assert_array_equal(moved_images, images[moved])
    np.testing.assert_array_equal(moved_targets, targets[moved])
    twice, targets = mix(
        KEYS, IMAGES.repeat(2, 0)[:256], TARGETS.repeat(2, 0)[:256], alpha
    )
    np.testing.assert_allclose(twice, IMAGES.repeat(2, 0)[:256], atol=1e-6)
    np.testing.assert_allclose(targets, TARGETS.repeat(2, 0)[:256], atol=1e-6)


@pytest.mark.parametrize('mix', [augment.mixup, augment.cutmix])
def test_mixing_an_odd_batch_or_with_zero_alpha_is_an_error(mix):
    with pytest.raises(ValueError, match='mixed in pairs, but the batch has 3'):
        mix(KEYS[:3], IMAGES[:3], TARGETS[:3], 1.0)
    with pytest.raises(ValueError, match='alpha=.*: expected a number above 0'):
        mix(KEYS[:2], IMAGES[:2], TARGETS[:2], 0.0)
