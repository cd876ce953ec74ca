"""Square: squares that change nothing cost no query, and change no result."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.attacks import square

pytestmark = pytest.mark.usefixtures('float64')

STEPS = 40
EPS = 0.2


def _logits(calls, weights, images):
    jax.debug.callback(calls.append, 1)
    hidden = jnp.tanh((images.reshape(len(images), -1) - 0.5) @ weights)
    return jnp.stack([hidden.sum(-1) + 9, hidden[:, 0]], -1)


def test_squares_that_change_no_pixel_are_skipped_without_a_query():
    rng = np.random.default_rng(0)
    images = np.rint(rng.uniform(size=(3, 4, 4, 1)))
    weights = jnp.asarray(rng.normal(size=(16, 3)))
    labels = jnp.zeros(3, jnp.int32)
    keys = jax.vmap(jax.random.key)(jnp.arange(3))
    calls = []
    logits = functools.partial(_logits, calls, weights)
    attacked = square.square(
        logits, jnp.asarray(images), labels, keys, eps=EPS, steps=STEPS
    )
    jax.effects_barrier()
    queries = len(calls) - 2
    expected, changes = _one_by_one(np.asarray(weights), images, keys)
    np.testing.assert_allclose(attacked.images, expected, atol=1e-12)
    assert not attacked.success.any()
    # A batch goes on until its last image has taken all steps.
    assert max(changes) <= queries < STEPS


def _one_by_one(weights, images, keys):
    """Take every step, and count the squares that change a pixel of each image."""
    sides = jnp.asarray(square.square_sides(STEPS, 0.8, (4, 4), 'linf'))
    change = jax.jit(functools.partial(square._set_square, eps=EPS))
    expected = []
    changes = []
    for key, image in zip(keys, jnp.asarray(images), strict=True):
        stripes = square._stripes(
            jax.random.fold_in(key, 0), shape=image.shape, dtype=image.dtype
        )
        best = jnp.clip(image + EPS * stripes, 0, 1)
        count = 0
        for step, side in enumerate(sides):
            candidate = change(
                jax.random.fold_in(key, step + 1), image, best, side=side
            )
            count += not np.array_equal(candidate, best)
            if _margin(weights, candidate) > _margin(weights, best):
                best = candidate
        expected.append(best)
        changes.append(count)
    return np.stack(expected), changes


def _margin(weights, image):
    hidden = np.tanh((np.asarray(image).ravel() - 0.5) @ weights)
    return hidden[0] - hidden.sum() - 9


def test_the_type_of_labels_does_not_limit_the_steps():
    rng = np.random.default_rng(1)
    images = jnp.asarray(rng.uniform(size=(2, 4, 4, 1)))
    logits = functools.partial(_logits, [], jnp.asarray(rng.normal(size=(16, 3))))
    keys = jax.vmap(jax.random.key)(jnp.arange(2))

    def attacked(dtype):
        labels = jnp.zeros(2, dtype)
        return square.square(logits, images, labels, keys, eps=EPS, steps=200).images

    np.testing.assert_array_equal(attacked(jnp.int8), attacked(jnp.int32))
