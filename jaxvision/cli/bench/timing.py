"""How long calls take, and what the devices can do at most: matmuls and copies that fill them."""

import functools
from collections.abc import Callable, Iterator
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxvision.core.types import Tree

SMALLEST, LARGEST = 2**9, 2**14  # sides of the matmuls


def timed(
    call: Callable[[], Tree],
    seconds: float,
    *,
    times: int | None = None,
    warmup: int = 2,
) -> list[float]:
    """Seconds of each call until what it returns is there: of `times` calls, else of as many as fit
    in `seconds`, at least 3. The `warmup` calls before them are left out."""
    for _ in range(warmup):
        jax.block_until_ready(call())
    durations, begun = [], perf_counter()
    while (
        len(durations) < (times or 3) or not times and perf_counter() - begun < seconds
    ):
        start = perf_counter()
        jax.block_until_ready(call())
        durations.append(perf_counter() - start)
    return durations


def spread(durations: list[float]) -> dict[str, float | int]:
    """Median, 5th and 95th percentile in seconds, and of how many."""
    p5, median, p95 = np.percentile(durations, (5, 50, 95)).tolist()
    return {'median': median, 'p5': p5, 'p95': p95, 'number': len(durations)}


def per_second(items: Iterator, seconds: float) -> float:
    """How many items an iterator gives a second once it has run for half of the time."""
    rate = 0.0
    for _ in range(2):
        count, begun = 0, perf_counter()
        while not count or perf_counter() - begun < seconds / 2:
            next(items)
            count += 1
        rate = count / (perf_counter() - begun)
    return rate


def matmul_peak(mesh: Mesh, dtype: str, seconds: float) -> tuple[float, int]:
    """(FLOP/s, side) of the fastest product of square matrices of normal noise, one on each device
    at the same time, at JAX's default precision. The side doubles while that gains 5 % and a
    product fits in `seconds`."""
    best, side = (0.0, 0), SMALLEST
    multiply = _on_each(mesh, lambda x: x @ x)
    while side <= LARGEST:
        x = _noise(mesh, (side, side), dtype)
        fastest = min(timed(functools.partial(multiply, x), seconds))
        rate = mesh.size * 2 * side**3 / fastest
        paid = rate > 1.05 * best[0]
        best = max(best, (rate, side))
        if not paid or 8 * fastest > seconds:
            break
        side *= 2
    return best


def copy_bandwidth(mesh: Mesh, seconds: float) -> float:
    """Bytes read and written a second by x + 1 on all devices at once, of arrays too large for
    their caches."""
    elements = 2**26 if mesh.devices.flat[0].platform == 'cpu' else 2**28
    x = jax.device_put(np.ones((mesh.size, elements), np.float32), _by_device(mesh))
    increment = _on_each(
        mesh, lambda x: x + 1, donate_argnums=0
    )  # fresh memory costs page faults

    def step():
        nonlocal x
        x = increment(x)
        return x

    return 2 * x.nbytes / min(timed(step, seconds))


def _on_each(mesh: Mesh, function: Callable, **options) -> Callable:
    """`function` of each device's own part, compiled."""
    spec = _by_device(mesh).spec
    return jax.jit(
        jax.shard_map(
            lambda x: function(x[0])[None], mesh=mesh, in_specs=spec, out_specs=spec
        ),
        **options,
    )


def _noise(mesh: Mesh, shape: tuple[int, ...], dtype: str) -> jax.Array:
    """An array of that shape for each device, on it."""
    draw = jax.jit(
        lambda key: jax.random.normal(key, (mesh.size, *shape), jnp.dtype(dtype)),
        out_shardings=_by_device(mesh),
    )
    return draw(jax.random.key(0))


def _by_device(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names))
