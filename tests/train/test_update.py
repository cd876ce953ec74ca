"""Updates against steps written out by hand in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision.core import keys
from jaxvision.core.state import create
from jaxvision.train import update

LR = 0.1


def batch_of(size=16, features=3, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return {
        'x': rng.normal(size=(size, features)).astype(dtype),
        'y': rng.normal(size=size).astype(dtype),
        'near': (rng.uniform(size=size) < 0.7).astype(dtype),
        'far': (np.arange(size) % 8 > 5).astype(
            dtype
        ),  # all in the last of four microbatches
        'index': np.arange(100, 100 + size, dtype=np.int32),
    }


def squares(params, state, batch, key):
    error = batch['x'] @ params['w'] - batch['y']
    return {
        'near': (batch['near'] * error**2, batch['near']),
        'far': (batch['far'] * jnp.abs(error), batch['far']),
    }, {}


def state_of(params, model_state=None, ema=0.0, tx=None):
    tx = tx or optax.sgd(LR)
    return create(
        jax.random.key(3), params, {name: tx for name in params}, model_state, ema=ema
    )


def linear_state(dtype=np.float32, **options):
    return state_of({'model': {'w': jnp.array([0.5, -1.0, 2.0], dtype)}}, **options)


def bits(tree):
    def raw(x):
        return (
            jax.random.key_data(x)
            if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
            else x
        )

    return [np.asarray(raw(leaf)).tobytes() for leaf in jax.tree.leaves(tree)]


def test_a_step_by_hand():
    batch, state = batch_of(), linear_state()
    new, scalars = jax.jit(update.from_loss(squares, optax.sgd(LR)))(state, batch)

    x, w = batch['x'].astype(np.float64), np.array([0.5, -1.0, 2.0])
    error = x @ w - batch['y']
    near, far = batch['near'], batch['far']
    gradient = (
        x.T @ (2 * near * error) / near.sum() + x.T @ (far * np.sign(error)) / far.sum()
    )
    np.testing.assert_allclose(new.params['model']['w'], w - LR * gradient, rtol=1e-6)
    loss_near, loss_far = (
        (near * error**2).sum() / near.sum(),
        (far * abs(error)).sum() / far.sum(),
    )
    expected = {
        'near': loss_near,
        'far': loss_far,
        'loss': loss_near + loss_far,
        'gradient_norm': np.linalg.norm(gradient),
        'update_norm': LR * np.linalg.norm(gradient),
    }
    assert scalars.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(scalars[name], value, rtol=1e-6, err_msg=name)


def mixed_and_dropped(params, state, batch, key):
    """Neighbours 2i and 2i + 1 are mixed, and inputs dropped by the example's own key."""
    pairs = batch['x'].reshape(-1, 2, batch['x'].shape[-1])
    x = (0.7 * pairs + 0.3 * pairs[:, ::-1]).reshape(batch['x'].shape)

    def keep(key):
        return jax.random.bernoulli(key, 0.8, x.shape[1:])

    x = x * jax.vmap(keep)(keys.per_example(key, batch['index']))
    terms, _ = squares(params, state, {**batch, 'x': x}, key)
    return terms, {'scalars': {'level': (batch['far'] * x[:, 0], batch['far'])}}


@pytest.mark.parametrize('dtype, tolerance', [(np.float32, 1e-6), (np.float64, 1e-12)])
def test_microbatches_do_not_change_the_step(dtype, tolerance):
    with jax.enable_x64(dtype == np.float64):
        batch, state = batch_of(dtype=dtype), linear_state(dtype)

        def run(count):
            return jax.jit(
                update.from_loss(mixed_and_dropped, optax.sgd(LR), accumulate=count)
            )(state, batch)

        whole, *others = run(1), run(2), run(4)
    for new, scalars in others:
        assert new.params['model']['w'].dtype == dtype
        np.testing.assert_allclose(
            new.params['model']['w'], whole[0].params['model']['w'], rtol=tolerance
        )
        assert scalars.keys() == whole[1].keys() >= {'level'}
        for name in scalars:
            np.testing.assert_allclose(
                scalars[name], whole[1][name], rtol=2 * tolerance, err_msg=name
            )


def test_the_model_state_goes_through_the_microbatches_in_order():
    def loss(params, state, batch, key):
        seen = 10 * state.model_state['model'] + batch['index'][0] // 2 - 49
        terms, _ = squares(params, state, batch, key)
        return terms, {'model_state': {'model': seen}}

    state = linear_state(model_state={'model': jnp.int32(0), 'other': jnp.int32(5)})
    new, _ = jax.jit(update.from_loss(loss, optax.sgd(LR), accumulate=4))(
        state, batch_of(8)
    )
    assert new.model_state == {'model': 1234, 'other': 5}


def test_a_batch_that_does_not_split_evenly_is_refused():
    with pytest.raises(ValueError, match='a batch of 10 cannot be split into 4'):
        step = update.from_loss(squares, optax.sgd(LR), accumulate=4)
        jax.jit(step)(linear_state(), batch_of(10))


@pytest.mark.parametrize('accumulate', [1, 2])
def test_a_term_without_any_weight_adds_nothing(accumulate):
    batch = {
        **batch_of(),
        'near': np.zeros(16, np.float32),
        'far': np.zeros(16, np.float32),
    }
    state = linear_state()
    step = update.guarded(
        update.from_loss(squares, optax.sgd(LR), accumulate=accumulate)
    )
    new, scalars = jax.jit(step)(state, batch)
    assert bits(new.params) == bits(state.params)
    assert scalars['loss'] == 0 and scalars['bad_step'] == -1


def test_the_key_of_a_step_is_a_function_of_player_and_step():
    def loss(params, state, batch, key):
        draw = jnp.full(16, jax.random.uniform(key))
        return {'draw': (draw + 0 * params['w'].sum(), jnp.ones(16))}, {}

    state = state_of({'one': {'w': jnp.ones(3)}, 'two': {'w': jnp.ones(3)}})
    both = update.guarded(
        update.in_turn(
            *(
                update.from_loss(loss, optax.sgd(LR), player)
                for player in ('one', 'two')
            )
        )
    )
    for step in range(2):
        state, scalars = jax.jit(both)(state, batch_of())
        for player in ('one', 'two'):
            wanted = jax.random.uniform(keys.at_step(jax.random.key(3), player, step))
            np.testing.assert_allclose(scalars[f'{player}/draw'], wanted, rtol=1e-6)


@pytest.mark.parametrize('decay', [0.15, 0.9])
def test_the_average_of_the_weights_follows_its_recursion(decay):
    def loss(params, state, batch, key):
        terms, _ = squares(params, state, batch, key)
        return terms, {
            'model_state': {'model': {'sum': state.model_state['model']['sum'] + 1}}
        }

    state = linear_state(model_state={'model': {'sum': jnp.float32(0)}}, ema=0.9)
    step = jax.jit(update.guarded(update.from_loss(loss, optax.sgd(LR), ema=decay)))
    weights, total = np.array([0.5, -1.0, 2.0]), 0.0
    for t in range(5):
        state, _ = step(state, batch_of(seed=t))
        d = min(decay, (1 + t) / (10 + t))
        weights = d * weights + (1 - d) * np.asarray(
            state.params['model']['w'], np.float64
        )
        total = d * total + (1 - d) * (t + 1)
    np.testing.assert_allclose(state.ema['params']['model']['w'], weights, rtol=1e-5)
    np.testing.assert_allclose(
        state.ema['model_state']['model']['sum'], total, rtol=1e-5
    )
    assert state.variables['params'] is not state.params
    np.testing.assert_array_equal(
        state.variables['params']['model']['w'], state.ema['params']['model']['w']
    )


def test_players_in_turn_see_each_others_new_weights():
    """a descends a*b + a^2 / 2 and b descends b^2 / 2 - a*b."""

    def loss_a(p, state, batch, key):
        return (
            {'value': (jnp.full(4, p * state.params['b'] + p**2 / 2), jnp.ones(4))},
            {},
        )

    def loss_b(p, state, batch, key):
        return (
            {'value': (jnp.full(4, p**2 / 2 - state.params['a'] * p), jnp.ones(4))},
            {},
        )

    state = state_of({'a': jnp.float32(1), 'b': jnp.float32(2)})
    step = jax.jit(
        update.guarded(
            update.in_turn(
                update.from_loss(loss_a, optax.sgd(LR), 'a'),
                update.from_loss(loss_b, optax.sgd(LR), 'b'),
            )
        )
    )
    a, b = 1.0, 2.0
    for _ in range(3):
        state, scalars = step(state, batch_of(4))
        a -= LR * (b + a)
        b -= LR * (b - a)
    np.testing.assert_allclose(
        [state.params['a'], state.params['b']], [a, b], rtol=1e-6
    )
    assert {
        'a/value',
        'a/loss',
        'b/loss',
        'b/gradient_norm',
        'bad_step',
    } <= scalars.keys()
    assert state.step == 3


def test_a_rule_that_is_no_gradient_enters_at_from_gradients():
    def toward(state, batch):
        return (
            {'w': state.params['model']['w'] - batch['x'].mean(0)},
            {},
            {'loss': jnp.float32(0)},
        )

    batch = batch_of()
    new, _ = jax.jit(update.from_gradients(toward, optax.sgd(1.0)))(
        linear_state(), batch
    )
    np.testing.assert_allclose(
        new.params['model']['w'], batch['x'].mean(0), rtol=1e-6, atol=1e-7
    )


def broken(params, state, batch, key):
    """Where y is 7 the loss is finite but its gradient is not."""
    terms, _ = squares(params, state, batch, key)
    root = jnp.sqrt(jnp.where(batch['y'] == 7, 0, 1) * jnp.sum(params['w'] ** 2))
    return {**terms, 'root': (root, jnp.ones_like(root))}, {
        'model_state': {'model': {'steps': state.model_state['model']['steps'] + 1}}
    }


@pytest.mark.parametrize('poison', [np.nan, np.inf, 7.0])
def test_a_step_that_is_not_finite_leaves_no_trace_but_its_number(poison):
    tx = optax.adamw(LR)
    state = linear_state(tx=tx, model_state={'model': {'steps': jnp.int32(0)}}, ema=0.9)
    step = jax.jit(
        update.guarded(update.from_loss(broken, tx, ema=0.9)), donate_argnums=0
    )
    for t in range(3):
        state, scalars = step(state, batch_of(seed=t))
        assert scalars['bad_step'] == -1
    before = bits(state.replace(bad_step=None))
    bad = batch_of(seed=3)
    bad['y'][5], bad['near'][5] = poison, 1
    for batch in (bad, batch_of(seed=4), batch_of(seed=5)):
        state, scalars = step(state, batch)
        assert scalars['bad_step'] == 3 == state.bad_step
        assert bits(state.replace(bad_step=None)) == before
    assert state.step == 3
