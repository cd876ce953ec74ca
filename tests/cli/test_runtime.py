"""What is settled before JAX starts."""

import os

import pytest

from jaxvision.cli import runtime
from jaxvision.core import config as configs


@pytest.mark.parametrize(
    'cores, batch_size, devices',
    [
        (1, 64, 1),
        (2, 64, 2),
        (2, 63, 1),
        (6, 64, 4),
        (6, 60, 6),
        (64, 64, 8),
        (64, 7, 7),
    ],
)
def test_cores_become_devices_that_divide_the_batch(
    cores, batch_size, devices, monkeypatch
):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda process: set(range(cores)))
    assert runtime.cpu_devices(batch_size) == devices


@pytest.mark.parametrize(
    'flags, given, expected',
    [
        ('', 0, '--xla_force_host_platform_device_count=2'),
        ('--xla_x=1', 4, '--xla_x=1 --xla_force_host_platform_device_count=4'),
        (
            '--xla_force_host_platform_device_count=3',
            4,
            '--xla_force_host_platform_device_count=3',
        ),
    ],
)
def test_flags_that_say_how_many_devices_stay(flags, given, expected, monkeypatch):
    monkeypatch.setenv('XLA_FLAGS', flags)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda process: {0, 1})
    config = configs.default('classification')
    config.parallel.cpu_devices = given
    runtime.split_cpu(config)
    assert os.environ['XLA_FLAGS'] == expected


@pytest.mark.parametrize('cores, devices', [(1, 1), (2, 2), (6, 4), (64, 8)])
def test_a_batch_that_is_found_later_fits_a_power_of_two_of_devices(
    cores, devices, monkeypatch
):
    monkeypatch.setenv('XLA_FLAGS', '')
    monkeypatch.setattr(os, 'sched_getaffinity', lambda process: set(range(cores)))
    config = configs.default('classification')
    configs.override(config, 'data.batch_size', 'auto')
    runtime.split_cpu(config)
    expected = f'--xla_force_host_platform_device_count={devices}'
    assert os.environ['XLA_FLAGS'] == expected
