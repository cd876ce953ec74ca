"""Losses of adversarial training equal NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax, rel_entr, softmax

from jaxvision.losses import robust


def arrays(seed=0, batch=6, classes=4):
    rng = np.random.default_rng(seed)
    original, perturbed = 3 * rng.normal(size=(2, batch, classes)).astype(np.float32)
    return original, perturbed, rng.integers(0, classes, batch)


def test_the_divergence_equals_scipy():
    original, perturbed, _ = arrays()
    expected = rel_entr(softmax(original, -1), softmax(perturbed, -1)).sum(-1)
    actual = robust.divergence(jnp.array(original), jnp.array(perturbed))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)
    same = robust.divergence(jnp.array(original), jnp.array(original))
    np.testing.assert_allclose(same, 0, atol=1e-6)


def test_the_boosted_cross_entropy_equals_its_definition():
    _, perturbed, labels = arrays(1)
    probabilities = softmax(perturbed.astype(np.float64), -1)
    rows = np.arange(len(labels))
    others = probabilities.copy()
    others[rows, labels] = 0
    expected = -np.log(probabilities[rows, labels]) - np.log(1 - others.max(-1))
    actual = robust.boosted_cross_entropy(jnp.array(perturbed), jnp.array(labels))
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_confident_mistakes_keep_a_finite_loss_and_gradient():
    logits = jnp.array([[0.0, 200.0, 0.0]])
    value, gradient = jax.value_and_grad(
        lambda x: robust.boosted_cross_entropy(x, jnp.array([0])).sum()
    )(logits)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    assert gradient[0, 0] < 0 < gradient[0, 1]


def test_weights_are_the_probability_of_an_error():
    original, _, labels = arrays(2)
    chosen = np.exp(log_softmax(original, -1))[np.arange(len(labels)), labels]
    actual = robust.misclassification_weights(jnp.array(original), jnp.array(labels))
    np.testing.assert_allclose(actual, 1 - chosen, rtol=1e-4, atol=1e-6)
