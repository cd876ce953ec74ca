"""Gradient steps within an episode, compared with finite differences and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxvision.core import config as configs
from jaxvision.core.spec import Preprocessing, Spec
from jaxvision.tasks.few_shot import adaptation
from jaxvision.tasks.few_shot.comparison import Backbone
from jaxvision.tasks.few_shot.task import Details

WAYS = 3
SHOTS = 2
RATE = 0.05
STEPS = 3


def learner(first_order=False):
    config = configs.default('few_shot')
    for text in (
        'model.name=strided',
        'model.variant=4-6',
        'model.options.patch=2',
        'model.options.pool=flat',
        'model.dtype=float64',
        'model.param_dtype=float64',
    ):
        configs.override(config, *text.split('=', 1))
    spec = Spec(
        inputs={},
        targets={},
        preprocessing=Preprocessing(size=(8, 8), mean=(0.4,), std=(0.3,)),
        details=Details(image_shape=(8, 8, 1)),
    )
    backbone = Backbone.build(config, spec)
    return backbone, adaptation.Learner(
        backbone=backbone, rate=RATE, first_order=first_order
    )


@pytest.fixture(scope='module')
def episode():
    """(parameters, images with the support set first, mask), in float64."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        images = jnp.asarray(rng.random((WAYS * SHOTS + 5, 8, 8, 1)))
        backbone, _ = learner()
        variables = backbone.model.init(jax.random.key(0), images)
        yield variables['params'], images, jnp.ones((WAYS, SHOTS))


def query_loss(first_order=False):
    _, maml = learner(first_order)

    def loss(params, images, mask):
        logits = maml.scores(params, images, mask, STEPS)
        return -jax.nn.log_softmax(logits)[jnp.arange(5), jnp.arange(5) % WAYS].mean()

    return jax.jit(jax.value_and_grad(loss))


def test_only_second_order_maml_has_the_gradient_of_finite_differences(episode):
    params, images, mask = episode
    with jax.enable_x64(True):
        second_order = query_loss()
        first_order = query_loss(first_order=True)
        value, gradient = second_order(params, images, mask)
        first_order_value, first_order_gradient = first_order(params, images, mask)
        assert float(value) == pytest.approx(float(first_order_value), rel=1e-12)
        flat, unflatten = ravel_pytree(params)
        gradient, _ = ravel_pytree(gradient)
        first_order_gradient, _ = ravel_pytree(first_order_gradient)

        def loss(flat_params):
            return second_order(unflatten(flat_params), images, mask)[0]

        for seed in range(4):
            direction = np.random.default_rng(seed).normal(size=flat.shape)
            ahead = loss(flat + 1e-6 * direction)
            behind = loss(flat - 1e-6 * direction)
            slope = (ahead - behind) / 2e-6
            assert float(direction @ gradient) == pytest.approx(float(slope), abs=1e-6)
            assert abs(direction @ first_order_gradient - slope) > 1e-3


def test_reptile_returns_the_negative_sum_of_gradient_descent_steps():
    """With the loss a / 2 (p - b)^2 every step covers the fraction `rate * a` of the way to b."""
    curvature = 0.8
    rate = 0.25
    centres = [3.0, -1.0, 2.0]
    direction, last = adaptation.reptile(
        lambda p, b: curvature / 2 * (p['x'] - b) ** 2,
        {'x': jnp.float32(1.0)},
        centres,
        rate,
    )
    place = 1.0
    for centre in centres:
        loss = curvature / 2 * (place - centre) ** 2
        place += rate * curvature * (centre - place)
    assert float(direction['x']) == pytest.approx(1.0 - place, rel=1e-5)
    assert float(last) == pytest.approx(loss, rel=1e-5)


def test_the_support_loss_sums_class_means_and_ignores_padding():
    rng = np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(size=(3 * 2, 3)), jnp.float32)
    mask = jnp.asarray([[1, 1], [1, 0], [1, 1]], jnp.float32)
    entropy = -np.log(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    expected = entropy[:2, 0].mean() + entropy[2, 1] + entropy[4:, 2].mean()
    assert float(adaptation.support_loss(logits, mask)) == pytest.approx(
        expected, rel=1e-5
    )


def test_anil_is_softmax_regression_on_fixed_features(episode):
    params, images, mask = episode
    with jax.enable_x64(True):
        backbone, _ = learner()
        features, _ = backbone.features(params, {}, images)
        compare = adaptation.by_head(RATE, 2)
        logits = compare(features[6:], features[:6].reshape(3, 2, -1), mask)
        support = np.asarray(features[:6])
        kernel = np.zeros((features.shape[-1], 3))
        bias = 0
        targets = np.repeat(np.eye(3), 2, 0)
        for _ in range(2):
            odds = np.exp(support @ kernel + bias)
            error = (odds / odds.sum(1, keepdims=True) - targets) / SHOTS
            kernel = kernel - RATE * support.T @ error
            bias = bias - RATE * error.sum(0)
        np.testing.assert_allclose(logits, features[6:] @ kernel + bias, rtol=1e-9)
