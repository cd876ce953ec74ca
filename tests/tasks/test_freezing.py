"""Parts of players that stay: what an optimizer, an average and the other player see of them."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxvision.core import state as states
from jaxvision.core.errors import UserError
from jaxvision.core.task import Task
from jaxvision.tasks.shared import freezing
from jaxvision.train import optimizers, update


def NOTHING(variables, inputs):
    return {}


BATCH = {'x': jnp.arange(1.0, 5.0)}


def two_players(tx):
    """One draws b x + c, the other tells that from 0 by s."""

    def init(key, batch):
        params = {
            'drawer': {'line': {'b': jnp.float32(2), 'c': jnp.float32(1)}},
            'critic': {'s': jnp.float32(3), 'bias': jnp.float32(0.5)},
        }
        return states.create(
            key, params, dict.fromkeys(params, tx), {}, ema=0.9, averaged=('drawer',)
        )

    def draw(params, batch):
        return params['line']['b'] * batch['x'] + params['line']['c']

    def drawer(params, state, batch, key):
        values = (
            state.params['critic']['s'] * draw(params, batch)
            + state.params['critic']['bias']
        )
        return {'score': (values, jnp.ones(4))}, {}

    def critic(params, state, batch, key):
        values = -params['s'] * draw(state.params['drawer'], batch) - params['bias']
        return {'score': (values, jnp.ones(4))}, {}

    return Task(
        init=init,
        update=update.in_turn(
            update.from_loss(critic, tx, 'critic'),
            update.from_loss(drawer, tx, 'drawer', ema=0.9),
        ),
        evaluations={},
        predict=NOTHING,
    )


def stepped(task):
    state = task.init(jax.random.key(0), BATCH)
    return jax.jit(task.update)(state, BATCH)[0]


def test_each_player_sees_the_frozen_parts_of_the_other():
    task = freezing.freeze(two_players(optax.sgd(0.1)), ['drawer/line/c', ' critic/s '])
    new = stepped(task)
    assert new.frozen == {'params': {'drawer': {'line': {'c': 1}}, 'critic': {'s': 3}}}
    assert new.params == {
        'drawer': {'line': {'b': pytest.approx(2 - 0.1 * 3 * 2.5)}},
        'critic': {'bias': pytest.approx(0.5 + 0.1)},
    }
    assert new.ema['params']['drawer'].keys() == {'line'}
    assert new.variables['params']['drawer']['line'].keys() == {'b', 'c'}


@pytest.mark.parametrize('name', optimizers.OPTIMIZERS)
def test_no_optimizer_keeps_anything_of_it(name):
    def kept(*frozen):
        tx = optimizers.OPTIMIZERS[name](lambda step: 0.1, 0.1)
        params = {
            kind: {'kernel': jnp.ones((30, 40)), 'bias': jnp.ones(40)} for kind in 'ab'
        }

        def loss(params, *_):
            return (
                {'sum': (params['b']['kernel'].sum(0), jnp.ones(40))},
                {},
            )

        task = Task(
            init=lambda key, batch: states.create(
                key, {'model': params}, {'model': tx}
            ),
            update=update.from_loss(loss, tx),
            evaluations={},
            predict=NOTHING,
        )
        task = freezing.freeze(task, frozen)
        state = jax.eval_shape(task.init, jax.random.key(0), BATCH)
        new = jax.eval_shape(task.update, state, BATCH)[0]
        assert jax.tree.structure(new) == jax.tree.structure(state)
        sizes = [leaf.size for leaf in jax.tree.leaves(state.opt_state)]
        return sum(size for size in sizes if size >= 40)  # not muon's coefficients

    assert kept('model/a') * 2 == kept() > 0


@pytest.mark.parametrize(
    'path, said',
    [
        (
            'drawer/lines',
            "no 'drawer/lines' to freeze, but drawer/line, critic/s, critic/bias",
        ),
        ('model/line', 'to freeze, but drawer/line'),
        ('drawer', 'to freeze, but'),
        ('drawer/line', 'nothing of drawer but drawer/line could learn'),
    ],
)
def test_what_cannot_be_frozen_is_told(path, said):
    with pytest.raises(UserError, match=said):
        freezing.freeze(two_players(optax.sgd(0.1)), [path]).init(
            jax.random.key(0), BATCH
        )


def test_a_name_that_two_players_share_is_told():
    task = two_players(optax.sgd(0.1))

    def init(key, batch):
        state = task.init(key, batch)
        return state.replace(params={**state.params, 'critic': state.params['drawer']})

    both = dataclasses.replace(task, init=init)
    with pytest.raises(UserError, match='critic has a part of that name'):
        freezing.freeze(both, ['drawer/line/b']).init(jax.random.key(0), BATCH)
