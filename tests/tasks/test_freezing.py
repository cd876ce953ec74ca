"""Frozen parameters: no gradient, optimizer state or average, but visible to other networks."""

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


def two_networks(tx):
    """A task of a generator b x + c and of a discriminator s y + bias."""

    def init(key, batch):
        params = {
            'generator': {'line': {'b': jnp.float32(2), 'c': jnp.float32(1)}},
            'discriminator': {'s': jnp.float32(3), 'bias': jnp.float32(0.5)},
        }
        return states.create(
            key, params, dict.fromkeys(params, tx), {}, ema=0.9, averaged=('generator',)
        )

    def generate(params, batch):
        return params['line']['b'] * batch['x'] + params['line']['c']

    def generator_loss(params, state, batch, key):
        values = (
            state.params['discriminator']['s'] * generate(params, batch)
            + state.params['discriminator']['bias']
        )
        return {'score': (values, jnp.ones(4))}, {}

    def discriminator_loss(params, state, batch, key):
        values = (
            -params['s'] * generate(state.params['generator'], batch) - params['bias']
        )
        return {'score': (values, jnp.ones(4))}, {}

    return Task(
        init=init,
        update=update.in_turn(
            update.from_loss(discriminator_loss, tx, 'discriminator'),
            update.from_loss(generator_loss, tx, 'generator', ema=0.9),
        ),
        evaluations={},
        predict=NOTHING,
    )


def stepped(task):
    state = task.init(jax.random.key(0), BATCH)
    return jax.jit(task.update)(state, BATCH)[0]


def test_each_network_is_trained_against_the_frozen_parts_of_the_other():
    task = freezing.freeze(
        two_networks(optax.sgd(0.1)), ['generator/line/c', ' discriminator/s ']
    )
    new = stepped(task)
    assert new.frozen == {
        'params': {'generator': {'line': {'c': 1}}, 'discriminator': {'s': 3}}
    }
    assert new.params == {
        'generator': {'line': {'b': pytest.approx(2 - 0.1 * 3 * 2.5)}},
        'discriminator': {'bias': pytest.approx(0.5 + 0.1)},
    }
    assert new.ema['params']['generator'].keys() == {'line'}
    assert new.variables['params']['generator']['line'].keys() == {'b', 'c'}


@pytest.mark.parametrize('name', optimizers.OPTIMIZERS)
def test_an_optimizer_has_no_state_for_frozen_parameters(name):
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
    'path, message',
    [
        (
            'generator/lines',
            'generator/lines: expected parts such as generator/line, discriminator/s, '
            'discriminator/bias',
        ),
        ('model/line', 'model/line: expected parts such as generator/line'),
        ('generator', 'generator: expected parts such as'),
        (
            'generator/line',
            'generator/line: expected some parameters of generator that stay trainable',
        ),
    ],
)
def test_a_part_that_cannot_be_frozen_is_an_error(path, message):
    with pytest.raises(UserError, match=message):
        freezing.freeze(two_networks(optax.sgd(0.1)), [path]).init(
            jax.random.key(0), BATCH
        )


def test_a_part_name_in_two_networks_is_an_error():
    task = two_networks(optax.sgd(0.1))

    def init(key, batch):
        state = task.init(key, batch)
        return state.replace(
            params={**state.params, 'discriminator': state.params['generator']}
        )

    both = dataclasses.replace(task, init=init)
    with pytest.raises(UserError, match='discriminator has a part of this name'):
        freezing.freeze(both, ['generator/line/b']).init(jax.random.key(0), BATCH)
