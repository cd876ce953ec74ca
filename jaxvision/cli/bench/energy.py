"""Energy that a stretch of work took, as the machine counts it: RAPL for processors, NVML for
NVIDIA's GPUs."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path('/sys/class/powercap')
PERIOD = 100  # milliseconds between nvidia-smi's samples


@dataclass
class Energy:
    """Filled in when the work is done."""

    source: str  # what was read, or why nothing was
    joules: float | None = None


@contextlib.contextmanager
def measured(
    platform: str, devices: int, powercap: Path = POWERCAP
) -> Iterator[Energy]:
    """The energy of what is done inside: of the processors where JAX runs on them, of its GPUs
    where it runs on those; nothing that merely idles beside them."""
    if platform == 'cpu':
        with _counted(*_rapl(powercap)) as energy:
            yield energy
        return
    if platform not in ('gpu', 'cuda'):
        yield Energy(f'a {platform} reports none')
        return
    gpus = _visible_gpus(devices)
    try:
        import pynvml

        pynvml.nvmlInit()
    except (
        Exception
    ):  # not installed, or no driver for it: pynvml has a class for each failure
        with _sampled(gpus) as energy:
            yield energy
        return
    with _counted('NVML, the GPU boards', lambda: _nvml(pynvml, gpus)) as energy:
        yield energy


@contextlib.contextmanager
def _counted(source: str, read: Callable[[], float] | None) -> Iterator[Energy]:
    energy = Energy(source)
    before = read() if read else None
    yield energy
    if read:
        energy.joules = read() - before


def _rapl(powercap: Path) -> tuple[str, Callable[[], float] | None]:
    """(what is read, joules so far) of the processors' packages; cores and uncore are within."""
    packages = sorted(powercap.glob('intel-rapl:[0-9]*'))  # AMD's are named so too
    packages = [path for path in packages if path.name.count(':') == 1]
    counters = [path / 'energy_uj' for path in packages]
    if not counters:
        return 'this machine reports none: it has no RAPL counters', None
    if not all(os.access(counter, os.R_OK) for counter in counters):
        return f'RAPL is there, but only root may read {counters[0]}', None
    ranges = [int((path / 'max_energy_range_uj').read_text()) for path in packages]
    return 'RAPL, the processor packages', Unwrapped(
        lambda: [int(counter.read_text()) for counter in counters], ranges
    )


class Unwrapped:
    """Joules so far from counters of microjoules that each begin anew after their range."""

    def __init__(self, read: Callable[[], list[int]], ranges: list[int]):
        self._read, self._ranges = read, ranges
        self._last, self._total = read(), 0

    def __call__(self) -> float:
        now = self._read()
        self._total += sum(
            (new - old) % (most + 1)
            for new, old, most in zip(now, self._last, self._ranges, strict=True)
        )
        self._last = now
        return self._total / 1e6


def _visible_gpus(devices: int) -> list[str]:
    """The numbers or UUIDs of the GPUs that JAX sees, as NVIDIA's tools take them."""
    named = os.environ.get('CUDA_VISIBLE_DEVICES')
    return (named.split(',') if named else [str(i) for i in range(devices)])[:devices]


def _nvml(pynvml, gpus: list[str]) -> float:
    """Joules so far."""
    handles = [
        pynvml.nvmlDeviceGetHandleByIndex(int(gpu))
        if gpu.isdigit()
        else pynvml.nvmlDeviceGetHandleByUUID(gpu)
        for gpu in gpus
    ]
    return (
        sum(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) for handle in handles)
        / 1e3
    )


@contextlib.contextmanager
def _sampled(gpus: list[str]) -> Iterator[Energy]:
    """From nvidia-smi's samples of the power, their mean times the time."""
    energy = Energy('this machine reports none: neither pynvml nor nvidia-smi is here')
    if not shutil.which('nvidia-smi'):
        yield energy
        return
    with tempfile.TemporaryFile('w+') as samples:
        sampler = subprocess.Popen(
            [
                'nvidia-smi',
                '-i',
                ','.join(gpus),
                '--query-gpu=power.draw',
                '--format=csv,noheader,nounits',
                f'--loop-ms={PERIOD}',
            ],
            stdout=samples,
            stderr=subprocess.DEVNULL,
        )
        begun = time.perf_counter()
        try:
            yield energy
        finally:
            seconds = time.perf_counter() - begun
            sampler.terminate()
            sampler.wait()
        samples.seek(0)
        watts = mean_watts(samples.read())
    energy.source = 'nvidia-smi reports no power'
    if watts is not None:
        energy.source = 'nvidia-smi, the GPU boards: samples of their power'
        energy.joules = watts * len(gpus) * seconds


def mean_watts(lines: str) -> float | None:
    """Of nvidia-smi's lines, one a GPU and sample; None where it gives no numbers."""
    watts = []
    for line in lines.split('\n')[:-1]:  # the last one may have been cut short
        with contextlib.suppress(ValueError):
            watts.append(float(line))
    return sum(watts) / len(watts) if watts else None
