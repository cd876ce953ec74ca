"""PGD on any loss of an image: closed forms of linear losses, and what may not change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.attacks import ascent, balls

SHAPE = (3, 4, 5, 2)
# Steps that reach the end of a ball at once.
LARGE = {'steps': 10, 'step_size': 0.25}


def linear(weights, images):
    return (weights * images).sum((1, 2, 3))


@pytest.fixture(scope='module')
def arguments():
    """(loss, images, keys), and the weights of the loss."""
    rng = np.random.default_rng(0)
    weights = jnp.asarray(rng.normal(size=SHAPE), jnp.float32)
    images = jnp.asarray(rng.uniform(0.3, 0.7, SHAPE), jnp.float32)
    keys = jax.random.split(jax.random.key(0), len(images))
    return (jax.tree_util.Partial(linear, weights), images, keys), weights


@pytest.mark.parametrize(('norm', 'order'), [('linf', 1), ('l2', 2)])
def test_a_linear_loss_rises_by_eps_times_the_dual_norm(arguments, norm, order):
    (loss, images, keys), weights = arguments
    result = ascent.ascend(loss, images, keys, eps=0.1, norm=norm, **LARGE)
    rise = result.losses - linear(weights, images)
    dual = np.linalg.norm(weights.reshape(len(images), -1), order, axis=1)
    np.testing.assert_allclose(rise, 0.1 * dual, rtol=1e-3)
    np.testing.assert_allclose(linear(weights, result.images), result.losses, rtol=1e-5)
    lengths = balls.distance(result.images, images, norm)
    np.testing.assert_allclose(lengths, 0.1, rtol=1e-4)


@pytest.mark.parametrize('norm', ['linf', 'l2'])
def test_padding_stays_as_it_is(arguments, norm):
    (loss, images, keys), weights = arguments
    free = jnp.zeros((*SHAPE[:3], 1), bool).at[:, 1:, :3].set(True)
    result = ascent.ascend(loss, images, keys, eps=0.1, norm=norm, free=free, **LARGE)
    change = np.where(free, 0, result.images - images)
    assert not change.any()
    order = 1 if norm == 'linf' else 2
    kept = np.where(free, weights, 0).reshape(len(images), -1)
    rise = result.losses - linear(weights, images)
    np.testing.assert_allclose(rise, 0.1 * np.linalg.norm(kept, order, 1), rtol=1e-3)


def ridge_and_cliff(images):
    """A narrow ridge, beyond which each step leads, and no number beside the image."""
    ridge, cliff = images.mean((1, 2, 3))
    return jnp.stack(
        [-jnp.square((ridge - 0.5) / 0.01), jnp.where(cliff == 0.5, 0.0, jnp.nan)]
    )


def test_the_best_image_is_kept_and_a_nan_is_no_best_one():
    images = jnp.full((2, 2, 2, 1), 0.5)
    keys = jax.random.split(jax.random.key(1), 2)
    loss = jax.tree_util.Partial(ridge_and_cliff)
    result = ascent.ascend(loss, images, keys, eps=0.1, steps=2, restarts=2)
    np.testing.assert_array_equal(result.images, images)
    np.testing.assert_array_equal(result.losses, 0)
