import jax
import numpy as np
import pytest
from scipy import ndimage

from jaxvision.image import masks

KEYS = jax.random.split(jax.random.key(0), 400)
box = jax.jit(masks.box, static_argnums=(1, 2))
free_form = jax.jit(masks.free_form, static_argnums=(1, 2))


@pytest.mark.parametrize('hole', [0, 1, 6])
def test_a_box_is_a_square_inside_the_image(hole):
    every = np.asarray(jax.vmap(lambda key: box(key, (6, 9), hole))(KEYS[:32]))
    assert every.shape == (32, 6, 9, 1) and every.dtype == bool
    np.testing.assert_array_equal(every.any(2).sum(1), hole)
    np.testing.assert_array_equal(every.any(1).sum(1), hole)
    np.testing.assert_array_equal(every.sum((1, 2, 3)), hole**2)


def test_all_positions_of_a_box_are_equally_likely():
    every = np.asarray(jax.vmap(lambda key: box(key, (6, 5), 3))(KEYS))[..., 0]
    corners = np.stack([every.any(2).argmax(1), every.any(1).argmax(1)], 1)
    counts = np.unique(corners, axis=0, return_counts=True)[1]
    assert len(counts) == 4 * 3
    assert abs(counts - 400 / 12).max() < 4 * np.sqrt(400 / 12)


def test_a_border_is_a_margin_on_all_sides():
    mask = np.asarray(masks.border((7, 9), 2))[..., 0]
    expected = np.ones((7, 9), bool)
    expected[2:-2, 2:-2] = False
    np.testing.assert_array_equal(mask, expected)
    assert not np.asarray(masks.border((7, 9), 0)).any()


@pytest.mark.parametrize('fraction', [0.0, 0.25, 1.0])
def test_a_free_form_hole_has_exactly_its_fraction(fraction):
    every = jax.jit(jax.vmap(lambda key: masks.free_form(key, (40, 17), fraction)))(
        KEYS[:32]
    )
    assert every.shape == (32, 40, 17, 1) and every.dtype == bool
    np.testing.assert_array_equal(every.sum((1, 2, 3)), round(fraction * 40 * 17))


def test_free_form_holes_are_a_few_strokes_of_a_wide_brush():
    draw = jax.jit(jax.vmap(lambda key: masks.free_form(key, (96, 96), 0.25)))
    disk = (
        np.hypot(*np.mgrid[-2:3, -2:3]) <= 2
    )  # the thinnest brush is 96 * 12 / 256 pixels wide
    for mask in np.asarray(draw(KEYS[:16]))[..., 0]:
        assert ndimage.label(mask, np.ones((3, 3)))[1] <= masks.STROKES
        painted = ndimage.binary_opening(np.pad(mask, 4, 'edge'), disk)[4:-4, 4:-4]
        assert painted.sum() > 0.97 * mask.sum()


def test_a_larger_fraction_continues_the_same_strokes():
    small, large = (
        np.asarray(free_form(KEYS[0], (64, 64), fraction)) for fraction in (0.1, 0.3)
    )
    assert not (small & ~large).any()


@pytest.mark.parametrize('name', ['box', 'free_form'])
def test_a_batch_equals_its_single_masks(name):
    draw = {
        'box': lambda key: box(key, (12, 9), 4),
        'free_form': lambda key: free_form(key, (32, 24), 0.25),
    }[name]
    batch = np.asarray(jax.jit(jax.vmap(draw))(KEYS[:5]))
    for key, mask in zip(KEYS[: len(batch)], batch, strict=True):
        np.testing.assert_array_equal(draw(key), mask)
    assert len(np.unique(batch, axis=0)) > 2


@pytest.mark.parametrize(
    'call, message',
    [
        (lambda: masks.box(KEYS[0], (8, 9), 9), 'hole=9: expected 0 to 8 pixels'),
        (lambda: masks.border((8, 9), 4), 'margin=4: expected less than half'),
        (
            lambda: masks.free_form(KEYS[0], (8, 9), 1.5),
            'fraction=1.5: expected 0 to 1',
        ),
    ],
)
def test_impossible_holes_are_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_mask_is_the_same_in_double_precision():
    single = np.asarray(free_form(KEYS[1], (32, 32), 0.25))
    with jax.enable_x64(True):
        np.testing.assert_array_equal(free_form(KEYS[1], (32, 32), 0.25), single)
