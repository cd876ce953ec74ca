"""Measure what test_layouts.py asserts of four virtual CPU devices, in new processes.

    python on_four_devices.py                         one process of four devices
    python on_four_devices.py HOST:PORT 0 or 1        two processes of two; pmap's means only

A process cannot change its number of devices.
"""

import dataclasses
import functools
import json
import os
import sys
import tempfile
from pathlib import Path

DEVICES = 2 if sys.argv[1:] else 4
os.environ['XLA_FLAGS'] = (
    f'{os.environ.get("XLA_FLAGS", "")} '
    f'--xla_force_host_platform_device_count={DEVICES}'
)

sys.path.append(str(Path(__file__).parents[1]))

# More threads than devices that wait for each other inside them.
os.environ['NPROC'] = '16'

import jax  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from jax.sharding import Mesh  # noqa: E402

from jaxvision.core import config as configs  # noqa: E402
from jaxvision.core.state import create  # noqa: E402
from jaxvision.train import (  # noqa: E402
    processes,
    range_test,
    sharding,
    training,
    update,
)
from jaxvision.train.run import begin  # noqa: E402
from jaxvision.train.saved import blank_batch  # noqa: E402

# Since a bias that batch norm or attention cancels has a gradient of nothing but rounding, which
# Adam makes as large as any.
FLOAT64 = ('model.dtype=float64', 'model.param_dtype=float64')
CNN = ('model.name=cnn', 'model.variant=64', *FLOAT64)
VIT = (
    'model.name=vit',
    'model.variant=Ti/4',
    'model.options.depth=1',
    *FLOAT64,
)  # no batch norm


def run(*overrides, steps=10):
    """A run of `digits`, its state after these steps, and its model state after the first."""
    config = configs.default('classification')
    for text in (
        'data.source=digits',
        'data.batch_size=32',
        'optimizer.lr=0.001',
        *overrides,
    ):
        path, _, value = text.partition('=')
        configs.override(config, path, value)
    jax.config.update('jax_enable_x64', config.model.dtype == 'float64')
    this = begin(config, Path(tempfile.mkdtemp()))
    state = this.init()
    with training.train_batches(this, 0) as batches:
        for step, batch in zip(range(steps), batches, strict=False):
            state, _ = this.update(state, batch)
            if step == 0:
                first_model_state = jax.device_get(state.model_state)
    return this, state, first_model_state


def vector(tree):
    return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(tree)])


def apart(one, other):
    one, other = vector(one.params), vector(other.params)
    return float(np.linalg.norm(one - other) / np.linalg.norm(one))


def on_a_device(tree):
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))


def weighted():
    """How far pmap is from numpy on a weighted mean, where one device's weights are all zero."""
    values, weights = np.random.default_rng(0).normal(size=(2, 16))
    weights = (weights > 0) * np.repeat([1, 0, 1, 1], 4)
    wanted = (values * weights).sum() / weights.sum()
    mesh, tx = sharding.make_mesh('pmap'), optax.sgd(1.0)
    assert mesh.size == 4

    def part(array):
        return np.split(np.float32(array), jax.process_count())[jax.process_index()]

    def loss(params, state, batch, key):
        return {
            'mean': (params * batch['value'] * batch['weight'], batch['weight'])
        }, {}

    @functools.partial(jax.jit, out_shardings=sharding.replicated(mesh))
    def init():
        return create(jax.random.key(0), {'model': np.float32(2)}, {'model': tx})

    for accumulate in (1, 2):
        batch = sharding.put(mesh, {'value': part(values), 'weight': part(weights)})
        step = sharding.compile_update(
            update.from_loss(loss, tx, accumulate=accumulate),
            mesh,
            jax.eval_shape(init),
        )
        state, scalars = step(init(), batch)
        yield abs(
            float(state.params['model']) - (2 - wanted)
        )  # the gradient is the mean itself
        yield abs(float(scalars['loss']) - 2 * wanted)


def chosen_rates():
    """The learning rates that a range test chooses on one, two and four devices."""
    config = configs.default('helpers.fakes.softmax')
    for text in ('data.source=digits', 'data.batch_size=32', 'data.threads=0'):
        configs.override(config, *text.split('=', 1))
    jax.config.update('jax_enable_x64', False)
    this = begin(config, Path(tempfile.mkdtemp()))
    for number in (1, 2, 4):
        mesh = Mesh(np.array(jax.devices()[:number]).reshape(-1, 1), ('data', 'fsdp'))
        losses = range_test.measure(
            dataclasses.replace(this, mesh=mesh), lambda step: False
        )
        yield range_test.choose(losses).chosen


def main(coordinator=None, process=None):
    if coordinator:
        processes.start(coordinator, 2, int(process))
        print(json.dumps({'weighted': max(weighted())}))
        return
    found = {'weighted': max(weighted()), 'rates': list(chosen_rates())}
    begun, state, _ = run(*VIT)
    found['moved'] = apart(state, begun.init())
    _, mapped, _ = run(*VIT, 'parallel.mode=pmap', 'optimizer.accumulate=2')
    found['pmap, accumulated'] = apart(state, mapped)

    _, state, whole = run(*CNN, 'optimizer.ema=0.9')
    *_, own = run(*CNN, 'parallel.mode=pmap', steps=1)
    found['statistics'] = float(np.abs(vector(whole) - vector(own)).max())

    this, sharded, _ = run(*CNN, 'optimizer.ema=0.9', 'parallel.fsdp=4')
    found['fsdp'] = apart(state, sharded)
    found['shares'] = {
        part: on_a_device(getattr(sharded, part)) / on_a_device(getattr(state, part))
        for part in ('params', 'opt_state', 'ema')
    }
    found['hlo'] = (
        this.update.lower(this.abstract(), blank_batch(this.spec, 32))
        .compile()
        .as_text()
    )
    print(json.dumps(found))


if __name__ == '__main__':
    main(*sys.argv[1:])
