"""A config's training step and its inference, measured on the devices that are here."""

import contextlib
import functools
import os
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from jaxvision.cli.bench import energy, timing
from jaxvision.cli.bench.compiled import Compiled
from jaxvision.cli.bench.limit import limit
from jaxvision.core.state import TrainState
from jaxvision.core.types import Json
from jaxvision.data import pipeline
from jaxvision.train import sharding
from jaxvision.train.run import Run
from jaxvision.train.saved import blank_batch

BATCHES = 1, 8, 32, 128  # of the inference
ENDLESS = 2**31  # more steps than anyone waits for


@dataclass(frozen=True)
class Effort:
    """How long to measure: each of the numbers, and the step that many times where it is given."""

    seconds: float = 10.0
    steps: int | None = None


def measure(compiled: Compiled, effort: Effort, read_input: bool = True) -> Json:
    """What `bench` reports, as plain values for JSON. FLOPs, and the bytes beside them, are of all
    devices together, memory is of each. A part that has no number says why in 'why'."""
    run = compiled.run
    # A step was compiled for what the spec says, which may not all be in a training example.
    blank = blank_batch(run.spec, run.config.data.batch_size)
    host = blank | {
        name: x for name, x in next(_batches(run, threads=0)).items() if name in blank
    }
    step, state = _step(compiled, host, effort)
    memory = _memory(compiled)  # before the matmuls below take some of their own
    compute = _compute(compiled, step['seconds']['median'], effort)
    feed = (
        _input(run, effort)
        if read_input
        else {'why': 'left out: there is no data (--synthetic), so nothing to read'}
    )
    return {
        'device': _device(run),
        'dtype': run.config.model.dtype,
        'batch_size': run.config.data.batch_size,
        'compile': {
            'trace_and_lower_seconds': compiled.lower_seconds,
            'compile_seconds': compiled.compile_seconds,
        },
        'step': step,
        'compute': compute,
        'memory': memory,
        'input': feed,
        'limit': limit(
            step['seconds']['median'],
            run.config.data.batch_size,
            feed.get('images_per_second'),
            compute,
        ),
        'inference': _inference(run, state, host, effort),
    }


def _device(run: Run) -> dict:
    """What the numbers are of."""
    one = run.mesh.devices.flat[0]
    return {
        'platform': one.platform,
        'kind': one.device_kind,
        'number': run.mesh.size,
        'processor': _processor(),
        'jax': jax.__version__,
        'cores': (
            os.cpu_count() if sys.platform == 'darwin' else len(os.sched_getaffinity(0))
        ),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return os.uname().machine


def _batches(run: Run, threads: int) -> Iterator[dict]:
    config = run.config
    return pipeline.train_batches(
        run.sources['train'],
        run.task.prepare,
        seed=config.seed,
        batch_size=config.data.batch_size,
        start=0,
        stop=ENDLESS,
        threads=threads,
        on_corrupt=config.data.on_corrupt,
        counter=run.unreadable,
    )


def _step(compiled: Compiled, host: dict, effort: Effort) -> tuple[dict, TrainState]:
    """Times of the update on one batch that stays on the devices, each waited for."""
    run, state = compiled.run, compiled.run.init()
    batch = sharding.put(run.mesh, host)

    def step():
        nonlocal state
        state, scalars = compiled.update(state, batch)
        return state, scalars

    timing.timed(step, 0.0, times=1, warmup=1)
    with energy.measured(run.mesh.devices.flat[0].platform, run.mesh.size) as spent:
        seconds = timing.spread(
            timing.timed(step, effort.seconds, times=effort.steps, warmup=0)
        )
    size = run.config.data.batch_size
    joules = (
        {'why': spent.source}
        if spent.joules is None
        else {
            'joules_per_image': spent.joules / (seconds['number'] * size),
            'source': spent.source,
        }
    )
    return {
        'seconds': seconds,
        'images_per_second': size / seconds['median'],
        'inputs': 'already on the device',
        'energy': joules,
    }, state


def _memory(compiled: Compiled) -> dict:
    """Per device, of the compiled program and the most in use so far; and of this process."""
    memory = compiled.update.memory_analysis()
    stats = [device.memory_stats() or {} for device in compiled.run.mesh.devices.flat]
    peaks = [
        found['peak_bytes_in_use'] for found in stats if 'peak_bytes_in_use' in found
    ]
    unit = 1 if sys.platform == 'darwin' else 1024
    return {
        'argument_bytes': memory.argument_size_in_bytes,
        'result_bytes': memory.output_size_in_bytes - memory.alias_size_in_bytes,
        'temporary_bytes': memory.temp_size_in_bytes,
        'device_peak_bytes': max(peaks, default=None),
        'host_peak_bytes': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
    }


def _compute(compiled: Compiled, step: float, effort: Effort) -> dict:
    """The program's FLOPs and bytes, beside what the devices reach in a matmul and a copy."""
    run, cost = compiled.run, compiled.update.cost_analysis()
    peak, side = timing.matmul_peak(
        run.mesh, run.config.model.dtype, effort.seconds / 10
    )
    found = {
        'peak_flops_per_second': peak,
        'peak_matmul_side': side,
        'copy_bytes_per_second': timing.copy_bandwidth(run.mesh, effort.seconds / 10),
    }
    if run.config.optimizer.accumulate > 1 and jax.default_backend() != 'cpu':
        return {
            **found,
            'why': 'XLA counts the loop over optimizer.accumulate microbatches once',
        }
    flops, accessed = (
        cost['flops'] * run.mesh.size,
        cost['bytes accessed'] * run.mesh.size,
    )
    return {
        **found,
        'flops': flops,
        'bytes': accessed,
        'flops_per_second': flops / step,
        'fraction_of_peak': flops / step / peak,
    }


def _input(run: Run, effort: Effort) -> dict:
    """The host's pipeline alone: read, decoded, prepared and batched, going nowhere."""
    with contextlib.closing(_batches(run, run.config.data.threads)) as batches:
        rate = timing.per_second(batches, effort.seconds)
    return {
        'images_per_second': rate * run.config.data.batch_size,
        'threads': run.config.data.threads,
    }


def _inference(run: Run, state: TrainState, host: dict, effort: Effort) -> list[dict]:
    """Latency of the compiled `task.predict` on one device, by batch size."""
    one = run.mesh.devices.flat[0]
    variables = jax.device_put(state.variables, one)
    predict, found = jax.jit(run.task.predict), []
    for size in BATCHES:
        inputs = jax.device_put(
            {
                name: np.resize(host[name], (size, *host[name].shape[1:]))
                for name in run.spec.inputs
            },
            one,
        )
        compiled = predict.lower(variables, inputs).compile()
        answer = functools.partial(compiled, variables, inputs)
        seconds = timing.spread(timing.timed(answer, effort.seconds / len(BATCHES)))
        found.append(
            {
                'batch_size': size,
                'seconds': seconds,
                'images_per_second': size / seconds['median'],
            }
        )
    return found
