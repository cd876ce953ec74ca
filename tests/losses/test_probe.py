import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies
from sklearn.linear_model import LogisticRegression

from jaxvision.losses import probe

fit = jax.jit(probe.fit, static_argnames='multi_label')


def problem(n=120, d=20, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, n)
    centres = rng.normal(size=(classes, d))
    scale = rng.uniform(0.1, 3, d)
    features = (centres[label] + rng.normal(size=(n, d))) * scale
    features = features + rng.normal(size=d) * 5
    return features.astype(np.float32), label


def standardised(features):
    features = features.astype(np.float64)
    return (features - features.mean(0)) / np.sqrt(features.var(0).mean())


def log_softmax(logits):
    return (
        logits
        - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
        - logits.max(1, keepdims=True)
    )


@pytest.mark.parametrize('penalty', [1e-3, 1e-2, 1.0])
# Fewer examples than features, and more.
@pytest.mark.parametrize('n', [15, 120])
def test_the_probe_equals_scikit_learns_logistic_regression(n, penalty):
    features, label = problem(n)
    kernel, bias, loss = fit(features, np.eye(4, dtype=np.float32)[label], penalty)
    reference = LogisticRegression(C=1 / (n * penalty), tol=1e-8, max_iter=10_000).fit(
        standardised(features), label
    )
    entropy = -log_softmax(reference.decision_function(standardised(features)))[
        np.arange(n), label
    ].mean()
    expected = entropy + penalty / 2 * np.square(reference.coef_).sum()
    assert abs(loss - expected) < 1e-4 * max(1, expected)
    np.testing.assert_allclose(
        jax.nn.softmax(features @ kernel + bias),
        reference.predict_proba(standardised(features)),
        atol=2e-3,
    )


def test_a_multi_label_probe_equals_one_logistic_regression_per_label():
    features, label = problem()
    labels = np.stack([label == 0, label % 2 == 0, label > 1], 1).astype(np.float32)
    kernel, bias, _ = fit(features, labels, 0.01, multi_label=True)
    probabilities = jax.nn.sigmoid(features @ kernel + bias)
    # The loss is a mean over 3 classes, so each class has a third of it beside the penalty.
    for k in range(3):
        reference = LogisticRegression(
            C=1 / (3 * len(label) * 0.01), tol=1e-8, max_iter=10_000
        ).fit(standardised(features), labels[:, k])
        np.testing.assert_allclose(
            probabilities[:, k],
            reference.predict_proba(standardised(features))[:, 1],
            atol=2e-3,
        )


@settings(deadline=None, max_examples=25)
@given(
    strategies.floats(0.01, 100),
    strategies.floats(-10, 10),
    strategies.integers(0, 100),
)
def test_scaling_and_shifting_features_keeps_the_predictions(scale, shift, seed):
    features, label = problem(40, 5, seed=seed)
    targets = np.eye(4, dtype=np.float32)[label]
    moved = (features * scale + shift).astype(np.float32)
    probabilities = []
    for inputs in (features, moved):
        kernel, bias, _ = fit(inputs, targets, 0.1)
        probabilities.append(jax.nn.softmax(inputs @ kernel + bias))
    np.testing.assert_allclose(*probabilities, atol=5e-3)


def test_constant_features_give_the_class_frequencies():
    kernel, bias, _ = fit(
        jnp.ones((6, 3)), jnp.eye(2)[jnp.array([0, 0, 0, 0, 1, 1])], 0.1
    )
    assert (kernel == 0).all()
    np.testing.assert_allclose(jax.nn.softmax(bias), [2 / 3, 1 / 3], atol=1e-3)
