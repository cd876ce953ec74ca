"""What must be settled before JAX starts."""

import logging
import os
import sys

from jaxvision.core.fields import Config
from jaxvision.core.files import cache_folder

DEVICES_OF_CPU = '--xla_force_host_platform_device_count'


def start_jax(config: Config, cached: bool = True) -> None:
    """Quiet libraries, exact operations, the cache of compiled programs."""
    if config.parallel.deterministic:
        _add_xla_flags('--xla_gpu_deterministic_ops=true')
    # Orbax logs a failed save many times over, and raises it too: that is the one that is told.
    for name in ('absl', 'asyncio'):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda raised: None
    import jax

    if 'float64' in (config.model.dtype, config.model.param_dtype):
        jax.config.update('jax_enable_x64', True)
    if not cached:
        jax.config.update('jax_enable_compilation_cache', False)
        return
    jax.config.update('jax_compilation_cache_dir', str(cache_folder('xla')))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)


def split_cpu(config: Config) -> None:
    """The cores of a machine without an accelerator as so many devices, before start_jax: XLA
    shares out a batch over devices better than an operation over threads (1.1 to 1.8 times as fast
    on 2 cores). XLA_FLAGS that say how many are left as they are."""
    if DEVICES_OF_CPU not in os.environ.get('XLA_FLAGS', ''):
        number = config.parallel.cpu_devices or cpu_devices(config.data.batch_size)
        _add_xla_flags(f'{DEVICES_OF_CPU}={number}')


def cpu_devices(batch_size: int) -> int:
    """One a core, as far as the batch divides; at most 8, for each holds all parameters."""
    cores = (
        len(os.sched_getaffinity(0))
        if hasattr(os, 'sched_getaffinity')
        else os.cpu_count()
    )
    return max(
        number for number in range(1, min(cores, 8) + 1) if batch_size % number == 0
    )


def start_virtual_devices(number: int) -> None:
    """As many CPU devices, for programs that are compiled and not run: what LLVM would make of them
    it need not try."""
    _add_xla_flags(f'{DEVICES_OF_CPU}={number}', '--xla_backend_optimization_level=0')
    import jax

    jax.config.update('jax_platforms', 'cpu')
    if jax.device_count() != number:
        raise RuntimeError(
            'JAX had started before the plan could set the number of devices'
        )


def _add_xla_flags(*flags: str) -> None:
    os.environ['XLA_FLAGS'] = ' '.join(
        [os.environ.get('XLA_FLAGS', ''), *flags]
    ).strip()
