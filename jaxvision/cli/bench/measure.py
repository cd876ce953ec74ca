"""The training step and the inference of a config, measured on the devices of this machine."""

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
from jaxvision.core.types import Json, Records
from jaxvision.data import pipeline
from jaxvision.train import sharding
from jaxvision.train.run import Run

BATCHES = 1, 8, 32, 128  # of the inference
ENDLESS = 2**31  # steps


@dataclass(frozen=True)
class Effort:
    """The duration of a measurement.

    Attributes:
        seconds: time for the training steps, for the input pipeline, and for the
            inference of all batch sizes together; the peaks take a tenth of it for each
            size.
        steps: training steps to time; None: as many as fit in `seconds`.
    """

    seconds: float = 10.0
    steps: int | None = None


def measure(compiled: Compiled, effort: Effort, read_input: bool = True) -> Json:
    """Measure a compiled config.

    Args:
        compiled: the run and its update.
        effort: how long to measure.
        read_input: whether to measure the input pipeline.

    Returns:
        The report as values for JSON, {part: values}. The parts are 'device', 'dtype',
        'batch_size', 'compile', 'step', 'compute', 'memory', 'input', 'limit' and
        'inference'. FLOPs and their bytes are of all devices together, memory is of
        each device. A part without a number has the reason in 'why'.
    """
    run = compiled.run
    batch = next(_batches(run, threads=0))
    step, state = _step(compiled, batch, effort)
    median = step['seconds']['median']
    # The matmuls of `_compute` take memory of their own, so memory is read before.
    memory = _memory(compiled)
    compute = _compute(compiled, median, effort)
    feed = {'why': 'not measured: --synthetic reads no data'}
    if read_input:
        feed = _input(run, effort)
    input_rate = feed.get('images_per_second')
    batch_size = run.config.data.batch_size
    return {
        'device': _device(run),
        'dtype': run.config.model.dtype,
        'batch_size': batch_size,
        'compile': {
            'trace_and_lower_seconds': compiled.lower_seconds,
            'compile_seconds': compiled.compile_seconds,
        },
        'step': step,
        'compute': compute,
        'memory': memory,
        'input': feed,
        'limit': limit(median, batch_size, input_rate, compute),
        'inference': _inference(run, state, batch, effort),
    }


def _device(run: Run) -> Json:
    """Describe the devices and the host."""
    device = run.mesh.devices.flat[0]
    cores = os.cpu_count()
    if sys.platform != 'darwin':
        cores = len(os.sched_getaffinity(0))
    return {
        'platform': device.platform,
        'kind': device.device_kind,
        'number': run.mesh.size,
        'processor': _processor(),
        'jax': jax.__version__,
        'cores': cores,
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return os.uname().machine


def _batches(run: Run, threads: int) -> Iterator[Records]:
    """The training batches of a run, without an end."""
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


def _step(
    compiled: Compiled, batch: Records, effort: Effort
) -> tuple[Json, TrainState]:
    """Measure the update on one batch that stays on the devices.

    Args:
        compiled: the run and its update.
        batch: on the host.
        effort: how long to measure.

    Returns:
        (the measurement, the last state).
    """
    run = compiled.run
    state = run.init()
    on_devices = sharding.put(run.mesh, batch)

    def step():
        nonlocal state
        state, scalars = compiled.update(state, on_devices)
        return state, scalars

    timing.timed(step, 0.0, times=1, warmup=1)
    platform = run.mesh.devices.flat[0].platform
    with energy.measured(platform, run.mesh.size) as spent:
        durations = timing.timed(step, effort.seconds, times=effort.steps, warmup=0)
        seconds = timing.spread(durations)
    batch_size = run.config.data.batch_size
    energy_report = {'why': spent.source}
    if spent.joules is not None:
        energy_report = {
            'joules_per_image': spent.joules / (seconds['number'] * batch_size),
            'source': spent.source,
        }
    measurement = {
        'seconds': seconds,
        'images_per_second': batch_size / seconds['median'],
        'inputs': 'already on the device',
        'energy': energy_report,
    }
    return measurement, state


def _memory(compiled: Compiled) -> Json:
    """The bytes of the compiled program per device, and the peaks of device and process."""
    memory = compiled.update.memory_analysis()
    peaks = []
    for device in compiled.run.mesh.devices.flat:
        statistics = device.memory_stats() or {}
        if 'peak_bytes_in_use' in statistics:
            peaks.append(statistics['peak_bytes_in_use'])
    unit = 1 if sys.platform == 'darwin' else 1024
    return {
        'argument_bytes': memory.argument_size_in_bytes,
        'result_bytes': memory.output_size_in_bytes - memory.alias_size_in_bytes,
        'temporary_bytes': memory.temp_size_in_bytes,
        'device_peak_bytes': max(peaks, default=None),
        'host_peak_bytes': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
    }


def _compute(compiled: Compiled, step: float, effort: Effort) -> Json:
    """The FLOPs and bytes of the program, and the peaks of the devices in a matmul and a copy.

    Args:
        compiled: the run and its update.
        step: median duration of a training step in seconds.
        effort: how long to measure.
    """
    run = compiled.run
    seconds = effort.seconds / 10
    peak, side = timing.matmul_peak(run.mesh, run.config.model.dtype, seconds)
    peaks = {
        'peak_flops_per_second': peak,
        'peak_matmul_side': side,
        'copy_bytes_per_second': timing.copy_bandwidth(run.mesh, seconds),
    }
    if run.config.optimizer.accumulate > 1 and jax.default_backend() != 'cpu':
        why = 'XLA counts the loop over optimizer.accumulate microbatches once'
        return {**peaks, 'why': why}
    cost = compiled.update.cost_analysis()
    flops = cost['flops'] * run.mesh.size
    return {
        **peaks,
        'flops': flops,
        'bytes': cost['bytes accessed'] * run.mesh.size,
        'flops_per_second': flops / step,
        'fraction_of_peak': flops / step / peak,
    }


def _input(run: Run, effort: Effort) -> Json:
    """Measure the input pipeline on the host, while nothing else runs."""
    threads = run.config.data.threads
    with contextlib.closing(_batches(run, threads)) as batches:
        rate = timing.per_second(batches, effort.seconds)
    return {
        'images_per_second': rate * run.config.data.batch_size,
        'threads': threads,
    }


def _inference(
    run: Run, state: TrainState, batch: Records, effort: Effort
) -> list[Json]:
    """Measure the latency of `Task.predict` on one device, by batch size.

    Args:
        run: the run.
        state: with the parameters.
        batch: a training batch, whose inputs are repeated to each batch size and shape. An
            input that it lacks is zero.
        effort: how long to measure.
    """
    device = run.mesh.devices.flat[0]
    variables = jax.device_put(state.variables, device)
    predict = jax.jit(run.task.predict)
    examples = {}
    for name, array in run.spec.inputs.items():
        examples[name] = batch.get(name, np.zeros((1, *array.shape), array.dtype))
    rows = []
    for size in BATCHES:
        arrays = {
            name: np.resize(example, (size, *run.spec.inputs[name].shape))
            for name, example in examples.items()
        }
        inputs = jax.device_put(arrays, device)
        compiled = predict.lower(variables, inputs).compile()
        call = functools.partial(compiled, variables, inputs)
        seconds = timing.spread(timing.timed(call, effort.seconds / len(BATCHES)))
        row = {
            'batch_size': size,
            'seconds': seconds,
            'images_per_second': size / seconds['median'],
        }
        rows.append(row)
    return rows
