"""What test_layouts.py asks of four virtual CPU devices, whose number a process cannot change."""

import json
import os
import tempfile
from pathlib import Path

os.environ['XLA_FLAGS'] = (
    f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count=4'
)

# More threads than devices that wait for each other inside them.
os.environ['NPROC'] = '16'

import jax  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402

from jaxvision.core import config as configs
from jaxvision.core.state import create  # noqa: E402
from jaxvision.train import sharding, training, update
from jaxvision.train.run import begin
from jaxvision.train.saved import blank_batch

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
    """A run of `digits`, and its state after these steps."""
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
        for _, batch in zip(range(steps), batches, strict=False):
            state, _ = this.update(state, batch)
    return this, state


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
    batch = {'value': values.astype(np.float32), 'weight': weights.astype(np.float32)}

    def loss(params, state, batch, key):
        return {
            'mean': (params * batch['value'] * batch['weight'], batch['weight'])
        }, {}

    mesh, tx = sharding.make_mesh('pmap'), optax.sgd(1.0)
    for accumulate in (1, 2):
        start = create(jax.random.key(0), {'model': np.float32(2)}, {'model': tx})
        step = sharding.compile_update(
            update.from_loss(loss, tx, accumulate=accumulate), mesh, start
        )
        state, scalars = step(start, batch)
        yield abs(
            float(state.params['model']) - (2 - wanted)
        )  # the gradient is the mean itself
        yield abs(float(scalars['loss']) - 2 * wanted)


def main():
    found = {'weighted': max(weighted())}
    begun, state = run(*VIT)
    found['moved'] = apart(state, begun.init())
    found['pmap'] = apart(state, run(*VIT, 'parallel.mode=pmap')[1])
    found['pmap, accumulated'] = apart(
        state, run(*VIT, 'parallel.mode=pmap', 'optimizer.accumulate=2')[1]
    )

    def statistics(state):
        return vector(state.model_state)

    _, whole = run(*CNN, steps=1)
    _, own = run(*CNN, 'parallel.mode=pmap', steps=1)
    found['statistics'] = float(np.abs(statistics(whole) - statistics(own)).max())

    _, state = run(*CNN, 'optimizer.ema=0.9')
    this, sharded = run(*CNN, 'optimizer.ema=0.9', 'parallel.fsdp=4')
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
    main()
