import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies
from sklearn.linear_model import LogisticRegression

from jaxvision.losses import probe


def problem(n=120, d=20, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, n)
    centres = rng.normal(size=(classes, d))
    scale = rng.uniform(0.1, 3, d)
    features = (centres[label] + rng.normal(size=(n, d))) * scale + rng.normal(
        size=d
    ) * 5
    return features.astype(np.float32), label


def standard(features):
    features = features.astype(np.float64)
    return (features - features.mean(0)) / np.sqrt(features.var(0).mean())


def log_softmax(logits):
    return (
        logits
        - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
        - logits.max(1, keepdims=True)
    )


@pytest.mark.parametrize('penalty', [1e-3, 1e-2, 1.0])
@pytest.mark.parametrize('n', [15, 120])  # fewer than features, and more
def test_it_is_scikit_learns_logistic_regression(n, penalty):
    features, label = problem(n)
    kernel, bias, loss = jax.jit(probe.fit)(
        features, np.eye(4, dtype=np.float32)[label], penalty
    )
    theirs = LogisticRegression(C=1 / (n * penalty), tol=1e-8, max_iter=10_000).fit(
        standard(features), label
    )
    entropy = -log_softmax(theirs.decision_function(standard(features)))[
        np.arange(n), label
    ].mean()
    wanted = entropy + penalty / 2 * np.square(theirs.coef_).sum()
    assert abs(loss - wanted) < 1e-4 * max(1, wanted)
    np.testing.assert_allclose(
        jax.nn.softmax(features @ kernel + bias),
        theirs.predict_proba(standard(features)),
        atol=2e-3,
    )


def test_of_several_labels_it_is_a_regression_each():
    features, label = problem()
    labels = np.stack([label == 0, label % 2 == 0, label > 1], 1).astype(np.float32)
    kernel, bias, _ = probe.fit(
        jnp.asarray(features), jnp.asarray(labels), 0.01, multi_label=True
    )
    ours = jax.nn.sigmoid(features @ kernel + bias)
    for k in range(
        3
    ):  # the mean over 3 classes, so a third of the loss beside the penalty
        theirs = LogisticRegression(
            C=1 / (3 * len(label) * 0.01), tol=1e-8, max_iter=10_000
        ).fit(standard(features), labels[:, k])
        np.testing.assert_allclose(
            ours[:, k], theirs.predict_proba(standard(features))[:, 1], atol=2e-3
        )


@settings(deadline=None, max_examples=5)
@given(
    strategies.floats(0.01, 100),
    strategies.floats(-10, 10),
    strategies.integers(0, 100),
)
def test_neither_units_nor_the_origin_matter(scale, shift, seed):
    features, label = problem(40, 5, seed=seed)
    targets = np.eye(4, dtype=np.float32)[label]
    moved = (features * scale + shift).astype(np.float32)
    (k1, b1, _), (k2, b2, _) = (
        probe.fit(jnp.asarray(x), jnp.asarray(targets), 0.1) for x in (features, moved)
    )
    np.testing.assert_allclose(
        jax.nn.softmax(features @ k1 + b1), jax.nn.softmax(moved @ k2 + b2), atol=5e-3
    )


def test_features_that_do_not_vary_tell_nothing():
    kernel, bias, _ = probe.fit(
        jnp.ones((6, 3)), jnp.eye(2)[jnp.array([0, 0, 0, 0, 1, 1])], 0.1
    )
    assert (kernel == 0).all()
    np.testing.assert_allclose(jax.nn.softmax(bias), [2 / 3, 1 / 3], atol=1e-3)
