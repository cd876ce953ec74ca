import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import diags_array, eye_array, kron
from scipy.sparse.linalg import spsolve

from jaxvision.image import fill

RNG = np.random.default_rng(0)
thin_plate = jax.jit(fill.thin_plate, static_argnames=('stiffness', 'sweeps', 'cycles'))


def hole_in(height, width, *box):
    hole = np.zeros((height, width, 1), bool)
    hole[box] = True
    return jnp.asarray(hole)


def laplacian(size):
    """Negative second difference of a row of pixels, with repeated ends."""
    diagonal = np.r_[1, np.full(size - 2, 2), 1].astype(float)
    return diags_array(
        [diagonal, -np.ones(size - 1), -np.ones(size - 1)], offsets=[0, 1, -1]
    )


def solved(image, hole, stiffness):
    """(L + stiffness L^2) u = 0 in the hole, as one sparse system of equations."""
    height, width, channels = image.shape
    bend = kron(laplacian(height), eye_array(width)) + kron(
        eye_array(height), laplacian(width)
    )
    matrix = (bend + stiffness * bend @ bend).tocsr()
    unknown, known = np.flatnonzero(hole), np.flatnonzero(~hole)
    filled = image.astype(np.float64).reshape(height * width, channels)
    filled[unknown] = spsolve(
        matrix[unknown][:, unknown].tocsc(),
        -(matrix[unknown][:, known] @ filled[known]),
    )
    return filled.reshape(image.shape)


@pytest.mark.parametrize('stiffness', [0.0, 8.0])
def test_many_cycles_converge_to_the_exact_plate(stiffness):
    image = jnp.asarray(RNG.random((24, 21, 2)), jnp.float32)
    inside, at_the_edge = [slice(4, 15), slice(5, 16)], [slice(0, 9), slice(9, 21)]
    holes = jnp.stack([hole_in(24, 21, *box) for box in (inside, at_the_edge)])
    expected = [
        solved(np.asarray(image), np.asarray(hole), stiffness) for hole in holes
    ]

    def gap(**options):
        def fill_in(hole):
            return fill.thin_plate(image, hole, stiffness, **options)

        return np.abs(jax.vmap(fill_in)(holes) - np.stack(expected)).max()

    assert gap(sweeps=8, cycles=4) < 0.01
    assert gap() < 0.2


def test_known_pixels_stay_equal_and_values_in_the_hole_do_not_matter():
    image = jnp.asarray(RNG.random((28, 28, 1)), jnp.float32)
    hole = hole_in(28, 28, slice(3, 15), slice(16, 28))
    filled = np.asarray(thin_plate(image, hole))
    np.testing.assert_array_equal(
        filled[~np.asarray(hole)], np.asarray(image)[~np.asarray(hole)]
    )
    np.testing.assert_array_equal(thin_plate(jnp.where(hole, 9.0, image), hole), filled)


def test_a_constant_image_stays_constant_and_an_unknown_one_is_black():
    plain = jnp.full((9, 16, 3), 0.25)
    filled = thin_plate(plain, hole_in(9, 16, slice(2, 9), slice(0, 15)))
    np.testing.assert_allclose(filled, 0.25, rtol=1e-6)
    nothing = thin_plate(plain, jnp.ones((9, 16, 1), bool))
    np.testing.assert_array_equal(nothing, 0)


def test_a_batch_equals_its_single_images():
    images = jnp.asarray(RNG.random((3, 11, 8, 2)), jnp.float32)
    holes = jnp.asarray(RNG.random((3, 11, 8, 1)) < 0.4)
    batch = jax.jit(jax.vmap(fill.thin_plate))(images, holes)
    for i in range(3):
        np.testing.assert_allclose(batch[i], thin_plate(images[i], holes[i]), atol=1e-6)
