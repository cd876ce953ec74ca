"""The batch size that `data.batch_size=auto` chooses."""

import json

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies

from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.train import largest_batch, loop, memory, sharding
from jaxvision.train.run import begin


@hypothesis.given(
    strategies.integers(1, 8),
    strategies.integers(1, 5000),
    strategies.integers(1, 10**6),
    strategies.integers(0, 10**4),
)
@hypothesis.settings(deadline=None)
def test_the_largest_size_fits_and_its_double_does_not(first, most, limit, fixed):
    tried = []

    def bytes_of(size):
        tried.append(size)
        return fixed + 100 * size

    most = max(first, most)
    size = largest_batch.largest(first, most, bytes_of, limit)
    # Bisection over at most 13 sizes.
    assert len(tried) == len(set(tried)) <= 4
    if not size:
        assert fixed + 100 * first > limit
        return
    assert size in tried
    assert (size // first).bit_count() == 1 and size % first == 0
    assert size <= most and fixed + 100 * size <= limit
    assert 2 * size > most or fixed + 100 * 2 * size > limit


def test_the_memory_of_a_program_is_that_of_its_arrays():
    def step(state, batch):
        return state + batch.sum(), batch * 2

    state = jax.ShapeDtypeStruct((100,), jnp.float32)
    batch = jax.ShapeDtypeStruct((1000,), jnp.float32)
    compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    # The new state takes the place of the old one.
    arrays = 4 * (100 + 1000 + 1000)
    assert arrays <= memory.step_bytes(compiled) <= arrays + 4 * 1000 + 100


def test_the_free_memory_is_that_of_the_machine_within_a_container(tmp_path):
    meminfo = tmp_path / 'meminfo'
    meminfo.write_text('MemTotal: 9000 kB\nMemAvailable:   4000 kB\n')
    assert memory.host_bytes(meminfo, tmp_path) == 4000 * 1024
    (tmp_path / 'memory.max').write_text('max\n')
    (tmp_path / 'memory.current').write_text('1000\n')
    assert memory.host_bytes(meminfo, tmp_path) == 4000 * 1024
    (tmp_path / 'memory.max').write_text('1001000\n')
    assert memory.host_bytes(meminfo, tmp_path) == 1_000_000
    assert memory.host_bytes(tmp_path / 'none', tmp_path) == 1_000_000
    mesh = sharding.make_mesh()
    assert 0 < memory.free_bytes(mesh) * mesh.size < 2**50


def softmax(*overrides):
    config = configs.default('helpers.fakes.softmax')
    base = ('data.source=digits', 'data.threads=0', 'train.steps=2')
    for text in (*base, 'data.batch_size=auto', *overrides):
        configs.override(config, *text.split('=', 1))
    return config


def test_a_run_gets_the_largest_batch_within_the_stated_memory(tmp_path, capsys):
    config = softmax('parallel.memory=0.0002', 'optimizer.accumulate=2')
    loop.run(config, tmp_path / 'run')
    trained = json.loads((tmp_path / 'run' / 'config.json').read_text())
    size = trained['data']['batch_size']
    assert f'data.batch_size={size}: a step takes' in capsys.readouterr().out
    run = begin(configs.stored(trained), tmp_path / 'run')
    assert largest_batch.step_bytes(run, size) <= 200_000
    assert largest_batch.step_bytes(run, 2 * size) > 200_000
    assert size % 4 == 0


@pytest.mark.parametrize(
    'override, message',
    [
        (
            'parallel.memory=1e-6',
            'data.batch_size=auto: expected a step that fits in 1e-06',
        ),
        ('optimizer.warmup=2', 'optimizer.warmup is 2 steps: expected fewer'),
    ],
)
def test_a_step_that_never_fits_is_one_line(tmp_path, override, message):
    with pytest.raises(UserError) as error:
        loop.run(softmax(override), tmp_path / 'run')
    assert message in str(error.value)


def test_a_batch_without_room_for_a_warm_up_is_too_large(tmp_path):
    config = softmax(
        'optimizer.warmup=4', 'train.steps=320 examples', 'data.batch_size=2'
    )
    run = begin(config, tmp_path / 'run')
    assert np.isfinite(largest_batch.step_bytes(run, 64))
    assert largest_batch.step_bytes(run, 128) == np.inf
