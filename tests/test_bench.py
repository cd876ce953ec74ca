"""The plan of a whole config, and the accounting of what grows with the number of devices."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CNN = 'configs/cnn.py'


def bench(*arguments):
    return subprocess.run([sys.executable, '-m', 'jaxvision.bench', '--plan', *arguments], cwd=ROOT,
                          capture_output=True, text=True, timeout=300)


@pytest.fixture(scope='module')
def planned():
    """Without the data, on 16 GPUs in two nodes, the parameters over the 8 of a node."""
    done = bench('--config', CNN, '--topology', '16xH100', '--classes', '10', '--examples', '4000',
                 '--batch_size', '32', '--json', '--config.model.variant=32-64',
                 '--config.parallel.fsdp=8', '--config.data.image_size=16')
    assert done.returncode == 0, done.stderr
    sections = json.loads(done.stdout)
    assert sections.pop('sources')
    return {(section, n['name']): n for section, numbers in sections.items() for n in numbers}


def test_a_plan_counts_the_flops_of_the_convolutions(planned):
    """Two 3x3 convolutions a stage, without their padding; three passes, the first layer's two."""
    multiplied = lambda side, channels, to: (3 * side - 2) ** 2 * channels * to
    macs = (2 * multiplied(16, 3, 32) + 3 * (multiplied(16, 32, 32) + multiplied(8, 32, 64)
                                             + multiplied(8, 64, 64) + 64 * 10))
    flops = planned['work', 'FLOPs']['value'] / 2  # two images a device
    assert 2 * macs < flops < 1.15 * 2 * macs      # the rest: batch norms, augmentation, AdamW


def test_a_plan_says_what_each_device_holds(planned):
    kernels = 3 * 3 * (32 * 64 + 64 * 64)  # those of at least 2**14 elements are split over 8
    rest = 3 * 3 * (3 * 32 + 32 * 32) + 64 * 10 + 10 + 2 * (32 + 32 + 64 + 64)
    assert planned['memory', 'parameters']['value'] == 4 * (kernels // 8 + rest)
    assert planned['memory', 'optimizer']['value'] >= 2 * 4 * (kernels // 8 + rest)
    assert planned['memory', 'fits']['value'] is True
    gathered = planned['collectives', 'parameters gathered: bytes']['value']
    assert gathered % (4 * kernels) == 0 and gathered > 0


def test_a_plan_says_where_each_number_is_from(planned):
    known = ('compiled program', 'data sheet', 'assumed', 'topology', 'config', 'all of the above')
    assert all(number['origin'].startswith(known) for number in planned.values())
    assert planned['step', 'devices']['value'] == 16
    assert planned['step', 'step with overlap']['value'] <= \
        planned['step', 'step without overlap']['value']


@pytest.mark.parametrize('arguments, message', [
    (['--topology', '9xT4'], "no figures for the device 'T4'"),
    (['--topology', '4096xH100'], 'at most 2048'),
    (['--topology', '2xH100', '--share', '2'], '--share 2.0: above 0'),
    (['--topology', '2xH100', '--config.parallel.mode=pmap'], "of parallel.mode='jit'"),
    (['--topology', '2xH100', '--config.data.source=folder:nowhere'], 'give --classes and')])
def test_a_mistake_is_one_line(arguments, message):
    done = bench('--config', CNN, *arguments)
    assert done.returncode == 2 and done.stderr.count('\n') == 1
    assert done.stderr.startswith('error: ') and message in done.stderr


def test_two_devices_sum_the_gradient_the_statistics_and_the_listed_scalars():
    done = subprocess.run(
        [sys.executable, ROOT / 'tests/bench/growth.py', '--devices', '2', '--steps', '2'],
        capture_output=True, text=True, timeout=300, cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr
    layers = [(1, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64)]
    norms = 2 * sum(to for _, to in layers)
    weights = sum(9 * channels * to for channels, to in layers) + 64 * 10 + 10 + norms
    assert f'= gradient {4 * weights:,} + statistics {4 * norms:,} + scalars' in done.stdout


@pytest.mark.parametrize('devices, total, off', [(2, 112, 0), (2, 113, 1), (1, 0, 0), (1, 8, 8)])
def test_a_byte_too_many_is_seen(devices, total, off):
    unaccounted = runpy.run_path(str(ROOT / 'tests/bench/growth.py'))['unaccounted']
    row = {'devices': devices, 'bytes': total, 'gradient': 100, 'statistics': 8, 'scalar_bytes': 4}
    assert unaccounted(row) == off
