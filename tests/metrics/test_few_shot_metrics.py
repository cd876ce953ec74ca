import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxvision.metrics import few_shot


def test_the_interval_equals_scipys_confidence_interval_of_the_mean():
    accuracy = np.random.default_rng(0).beta(8, 2, 600).astype(np.float32)
    metrics = few_shot.summarize(
        {'accuracy': accuracy, 'pixel_accuracy': accuracy / 2, 'index': np.arange(600)}
    )
    low, high = stats.norm.interval(0.95, accuracy.mean(), stats.sem(accuracy))
    assert metrics['accuracy'] == pytest.approx((low + high) / 2, abs=1e-6)
    assert metrics['interval'] == pytest.approx((high - low) / 2, rel=1e-4)
    assert metrics['pixel_accuracy'] == pytest.approx(accuracy.mean() / 2, abs=1e-6)
    assert set(metrics) == {'accuracy', 'interval', 'pixel_accuracy'}


def test_accuracy_is_computed_for_each_episode():
    logits = np.zeros((2, 4, 3), np.float32)
    logits[0, :, 1] = logits[1, 0, 2] = 1
    label = np.array([[1, 1, 0, 1], [2, 1, 1, 2]])
    np.testing.assert_allclose(
        few_shot.accuracy(jnp.asarray(logits), jnp.asarray(label)), [0.75, 0.25]
    )
