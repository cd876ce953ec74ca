"""Gradient steps within an episode, against finite differences and results by hand."""

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

WAYS, SHOTS, RATE, STEPS = 3, 2, 0.05, 3


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
    """(parameters, images of the support and then of the queries, mask), in float64."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        images = jnp.asarray(rng.random((WAYS * SHOTS + 5, 8, 8, 1)))
        backbone, _ = learner()
        variables = backbone.model.init(jax.random.key(0), images)
        yield variables['params'], images, jnp.ones((WAYS, SHOTS))


def query_loss(first_order=False):
    _, learns = learner(first_order)

    def loss(params, images, mask):
        logits = learns.scores(params, images, mask, STEPS)
        return -jax.nn.log_softmax(logits)[jnp.arange(5), jnp.arange(5) % WAYS].mean()

    return jax.jit(jax.value_and_grad(loss))


def test_mamls_gradient_is_that_of_finite_differences_and_first_orders_is_not(episode):
    params, images, mask = episode
    with jax.enable_x64(True):
        second, first = query_loss(), query_loss(first_order=True)
        value, gradient = second(params, images, mask)
        same_value, other = first(params, images, mask)
        flat, unflatten = ravel_pytree(params)
        gradient, other = (ravel_pytree(tree)[0] for tree in (gradient, other))
        assert float(value) == pytest.approx(float(same_value), rel=1e-12)
        for seed in range(4):
            along = np.random.default_rng(seed).normal(size=flat.shape)
            ahead, behind = (
                second(unflatten(flat + step * along), images, mask)[0]
                for step in (1e-6, -1e-6)
            )
            slope = (ahead - behind) / 2e-6
            assert float(along @ gradient) == pytest.approx(float(slope), abs=1e-6)
            assert abs(along @ other - slope) > 1e-3


def test_reptile_goes_back_from_where_gradient_descent_arrived():
    """On a / 2 (p - b)^2 every step goes a share `rate * a` of the way to b."""
    curvature, rate, centres = 0.8, 0.25, [3.0, -1.0, 2.0]
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


def test_the_support_loss_is_a_mean_in_each_class_and_forgets_what_is_masked():
    rng = np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(size=(3 * 2, 3)), jnp.float32)
    mask = jnp.asarray([[1, 1], [1, 0], [1, 1]], jnp.float32)
    each = -np.log(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    expected = each[:2, 0].mean() + each[2, 1] + each[4:, 2].mean()
    assert float(adaptation.support_loss(logits, mask)) == pytest.approx(
        expected, rel=1e-5
    )


def test_anil_learns_a_softmax_regression_on_fixed_features(episode):
    params, images, mask = episode
    with jax.enable_x64(True):
        backbone, _ = learner()
        features, _ = backbone.features(params, {}, images)
        found = adaptation.by_head(RATE, 2)(
            features[6:], features[:6].reshape(3, 2, -1), mask
        )
        support, kernel, bias = (
            np.asarray(features[:6]),
            np.zeros((features.shape[-1], 3)),
            0,
        )
        truth = np.repeat(np.eye(3), 2, 0)
        for _ in range(2):
            odds = np.exp(support @ kernel + bias)
            wrong = (odds / odds.sum(1, keepdims=True) - truth) / SHOTS
            kernel, bias = kernel - RATE * support.T @ wrong, bias - RATE * wrong.sum(0)
        np.testing.assert_allclose(found, features[6:] @ kernel + bias, rtol=1e-9)
