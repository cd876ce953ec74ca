import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.linalg import spsolve

from jaxvision.image import fill

RNG = np.random.default_rng(0)
harmonic = jax.jit(fill.harmonic, static_argnames='sweeps')


def hole_in(height, width, *box):
    hole = np.zeros((height, width, 1), bool)
    hole[box] = True
    return jnp.asarray(hole)


def membrane(image, hole):
    """The hole's pixels, each the mean of its neighbours: one sparse system of equations."""
    height, width, _ = image.shape
    unknown = np.flatnonzero(hole)
    row_of = {pixel: row for row, pixel in enumerate(unknown)}
    entries, right = [], np.zeros((len(unknown), image.shape[-1]))
    for row, pixel in enumerate(unknown):
        y, x = divmod(pixel, width)
        around = [(y + dy, x + dx) for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))]
        around = [(y, x) for y, x in around if 0 <= y < height and 0 <= x < width]
        entries.append((len(around), row, row))
        for y, x in around:
            if hole[y, x]:
                entries.append((-1, row, row_of[y * width + x]))
            else:
                right[row] += image[y, x]
    values, rows, columns = zip(*entries)
    filled = image.copy().reshape(height * width, -1)
    filled[unknown] = spsolve(csr_array((values, (rows, columns))), right).reshape(right.shape)
    return filled.reshape(image.shape)


@pytest.mark.parametrize('hole', [
    hole_in(20, 17, slice(4, 13), slice(5, 12)), hole_in(20, 17, slice(0, 9), slice(9, 17))],
    ids=['inside', 'at the edge'])
def test_with_many_sweeps_it_is_the_membrane_over_the_hole(hole):
    image = jnp.asarray(RNG.random((20, 17, 2)), jnp.float32)
    wanted = membrane(np.asarray(image), np.asarray(hole))
    gap = lambda sweeps: np.abs(harmonic(image, hole, sweeps=sweeps) - wanted).max()
    assert gap(20) < 0.1
    assert gap(4) < 0.5 * gap(0)


def test_what_is_known_comes_back_to_the_bit_and_the_hole_does_not_matter():
    image = jnp.asarray(RNG.random((28, 28, 1)), jnp.float32)
    hole = hole_in(28, 28, slice(3, 15), slice(16, 28))
    filled = np.asarray(harmonic(image, hole))
    np.testing.assert_array_equal(filled[~np.asarray(hole)],
                                  np.asarray(image)[~np.asarray(hole)])
    np.testing.assert_array_equal(harmonic(jnp.where(hole, 9.0, image), hole), filled)
    assert filled.min() >= 0 and filled.max() <= 1


def test_a_plain_image_stays_plain_and_one_of_nothing_is_black():
    plain = jnp.full((9, 16, 3), 0.25)
    filled = harmonic(plain, hole_in(9, 16, slice(2, 9), slice(0, 15)))
    np.testing.assert_allclose(filled, 0.25, rtol=1e-6)
    nothing = harmonic(plain, jnp.ones((9, 16, 1), bool))
    np.testing.assert_array_equal(nothing, 0)


def test_a_batch_is_its_images_one_by_one():
    images = jnp.asarray(RNG.random((3, 11, 8, 2)), jnp.float32)
    holes = jnp.asarray(RNG.random((3, 11, 8, 1)) < 0.4)
    batch = jax.jit(jax.vmap(fill.harmonic))(images, holes)
    for i in range(3):
        np.testing.assert_allclose(batch[i], harmonic(images[i], holes[i]), atol=1e-6)
