"""The memory of a training step, by its compiled program, and that of the devices."""

import contextlib
import os
from pathlib import Path
from typing import Any

import jax

# The part of the memory that a training step may take. Evaluations, the input pipeline and
# fragments take the rest.
FRACTION = 0.8


def step_bytes(compiled: jax.stages.Compiled) -> int:
    """The memory of a compiled program on each device, in bytes.

    It is that of arguments, results and temporary arrays. A result that takes the place of
    an argument counts once.
    """
    memory: Any = compiled.memory_analysis()
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return memory.argument_size_in_bytes + results + memory.temp_size_in_bytes


def free_bytes(mesh: jax.sharding.Mesh) -> int:
    """The free memory of each device, in bytes. The devices of a CPU share its memory."""
    free = []
    for device in mesh.local_devices:
        statistics = device.memory_stats() or {}
        if 'bytes_limit' in statistics:
            free.append(statistics['bytes_limit'] - statistics['bytes_in_use'])
    if free:
        return min(free)
    return host_bytes() // len(mesh.local_devices)


def host_bytes(
    meminfo: Path = Path('/proc/meminfo'), groups: Path = Path('/sys/fs/cgroup')
) -> int:
    """The free memory of this machine in bytes, within the limit of a container.

    Args:
        meminfo: the file of Linux that describes the memory.
        groups: the folder of Linux with the limit and the use of a container.
    """
    free = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    with contextlib.suppress(OSError):
        for line in meminfo.read_text().splitlines():
            name, _, value = line.partition(':')
            if name == 'MemAvailable':
                free = int(value.split()[0]) * 1024
    # The file holds 'max' without a limit.
    with contextlib.suppress(OSError, ValueError):
        limit = int((groups / 'memory.max').read_text())
        used = int((groups / 'memory.current').read_text())
        free = min(free, limit - used)
    return free
