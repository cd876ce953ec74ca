"""Schedules at points worked out by hand; optimizers against their papers' formulas in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision.core.errors import UserError
from jaxvision.train import optimizers

PARAMS = {
    'conv': {'kernel': jnp.full((3, 3, 2, 4), 0.5), 'bias': jnp.full(4, 0.5)},
    'norm': {'scale': jnp.full(4, 0.5), 'bias': jnp.full(4, 0.5)},
    'class_token': jnp.full((1, 1, 4), 0.5),
    'positions': jnp.full((1, 5, 4), 0.5),
    'head': {'kernel': jnp.full((4, 3), 0.5)},
}
DECAYED = {'conv/kernel', 'head/kernel'}


def paths(tree):
    return {
        '/'.join(key.key for key in path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def constant(lr):
    return optimizers.schedule('constant', lr, 100)


def walk(tx, params, gradients):
    """The parameters after each gradient."""
    state, path = tx.init(params), []
    for gradient in gradients:
        updates, state = tx.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        path.append(params)
    return path


@pytest.mark.parametrize(
    'name, warmup, points',
    [
        ('constant', 10, {0: 0, 5: 1, 10: 2, 99: 2}),
        ('cosine', 10, {0: 0, 5: 1, 10: 2, 55: 1, 32.5: 1 + 0.5**0.5, 100: 0}),
        ('cosine', 0, {0: 2, 50: 1, 100: 0}),
        ('linear', 10, {0: 0, 10: 2, 55: 1, 100: 0}),
        ('linear', 0, {0: 2, 25: 1.5, 100: 0}),
        # From a 25th of the peak, and down to a 10,000th of that.
        ('one_cycle', 0, {0: 0.08, 15: 1.04, 30: 2, 65: 1, 100: 8e-6}),
        ('one_cycle', 10, {0: 0.08, 5: 1.04, 10: 2, 55: 1, 100: 8e-6}),
    ],
)
def test_schedules_at_points_by_hand(name, warmup, points):
    lr = optimizers.schedule(name, 2.0, 100, warmup)
    found = [lr(step) for step in points]
    np.testing.assert_allclose(found, list(points.values()), rtol=1e-4, atol=1e-7)


def test_a_warmup_as_long_as_the_run_and_an_unknown_schedule_are_refused():
    with pytest.raises(
        UserError,
        match='expected fewer than the 100 steps of the run. Set a shorter optimizer.warmup',
    ):
        optimizers.schedule('cosine', 1.0, 100, 100)
    with pytest.raises(UserError, match="schedule='cosin'.*Did you mean 'cosine'"):
        optimizers.schedule('cosin', 1.0, 100)


@pytest.mark.parametrize('name', optimizers.OPTIMIZERS)
def test_decay_shrinks_kernels_and_nothing_else(name):
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    tx = getattr(optimizers, name)(constant(0.1), 0.01)
    after = paths(walk(tx, PARAMS, [zeros])[-1])
    for path, leaf in after.items():
        if path in DECAYED:
            assert np.all((leaf > 0) & (leaf < 0.5)), path
        else:
            np.testing.assert_array_equal(leaf, 0.5, err_msg=path)


def gradients(steps=5, shape=(4, 3), seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for _ in range(steps)]


def start(shape=(4, 3)):
    return np.random.default_rng(9).normal(size=shape)


def follow(tx):
    with jax.enable_x64(True):
        path = walk(
            tx,
            {'kernel': jnp.array(start())},
            [{'kernel': jnp.array(g)} for g in gradients()],
        )
    return [np.asarray(params['kernel']) for params in path]


def test_adamw_is_that_of_loshchilov_and_hutter():
    lr, decay, b1, b2, eps = 0.1, 0.05, 0.8, 0.95, 1e-3
    found = follow(optimizers.adamw(constant(lr), decay, b1=b1, b2=b2, eps=eps))
    p, m, v = start(), 0, 0
    for t, (g, ours) in enumerate(zip(gradients(), found, strict=True), start=1):
        p = p - lr * decay * p
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        p = p - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        np.testing.assert_allclose(ours, p, rtol=1e-10)


@pytest.mark.parametrize('nesterov', [True, False])
def test_sgd_is_that_of_pytorch(nesterov):
    lr, decay, momentum = 0.1, 0.05, 0.7
    found = follow(
        optimizers.sgd(constant(lr), decay, momentum=momentum, nesterov=nesterov)
    )
    p, buffer = start(), 0
    for g, ours in zip(gradients(), found, strict=True):
        g = g + decay * p
        buffer = momentum * buffer + g
        p = p - lr * (g + momentum * buffer if nesterov else buffer)
        np.testing.assert_allclose(ours, p, rtol=1e-10)


def test_lamb_is_that_of_you_et_al():
    lr, decay, b1, b2, eps = 0.1, 0.05, 0.8, 0.95, 1e-3
    found = follow(optimizers.lamb(constant(lr), decay, b1=b1, b2=b2, eps=eps))
    p, m, v = start(), 0, 0
    for t, (g, ours) in enumerate(zip(gradients(), found, strict=True), start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        r = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps) + decay * p
        p = p - lr * np.linalg.norm(p) / np.linalg.norm(r) * r
        np.testing.assert_allclose(ours, p, rtol=1e-10)


def test_muon_moves_a_convolution_as_an_orthogonal_matrix_of_inputs_by_outputs():
    kernel = jnp.zeros((3, 3, 2, 6))
    scales = 2.0 ** np.arange(6)  # the outputs' gradients are of unequal size
    gradient = jnp.array(gradients(1, kernel.shape)[0] * scales, jnp.float32)
    tx = optimizers.muon(constant(1.0))
    (moved,) = walk(tx, {'kernel': kernel}, [{'kernel': gradient}])

    def singular(x):
        return np.linalg.svd(np.asarray(x).reshape(18, 6), compute_uv=False)

    assert singular(gradient)[0] > 20 * singular(gradient)[-1]
    assert singular(moved['kernel'])[0] < 2 * singular(moved['kernel'])[-1]


def test_muon_steps_everything_else_with_adam():
    params = {'kernel': jnp.ones((4, 3)), 'bias': jnp.ones(3)}
    gradient = {'kernel': jnp.ones((4, 3)), 'bias': jnp.array([1e-2, 1.0, -1e2])}
    (after,) = walk(optimizers.muon(constant(1.0), adam_lr=0.1), params, [gradient])
    # Its first step is the gradient's sign, times 1 + b1 (1 - b1) / (1 - b1^2) for Nesterov's look
    # ahead.
    length = 0.1 * (1 + 0.9 * 0.1 / (1 - 0.9**2))
    np.testing.assert_allclose(
        after['bias'], 1 - length * np.array([1, 1, -1]), rtol=1e-5
    )


def test_the_gradient_is_clipped_to_its_global_norm(tiny):
    config = tiny(
        'optimizer.name=sgd',
        'optimizer.options.momentum=0.0',
        'optimizer.clip=1',
        'optimizer.options.nesterov=false',
        'optimizer.schedule=constant',
        'optimizer.lr=1',
    )
    tx, lr = optimizers.make(config, 320)
    assert lr(3) == 1
    params = {'a': jnp.zeros(2), 'b': jnp.zeros(1)}
    small, large = [0.3, 0.4], [6.0, 0.0]
    (after,) = walk(tx, params, [{'a': jnp.array(small), 'b': jnp.zeros(1)}])
    np.testing.assert_allclose(after['a'], [-0.3, -0.4], rtol=1e-6)
    (after,) = walk(tx, params, [{'a': jnp.array(large), 'b': jnp.array([8.0])}])
    np.testing.assert_allclose([*after['a'], *after['b']], [-0.6, 0, -0.8], rtol=1e-6)


def test_intervals_of_the_schedule_are_those_of_the_run(tiny):
    _, lr = optimizers.make(
        tiny('train.steps=10 epochs', 'optimizer.warmup=1 epoch', 'optimizer.lr=2'), 320
    )  # 10 steps an epoch
    np.testing.assert_allclose(
        [lr(5), lr(10), lr(55), lr(100)], [1, 2, 1, 0], atol=1e-6
    )


@pytest.mark.parametrize(
    'override, says',
    [
        (
            'optimizer.options.beta1=0.8',
            "'adamw' has no option 'beta1'; did you mean 'b1'?",
        ),
        ('optimizer.options.weight_decay=1', "'adamw' has no option 'weight_decay'"),
    ],
)
def test_unknown_options_are_refused(tiny, override, says):
    with pytest.raises(UserError) as error:
        optimizers.make(tiny(override), 320)
    assert says in str(error.value)
