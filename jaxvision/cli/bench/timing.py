"""Durations of calls, and the peaks of the devices in matmuls and copies."""

import functools
from collections.abc import Callable, Iterator
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxvision.core.types import Tree

# Sides of the matrices.
SMALLEST = 2**9
LARGEST = 2**14


def timed(
    call: Callable[[], Tree],
    seconds: float,
    *,
    times: int | None = None,
    warmup: int = 2,
) -> list[float]:
    """Measure the duration of calls, each until its results are ready.

    Args:
        call: returns arrays, and may be asynchronous.
        seconds: time for all calls; at least 3 calls are measured.
        times: number of calls, whatever `seconds` is; None: as many as fit in
            `seconds`.
        warmup: number of calls before the measurement.

    Returns:
        The duration of each measured call in seconds, in order.
    """
    for _ in range(warmup):
        jax.block_until_ready(call())
    durations = []
    first_start = perf_counter()

    def is_done() -> bool:
        if times:
            return len(durations) >= times
        return len(durations) >= 3 and perf_counter() - first_start >= seconds

    while not is_done():
        start = perf_counter()
        jax.block_until_ready(call())
        durations.append(perf_counter() - start)
    return durations


def spread(durations: list[float]) -> dict[str, float | int]:
    """Summarise durations in seconds, at least one of them.

    Returns:
        {'median': ..., 'p5': 5th percentile, 'p95': 95th percentile, 'number': count}.
    """
    p5, median, p95 = np.percentile(durations, (5, 50, 95)).tolist()
    return {'median': median, 'p5': p5, 'p95': p95, 'number': len(durations)}


def per_second(items: Iterator, seconds: float) -> float:
    """Return the items that an iterator yields in a second, after half of the time as warm-up.

    Args:
        items: an iterator without an end, from which items are taken.
        seconds: duration of warm-up and measurement together; each takes at least one
            item.
    """
    rate = 0.0
    for _ in ('warm-up', 'measurement'):
        count = 0
        start = perf_counter()
        while not count or perf_counter() - start < seconds / 2:
            next(items)
            count += 1
        rate = count / (perf_counter() - start)
    return rate


def matmul_peak(mesh: Mesh, dtype: str, seconds: float) -> tuple[float, int]:
    """Measure the FLOP/s of square matrix products, one on each device at the same time.

    The matrices hold normal noise, and the precision is JAX's default. The side of the matrices
    doubles from 512 to at most 16,384, as long as this gains 5 % and a product fits in
    the time.

    Args:
        mesh: the devices.
        dtype: of the matrices.
        seconds: for each size.

    Returns:
        (FLOP/s of all devices, side) of the fastest product.
    """
    best = (0.0, 0)
    side = SMALLEST
    multiply = _on_each(mesh, lambda x: x @ x)
    while side <= LARGEST:
        x = _noise(mesh, (side, side), dtype)
        fastest = min(timed(functools.partial(multiply, x), seconds))
        rate = mesh.size * 2 * side**3 / fastest
        gained = rate > 1.05 * best[0]
        best = max(best, (rate, side))
        if not gained or 8 * fastest > seconds:
            break
        side *= 2
    return best


def copy_bandwidth(mesh: Mesh, seconds: float) -> float:
    """Measure the bytes that all devices read and write in a second, by x + 1.

    The arrays are too large for the caches.

    Args:
        mesh: the devices, which all copy at the same time.
        seconds: duration of the measurement.

    Returns:
        The bytes per second of all devices together, in the fastest call.
    """
    is_cpu = mesh.devices.flat[0].platform == 'cpu'
    elements = 2**26 if is_cpu else 2**28
    x = jax.device_put(np.ones((mesh.size, elements), np.float32), _by_device(mesh))
    # Without the donation, every call would pay page faults for fresh memory.
    increment = _on_each(mesh, lambda x: x + 1, donate_argnums=0)

    def step() -> jax.Array:
        nonlocal x
        x = increment(x)
        return x

    return 2 * x.nbytes / min(timed(step, seconds))


def _on_each(mesh: Mesh, function: Callable, **options) -> Callable:
    """Compile a function that each device applies to its part of an array.

    Args:
        mesh: the devices.
        function: of the part of one device.
        **options: of `jax.jit`.
    """
    spec = _by_device(mesh).spec

    def on_part(x):
        return function(x[0])[None]

    on_parts = jax.shard_map(on_part, mesh=mesh, in_specs=spec, out_specs=spec)
    return jax.jit(on_parts, **options)


def _noise(mesh: Mesh, shape: tuple[int, ...], dtype: str) -> jax.Array:
    """Normal noise of a shape on each device."""

    def sample(key):
        return jax.random.normal(key, (mesh.size, *shape), jnp.dtype(dtype))

    return jax.jit(sample, out_shardings=_by_device(mesh))(jax.random.key(0))


def _by_device(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names))
