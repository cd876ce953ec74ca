"""Timings under a simulated clock, and the search for the fastest matmul."""

import jax
import numpy as np
import pytest

from jaxvision.cli.bench import timing
from jaxvision.train import sharding


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Pending:
    """A result that becomes ready some seconds after it was requested."""

    def __init__(self, clock, seconds):
        self._clock = clock
        self._seconds = seconds

    def block_until_ready(self):
        self._clock.now += self._seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing, 'perf_counter', clock)
    return clock


def pending(clock, *seconds):
    durations = iter(seconds)
    return lambda: Pending(clock, next(durations))


def test_each_call_is_waited_for_and_the_warm_up_left_out(clock):
    call = pending(clock, 100, 50, 1, 3, 2)
    assert timing.timed(call, 1e9, times=3, warmup=2) == [1, 3, 2]


@pytest.mark.parametrize('seconds, number', [(10.0, 5), (3.0, 3), (0.0, 3)])
def test_as_many_as_fit_and_at_least_three(clock, seconds, number):
    assert timing.timed(pending(clock, *[2] * 9), seconds, warmup=0) == [2] * number


def test_spread_is_the_percentiles():
    result = timing.spread(
        [float(x) for x in np.random.default_rng(0).permutation(101)]
    )
    assert result == {'median': 50, 'p5': 5, 'p95': 95, 'number': 101}


def test_a_rate_is_of_the_second_half(clock):
    def items():
        for _ in range(5):
            clock.now += 1.0  # read for the first time
            yield
        while True:
            clock.now += 0.25
            yield

    assert timing.per_second(items(), 10.0) == 4


@pytest.mark.parametrize(
    'rates, side',
    [
        (
            {512: 1e9, 1024: 2e9, 2048: 2.01e9, 4096: 9e9},
            2048,
        ),  # half a percent pays no further walk
        ({512: 3e9, 1024: 1e9, 2048: 9e9}, 512),
    ],
)
def test_the_matmul_grows_while_it_gets_faster(monkeypatch, rates, side):
    sides = []

    def timed(call, seconds):
        n = call().shape[-1]
        sides.append(n)
        return [2 * n**3 / rates[n], 1e9]

    monkeypatch.setattr(timing, 'timed', timed)
    monkeypatch.setattr(
        timing, '_noise', lambda mesh, shape, dtype: np.empty((1, *shape))
    )
    monkeypatch.setattr(timing, '_on_each', lambda mesh, function: lambda x: x)
    mesh = sharding.make_mesh()
    peak, best = timing.matmul_peak(mesh, 'float32', seconds=1e9)
    assert best == side and peak == pytest.approx(rates[side])
    assert sides == sorted(rates)[: len(sides)] and len(sides) == 3 - (side == 512)


def test_the_matmul_stops_before_one_that_takes_too_long():
    peak, side = timing.matmul_peak(sharding.make_mesh(), 'float32', seconds=0.0)
    assert side == timing.SMALLEST and peak > 0


def test_the_matmul_has_the_counted_flops_and_the_product():
    mesh = sharding.make_mesh()
    x = timing._noise(mesh, (64, 64), 'bfloat16')
    product = timing._on_each(mesh, lambda x: x @ x)
    assert product.lower(x).compile().cost_analysis()['flops'] == pytest.approx(
        2 * 64**3, rel=0.02
    )
    np.testing.assert_allclose(
        np.asarray(product(x)[0], np.float32),
        np.asarray(x[0], np.float32) @ np.asarray(x[0], np.float32),
        atol=0.2,
    )
    assert x.dtype == 'bfloat16' and x.shape[0] == jax.device_count()
