import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from jaxvision.image import geometry

IMAGE = np.random.default_rng(0).random((7, 9, 2), np.float32)
KEYS = jax.random.split(jax.random.key(0), 300)
affine = jax.jit(geometry.affine, static_argnums=2)
rotate = jax.jit(geometry.rotate, static_argnums=2)
translate = jax.jit(geometry.translate, static_argnums=3)


def scipy_affine(image, matrix, fill):
    """Output -> input about the centre, as scipy counts from the corner."""
    centre = (np.array(image.shape[:2]) - 1) / 2
    offset = centre + matrix[:2, 2] - matrix[:2, :2] @ centre
    mode = 'nearest' if fill is None else 'grid-constant'
    planes = [
        ndimage.affine_transform(
            plane, matrix[:2, :2], offset, order=1, mode=mode, cval=fill or 0
        )
        for plane in np.moveaxis(image.astype(np.float64), -1, 0)
    ]
    return np.stack(planes, -1)


def test_flip_mirrors_left_and_right():
    flipped = geometry.flip_left_right(jnp.array(IMAGE))
    np.testing.assert_array_equal(flipped, IMAGE[:, ::-1])
    np.testing.assert_array_equal(geometry.flip_left_right(flipped), IMAGE)


@pytest.mark.parametrize('probability', [0.0, 0.25, 1.0])
def test_random_flip_has_its_probability(probability):
    flip = jax.jit(
        jax.vmap(lambda key: geometry.random_flip(key, jnp.array(IMAGE), probability))
    )
    images = np.asarray(flip(KEYS))
    flipped = (images == IMAGE[:, ::-1]).all((1, 2, 3))
    assert (flipped | (images == IMAGE).all((1, 2, 3))).all()
    assert flipped.mean() == pytest.approx(probability, abs=0.1 * (0 < probability < 1))


@settings(max_examples=40, deadline=None)
@given(st.integers(-12, 12), st.integers(-12, 12))
def test_translate_equals_padding_and_slicing(dy, dx):
    padded = np.pad(IMAGE, ((12, 12), (12, 12), (0, 0)), constant_values=0.25)
    expected = padded[12 - dy : 19 - dy, 12 - dx : 21 - dx]
    np.testing.assert_array_equal(translate(jnp.array(IMAGE), dy, dx, 0.25), expected)


def test_random_translate_reaches_every_shift_and_no_other():
    shift = jax.jit(
        jax.vmap(lambda key: geometry.random_translate(key, jnp.array(IMAGE), 1))
    )
    shifted = {image.tobytes() for image in np.asarray(shift(KEYS))}
    padded = np.pad(IMAGE, ((1, 1), (1, 1), (0, 0)))
    assert shifted == {
        padded[y : y + 7, x : x + 9].tobytes() for y in range(3) for x in range(3)
    }


@pytest.mark.parametrize('fill', [0.0, 0.5, None])
@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-2, 2, width=32), min_size=6, max_size=6))
def test_affine_equals_scipy(fill, numbers):
    matrix = np.array(numbers, np.float32).reshape(2, 3)
    expected = scipy_affine(IMAGE, matrix, fill)
    np.testing.assert_allclose(
        affine(jnp.array(IMAGE), matrix, fill), expected, atol=2e-5
    )


def test_affine_works_in_float64_and_with_a_3x3_matrix():
    matrix = np.array([[0.9, -0.4, 0.3], [0.2, 1.1, -1.7], [0, 0, 1]])
    image = IMAGE.astype(np.float64)
    with jax.enable_x64(True):
        ours = affine(jnp.array(image), jnp.array(matrix), 0.5)
        assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, scipy_affine(image, matrix, 0.5), atol=1e-12)


@pytest.mark.parametrize('degrees', [-30.0, 12.5, 100.0])
def test_rotate_equals_scipy(degrees):
    expected = ndimage.rotate(
        IMAGE.astype(np.float64), degrees, reshape=False, order=1, mode='grid-constant'
    )
    np.testing.assert_allclose(rotate(jnp.array(IMAGE), degrees), expected, atol=2e-5)


def test_rotation_is_counter_clockwise_and_a_full_turn_is_the_identity():
    square = IMAGE[:, :7]
    np.testing.assert_allclose(
        rotate(jnp.array(square), 90.0), np.rot90(square), atol=1e-5
    )
    np.testing.assert_allclose(rotate(jnp.array(IMAGE), 360.0, None), IMAGE, atol=1e-5)


def test_the_identity_is_exact():
    np.testing.assert_array_equal(
        affine(jnp.array(IMAGE), np.eye(3, dtype=np.float32)), IMAGE
    )


def test_random_rotate_stays_within_its_degrees():
    ramp = jnp.broadcast_to(jnp.arange(9.0)[:, None, None] / 8, (9, 9, 1))
    turn = jax.jit(jax.vmap(lambda key: geometry.random_rotate(key, ramp, 30.0, None)))
    centre = np.asarray(turn(KEYS))[:, 3:6, 3:6, 0]
    slope_y, slope_x = (
        centre[:, 2, 1] - centre[:, 0, 1],
        centre[:, 1, 2] - centre[:, 1, 0],
    )
    degrees = np.rad2deg(np.arctan2(slope_x, slope_y))
    assert np.abs(degrees).max() < 30.01
    assert degrees.min() < -28 and degrees.max() > 28
    assert abs(degrees.mean()) < 3


def test_shear_moves_the_rows_of_a_column_by_their_distance_from_the_centre():
    column = jnp.zeros((5, 5, 1)).at[:, 2].set(1)
    # (y, x) shows (y, x + y): the row above the centre shows what lies one pixel to its left.
    np.testing.assert_array_equal(
        geometry.shear(column, 0, 1)[..., 0], np.eye(5)[:, ::-1]
    )
    row = column.transpose(1, 0, 2)
    np.testing.assert_array_equal(geometry.shear(row, -1, 0)[..., 0], np.eye(5))


def test_translation_matrix_equals_translate():
    moved = affine(jnp.array(IMAGE), geometry.translation(2, -3))
    np.testing.assert_allclose(moved, translate(jnp.array(IMAGE), 2, -3), atol=1e-6)


def test_the_eight_dihedral_forms_are_equally_likely():
    image = jnp.arange(12.0).reshape(2, 2, 3)
    turned = [np.rot90(image, k) for k in range(4)]
    forms = [form.tobytes() for turn in turned for form in (turn, turn[:, ::-1])]
    keys = jax.random.split(jax.random.key(0), 800)
    turn = jax.jit(jax.vmap(geometry.random_dihedral, (0, None)))
    images = np.asarray(turn(keys, image))
    counts = np.bincount([forms.index(form.tobytes()) for form in images], minlength=8)
    assert counts.min() > 70 and counts.max() < 130
