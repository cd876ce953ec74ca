"""The energy of a computation, from the counters of the machine.

RAPL counts the energy of processors, NVML the energy of NVIDIA GPUs.
"""

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
PERIOD = 100  # milliseconds between samples of nvidia-smi


@dataclass
class Energy:
    """The energy of a computation, known after its end.

    Attributes:
        source: name of the counter, or the reason why there is none.
        joules: the energy of all devices; None before the end, and without a counter.
    """

    source: str
    joules: float | None = None


@contextlib.contextmanager
def measured(
    platform: str, devices: int, powercap: Path = POWERCAP
) -> Iterator[Energy]:
    """Measure the energy of the computation inside the `with` block.

    Only the devices that compute are counted: the processors if JAX runs on them, else its GPUs.

    Args:
        platform: platform of JAX: 'cpu', 'gpu', 'cuda' or another one, which has no
            counter.
        devices: number of JAX devices.
        powercap: folder of the kernel's counters.

    Yields:
        The energy, whose attributes are set at the end of the block.
    """
    if platform == 'cpu':
        source, read_joules = _rapl(powercap)
        with _counted(source, read_joules) as energy:
            yield energy
        return
    if platform not in ('gpu', 'cuda'):
        yield Energy(f'{platform}: there is no energy counter')
        return
    gpus = _visible_gpus(devices)
    try:
        import pynvml

        pynvml.nvmlInit()
    # pynvml is not installed, or has no driver. It has a class for each failure.
    except Exception:
        with _sampled(gpus) as energy:
            yield energy
        return
    with _counted('NVML, the GPU boards', lambda: _nvml_joules(pynvml, gpus)) as energy:
        yield energy


@contextlib.contextmanager
def _counted(source: str, read_joules: Callable[[], float] | None) -> Iterator[Energy]:
    """Measure with a counter that only grows; None: there is no counter."""
    energy = Energy(source)
    if read_joules is None:
        yield energy
        return
    before = read_joules()
    yield energy
    energy.joules = read_joules() - before


def _rapl(powercap: Path) -> tuple[str, Callable[[], float] | None]:
    """(source, function that reads the joules so far) of the processor packages.

    The counters of cores and uncore are parts of a package's counter.
    """
    # AMD's counters have the same name.
    zones = sorted(powercap.glob('intel-rapl:[0-9]*'))
    packages = [zone for zone in zones if zone.name.count(':') == 1]
    counters = [package / 'energy_uj' for package in packages]
    if not counters:
        return 'this machine has no RAPL counters', None
    if not all(os.access(counter, os.R_OK) for counter in counters):
        return f'RAPL: only root may read {counters[0]}', None
    ranges = [
        int((package / 'max_energy_range_uj').read_text()) for package in packages
    ]

    def read_microjoules() -> list[int]:
        return [int(counter.read_text()) for counter in counters]

    return 'RAPL, the processor packages', Unwrapped(read_microjoules, ranges)


class Unwrapped:
    """The joules since the object was made, from counters that start again from 0.

    Call it before any counter passes its range twice, else a round is lost.
    """

    def __init__(self, read: Callable[[], list[int]], ranges: list[int]):
        """Read the counters for the first time.

        Args:
            read: returns the microjoules of each counter.
            ranges: the largest value of each counter, microjoules.
        """
        self._read = read
        self._ranges = ranges
        self._last = read()
        self._total = 0

    def __call__(self) -> float:
        """Return the joules since the object was made."""
        values = self._read()
        for new, old, most in zip(values, self._last, self._ranges, strict=True):
            self._total += (new - old) % (most + 1)
        self._last = values
        return self._total / 1e6


def _visible_gpus(devices: int) -> list[str]:
    """The numbers or UUIDs of JAX's GPUs, as NVIDIA's tools name them."""
    gpus = [str(number) for number in range(devices)]
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    if visible:
        gpus = visible.split(',')
    return gpus[:devices]


def _nvml_joules(pynvml, gpus: list[str]) -> float:
    """The joules of all GPUs so far."""
    millijoules = 0
    for gpu in gpus:
        if gpu.isdigit():
            handle = pynvml.nvmlDeviceGetHandleByIndex(int(gpu))
        else:
            handle = pynvml.nvmlDeviceGetHandleByUUID(gpu)
        millijoules += pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    return millijoules / 1e3


@contextlib.contextmanager
def _sampled(gpus: list[str]) -> Iterator[Energy]:
    """Measure with nvidia-smi: the mean of its power samples times the duration."""
    energy = Energy('this machine has neither pynvml nor nvidia-smi')
    if not shutil.which('nvidia-smi'):
        yield energy
        return
    command = [
        'nvidia-smi',
        '-i',
        ','.join(gpus),
        '--query-gpu=power.draw',
        '--format=csv,noheader,nounits',
        f'--loop-ms={PERIOD}',
    ]
    with tempfile.TemporaryFile('w+') as samples:
        sampler = subprocess.Popen(command, stdout=samples, stderr=subprocess.DEVNULL)
        start = time.perf_counter()
        try:
            yield energy
        finally:
            seconds = time.perf_counter() - start
            sampler.terminate()
            sampler.wait()
        samples.seek(0)
        watts = mean_watts(samples.read())
    energy.source = 'nvidia-smi reports no power'
    if watts is not None:
        energy.source = 'nvidia-smi, power samples of the GPU boards'
        energy.joules = watts * len(gpus) * seconds


def mean_watts(text: str) -> float | None:
    """Return the mean power of a GPU in the output of nvidia-smi.

    Args:
        text: one number of watts a line, for each GPU and sample. Other lines are
            ignored. So is text after the last line break, which may be incomplete.

    Returns:
        The mean of one GPU in watts, over all GPUs and samples; None if there is no
        number.
    """
    watts = []
    for line in text.split('\n')[:-1]:
        with contextlib.suppress(ValueError):
            watts.append(float(line))
    if not watts:
        return None
    return sum(watts) / len(watts)
