import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax
from sklearn.metrics import log_loss

from jaxvision.losses import classification as losses


def arrays(seed, batch=6, classes=4):
    rng = np.random.default_rng(seed)
    logits = 5 * rng.normal(size=(batch, classes)).astype(np.float32)
    return logits, rng.dirichlet(np.ones(classes), batch).astype(np.float32)


@pytest.mark.parametrize('transform', [lambda f: f, jax.jit])
def test_softmax_cross_entropy_equals_scipy(transform):
    logits, targets = arrays(0)
    got = transform(losses.softmax_cross_entropy)(jnp.array(logits), jnp.array(targets))
    np.testing.assert_allclose(
        got, -(targets * log_softmax(logits, axis=-1)).sum(-1), rtol=1e-5
    )


def test_softmax_cross_entropy_of_one_hot_targets_equals_scikit_learn():
    logits, _ = arrays(1)
    labels = np.array([0, 3, 1, 1, 2, 0])
    targets = losses.one_hot_targets(jnp.array(labels), 4)
    got = losses.softmax_cross_entropy(jnp.array(logits), targets)
    probabilities = np.exp(log_softmax(logits.astype(np.float64), axis=-1))
    assert float(got.mean()) == pytest.approx(log_loss(labels, probabilities), rel=1e-5)


def test_sigmoid_cross_entropy_is_the_mean_over_classes():
    logits, targets = arrays(2)
    chance = expit(logits.astype(np.float64))
    expected = -(targets * np.log(chance) + (1 - targets) * np.log1p(-chance)).mean(-1)
    got = losses.sigmoid_cross_entropy(jnp.array(logits), jnp.array(targets))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize(
    'loss', [losses.softmax_cross_entropy, losses.sigmoid_cross_entropy]
)
def test_large_logits_stay_finite_and_keep_their_gradient(loss):
    logits, targets = jnp.array([[1e4, -1e4]]), jnp.array([[0.0, 1.0]])
    value, gradient = jax.value_and_grad(lambda x: loss(x, targets).sum())(logits)
    terms = 1 if loss is losses.softmax_cross_entropy else 2
    assert float(value) == pytest.approx(2e4 / terms)
    np.testing.assert_allclose(gradient, [[1 / terms, -1 / terms]])


@pytest.mark.parametrize(
    'loss', [losses.softmax_cross_entropy, losses.sigmoid_cross_entropy]
)
def test_bfloat16_logits_lose_no_precision_in_the_loss(loss):
    logits, targets = map(jnp.array, arrays(3, classes=1000))
    rounded = logits.astype(jnp.bfloat16)
    got = loss(rounded, targets)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(
        got, loss(rounded.astype(jnp.float32), targets), rtol=1e-6
    )


@pytest.mark.parametrize(
    'loss', [losses.softmax_cross_entropy, losses.sigmoid_cross_entropy]
)
def test_float64_stays_float64(loss):
    with jax.enable_x64(True):
        logits, targets = (jnp.array(array, jnp.float64) for array in arrays(4))
        assert loss(logits, targets).dtype == jnp.float64


def test_label_smoothing_of_four_classes():
    got = losses.one_hot_targets(jnp.array([2, 0]), 4, smoothing=0.1)
    np.testing.assert_allclose(
        got, [[0.025, 0.025, 0.925, 0.025], [0.925, 0.025, 0.025, 0.025]]
    )


# A shape of the targets for each number of classes.
@settings(max_examples=50, deadline=None)
@given(st.sampled_from([1, 2, 7, 50]), st.floats(0, 0.99), st.integers(0, 2**16))
def test_smoothed_targets_are_probabilities_that_keep_the_label(
    classes, smoothing, seed
):
    labels = np.random.default_rng(seed).integers(0, classes, 5)
    targets = losses.one_hot_targets(jnp.array(labels), classes, smoothing)
    np.testing.assert_allclose(targets.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(targets.argmax(-1), labels)


@pytest.mark.parametrize('smoothing', [-0.1, 1.0])
def test_smoothing_outside_its_range_is_an_error(smoothing):
    with pytest.raises(ValueError, match=r'smoothing=.*expected a number in \[0, 1\)'):
        losses.one_hot_targets(jnp.array([0]), 2, smoothing)


@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float32])
def test_targets_have_the_dtype_asked_for(dtype):
    assert losses.one_hot_targets(jnp.array([1]), 3, 0.1, dtype).dtype == dtype
