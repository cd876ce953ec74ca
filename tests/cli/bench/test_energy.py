"""Energy counters: a folder like the kernel's, and programs and modules like NVIDIA's."""

import os
import sys
import time
import types

import pytest

from jaxvision.cli.bench import energy

PACKAGE = 'intel-rapl:0'
CORES = 'intel-rapl:0:0'
OTHER = 'intel-rapl:1'


def count(powercap, microjoules):
    for name, value in microjoules.items():
        zone = powercap / name
        zone.mkdir(exist_ok=True)
        (zone / 'energy_uj').write_text(f'{value}\n')
        (zone / 'max_energy_range_uj').write_text('9999999\n')


def test_rapl_sums_the_packages_and_follows_their_wrap_around(tmp_path):
    (tmp_path / 'intel-rapl').mkdir()  # the kernel's control type beside its zones
    count(tmp_path, {PACKAGE: 1_000_000, CORES: 0, OTHER: 9_500_000})
    with energy.measured('cpu', 1, tmp_path) as spent:
        count(tmp_path, {PACKAGE: 3_500_000, CORES: 2_000_000, OTHER: 500_000})
    assert spent.joules == pytest.approx(2.5 + 1.0) and 'RAPL' in spent.source


def test_a_machine_without_counters_gives_the_reason(tmp_path):
    with energy.measured('cpu', 1, tmp_path) as spent:
        pass
    assert spent.joules is None and 'no RAPL' in spent.source


def test_counters_of_root_are_named(tmp_path, monkeypatch):
    count(tmp_path, {PACKAGE: 1})
    monkeypatch.setattr(os, 'access', lambda path, mode: False)
    with energy.measured('cpu', 1, tmp_path) as spent:
        pass
    assert (
        spent.joules is None
        and f'only root may read {tmp_path / PACKAGE}' in spent.source
    )


def test_a_platform_without_counters_gives_the_reason():
    with energy.measured('tpu', 4) as spent:
        pass
    assert (spent.joules, spent.source) == (None, 'tpu: there is no energy counter')


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """nvidia_smi('200', '[N/A]'): a program that prints these again and again, and its arguments
    into a file."""

    def make(*lines):
        program = tmp_path / 'nvidia-smi'
        samples = ''.join(f'echo {line!r}; ' for line in lines)
        program.write_text(
            f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\n'
            f'while :; do {samples} sleep 0.02; done\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
        monkeypatch.setitem(sys.modules, 'pynvml', None)
        return tmp_path / 'arguments'

    return make


def test_nvidia_smis_power_over_time_is_energy(nvidia_smi, monkeypatch):
    arguments = nvidia_smi('200.00', '300.00')
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '3,GPU-abc,7')
    begun = time.perf_counter()
    with energy.measured('gpu', 2) as spent:
        time.sleep(0.3)
    most = 500 * (time.perf_counter() - begun)
    assert 500 * 0.3 <= spent.joules <= most
    assert '-i 3,GPU-abc ' in arguments.read_text()


def test_a_gpu_that_reports_no_power(nvidia_smi):
    nvidia_smi('[N/A]')
    with energy.measured('gpu', 1) as spent:
        time.sleep(0.1)
    assert (spent.joules, spent.source) == (None, 'nvidia-smi reports no power')


def test_a_gpu_without_nvidias_tools_gives_the_reason(monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setitem(sys.modules, 'pynvml', None)
    with energy.measured('gpu', 1) as spent:
        pass
    assert spent.joules is None and 'neither pynvml nor nvidia-smi' in spent.source


def test_an_incomplete_last_line_does_not_count():
    assert energy.mean_watts('200\n100\n3') == 150
    assert energy.mean_watts('') is None


def test_nvmls_counters_are_summed(monkeypatch):
    counters = {0: 5_000, 1: 100, 'GPU-abc': 70_000}  # millijoules
    monkeypatch.setitem(
        sys.modules,
        'pynvml',
        types.SimpleNamespace(
            nvmlInit=lambda: None,
            nvmlDeviceGetHandleByIndex=lambda index: index,
            nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
            nvmlDeviceGetTotalEnergyConsumption=counters.__getitem__,
        ),
    )
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0,GPU-abc')
    with energy.measured('gpu', 2) as spent:
        counters |= {0: 7_000, 1: 900_000, 'GPU-abc': 71_000}
    assert spent.joules == pytest.approx(3) and 'NVML' in spent.source
