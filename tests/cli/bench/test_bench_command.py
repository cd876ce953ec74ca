"""The plan and the measurement of a whole config, and the bytes that several devices sum."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from jaxvision.cli import runtime
from jaxvision.cli.bench import command as program
from jaxvision.cli.bench import compiled, report

ROOT = Path(__file__).parents[3]
CNN = 'configs/cnn.py'


def command(*arguments, devices=1):
    flags = (
        f'{os.environ["XLA_FLAGS"]} --xla_force_host_platform_device_count={devices}'
    )
    return subprocess.run(
        [sys.executable, '-m', 'jaxvision.bench', *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, 'XLA_FLAGS': flags},
    )


def bench(*arguments):
    return command('--plan', *arguments)


@pytest.fixture(scope='module')
def planned():
    """Without the data, on 16 GPUs in two nodes, the parameters over the 8 of a node."""
    done = bench(
        '--config',
        CNN,
        '--topology',
        '16xH100',
        '--classes',
        '10',
        '--examples',
        '4000',
        '--batch_size',
        '32',
        '--json',
        '--config.model.variant=32-64',
        '--config.parallel.fsdp=8',
        '--config.data.image_size=16',
    )
    assert done.returncode == 0, done.stderr
    sections = json.loads(done.stdout)
    assert sections.pop('sources')
    return {
        (section, n['name']): n
        for section, numbers in sections.items()
        for n in numbers
    }


def test_a_plan_counts_the_flops_of_the_convolutions(planned):
    """Two 3x3 convolutions a stage, without their padding; three passes, the first layer's two."""

    def multiplied(side, channels, to):
        return (3 * side - 2) ** 2 * channels * to

    macs = 2 * multiplied(16, 3, 32) + 3 * (
        multiplied(16, 32, 32) + multiplied(8, 32, 64) + multiplied(8, 64, 64) + 64 * 10
    )
    flops = planned['work', 'FLOPs']['value'] / 2  # two images a device
    assert (
        2 * macs < flops < 1.15 * 2 * macs
    )  # the rest: batch norms, augmentation, AdamW


def test_a_plan_counts_the_bytes_of_each_device(planned):
    kernels = (
        3 * 3 * (32 * 64 + 64 * 64)
    )  # those of at least 2**14 elements are split over 8
    rest = 3 * 3 * (3 * 32 + 32 * 32) + 64 * 10 + 10 + 2 * (32 + 32 + 64 + 64)
    assert planned['memory', 'parameters']['value'] == 4 * (kernels // 8 + rest)
    assert planned['memory', 'optimizer']['value'] >= 2 * 4 * (kernels // 8 + rest)
    assert planned['memory', 'fits']['value'] is True
    gathered = planned['collectives', 'parameters gathered: bytes']['value']
    assert gathered % (4 * kernels) == 0 and gathered > 0


def test_a_plan_names_the_origin_of_each_number(planned):
    known = (
        'compiled program',
        'data sheet',
        'assumed',
        'topology',
        'config',
        'all of the above',
    )
    assert all(number['origin'].startswith(known) for number in planned.values())
    assert planned['step', 'devices']['value'] == 16
    assert (
        planned['step', 'step with overlap']['value']
        <= planned['step', 'step without overlap']['value']
    )


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--topology', '9xT4'], "no data sheet of the device 'T4'"),
        (['--topology', '4096xH100'], 'at most 2048'),
        (
            ['--topology', '2xH100', '--utilization', '2'],
            '--utilization=2.0: expected a num',
        ),
        (
            ['--topology', '2xH100', '--config.parallel.mode=pmap'],
            "parallel.mode='pmap': expected 'jit'",
        ),
        (
            ['--topology', '2xH100', '--config.data.source=folder:nowhere'],
            'give --classes and',
        ),
    ],
)
def test_a_mistake_is_one_line(arguments, message):
    done = bench('--config', CNN, *arguments)
    assert done.returncode == 2 and done.stderr.count('\n') == 1
    assert done.stderr.startswith('error: ') and message in done.stderr


def test_two_devices_sum_the_gradient_the_statistics_and_the_listed_scalars():
    done = subprocess.run(
        [
            sys.executable,
            ROOT / 'tests/bench/growth.py',
            '--devices',
            '2',
            '--steps',
            '2',
        ],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    layers = [(1, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64)]
    norms = 2 * sum(to for _, to in layers)
    weights = sum(9 * channels * to for channels, to in layers) + 64 * 10 + 10 + norms
    assert (
        f'= gradient {4 * weights:,} + statistics {4 * norms:,} + scalars'
        in done.stdout
    )


@pytest.mark.parametrize(
    'devices, total, off', [(2, 112, 0), (2, 113, 1), (1, 0, 0), (1, 8, 8)]
)
def test_bytes_of_no_known_group_are_counted(devices, total, off):
    unaccounted = runpy.run_path(str(ROOT / 'tests/bench/growth.py'))['unaccounted']
    row = {
        'devices': devices,
        'bytes': total,
        'gradient': 100,
        'statistics': 8,
        'scalar_bytes': 4,
    }
    assert unaccounted(row) == off


@pytest.fixture(scope='module')
def measured():
    """8x8 images of one channel, two devices."""
    done = command(
        '--config',
        'configs/cnn.py:digits',
        '--config.model.variant=8',
        '--json',
        '--steps',
        '4',
        '--seconds',
        '0.2',
        '--batch_size',
        '32',
        devices=2,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # and nothing but JSON


def test_a_measurement_is_of_all_devices(measured):
    device = measured['device']
    assert (device['platform'], device['kind'], device['number']) == ('cpu', 'cpu', 2)
    assert device['jax'] == jax.__version__
    macs = (2 * 1 * 8 + 3 * 8 * 8) * (
        3 * 8 - 2
    ) ** 2 + 3 * 8 * 10  # as of the plan above
    assert 32 * 2 * macs < measured['compute']['flops'] < 1.6 * 32 * 2 * macs


def test_a_measurement_adds_up(measured):
    step, compute = measured['step'], measured['compute']
    seconds = step['seconds']
    assert (
        seconds['number'] == 4
        and 0 < seconds['p5'] <= seconds['median'] <= seconds['p95']
    )
    assert step['images_per_second'] == pytest.approx(32 / seconds['median'])
    assert step['inputs'] == 'already on the device'
    assert compute['flops_per_second'] == pytest.approx(
        compute['flops'] / seconds['median']
    )
    assert compute['fraction_of_peak'] == pytest.approx(
        compute['flops_per_second'] / compute['peak_flops_per_second']
    )
    assert measured['compile']['compile_seconds'] > 0 and 'why' not in measured['input']
    assert (
        measured['memory']['host_peak_bytes']
        > measured['memory']['temporary_bytes']
        > 0
    )
    assert measured['limit']['by'] in (
        'overheads',
        'input pipeline',
        'compute',
        'memory bandwidth',
    )
    assert step['energy'].get('joules_per_image', 0) > 0 or step['energy']['why']
    assert [row['batch_size'] for row in measured['inference']] == [1, 8, 32, 128]
    assert all(
        row['images_per_second']
        == pytest.approx(row['batch_size'] / row['seconds']['median'])
        for row in measured['inference']
    )


def test_a_measurement_reads_as_text(measured):
    text = report.measured(measured)
    assert f'2 x cpu (cpu), jax {jax.__version__}; host' in text
    assert 'configs/cnn.py:digits: batch 32 in float32, digits' in text
    assert 'images/s; inputs already on the device, each step timed alone' in text
    assert 'peak not reported' in text and 'batch 128: median' in text
    changed = {
        **measured,
        'step': {
            **measured['step'],
            'energy': {'joules_per_image': 0.25, 'source': 'RAPL'},
        },
        'input': {'why': 'no data'},
    }
    text = report.measured(changed)
    assert (
        '0.25 J an image of the training step (RAPL)' in text
        and 'input      no data' in text
    )


@pytest.mark.parametrize(
    'value, unit, text',
    [
        (1234567, 'B', '1.23 MB'),
        (999, 'B', '999 B'),
        (2.5e15, 'FLOP/s', '2.50 PFLOP/s'),
        (0.00123, 's', '1.230 ms'),
        (75.0, 's', '75.00 s'),
    ],
)
def test_values_are_written_with_readable_units(value, unit, text):
    assert report.readable(value, unit) == text


@pytest.mark.parametrize(
    'arguments, message',
    [
        (
            ['--config.data.source=folder:nowhere'],
            'To measure without the data, give --synthetic',
        ),
        (['--sorts'], '--sorts: expected --config.FIELD=VALUE'),
        (['--config.data.bach_size=3'], "did you mean 'batch_size'?"),
        (['--batch_size', '0'], '--batch_size=0: expected a number > 0'),
        (['--classes', '3'], 'expected --synthetic or --plan with them'),
        (['--topology', '8xH100'], 'Add --plan to plan for other devices'),
        (['--plan'], '--topology: expected the devices of the plan'),
        (['--plan', '--topology', '8xH100', '--steps', '3'], 'a plan runs nothing'),
        (
            ['--config.parallel.fsdp=2'],
            'fsdp=2: expected a divisor of the number of devices, 1',
        ),
    ],
)
def test_a_mistake_in_measuring_is_one_line(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(runtime, 'start_jax', lambda *_, **__: None)
    assert program.main(['--config', CNN, *arguments]) == 2
    out, err = capsys.readouterr()
    (error,) = [line for line in err.splitlines() if not line.endswith(' ...')]
    assert not out and error.startswith('error: ') and message in error


def test_a_batch_that_does_not_divide_over_the_devices_is_an_error():
    done = command('--config', CNN, '--batch_size', '3', '--synthetic', devices=2)
    assert done.returncode == 2 and not done.stdout
    assert (
        'data.batch_size=3: expected a multiple of the number of devices, 2'
        in done.stderr
    )


def test_a_full_device_is_reported_as_a_batch_too_large(monkeypatch, capsys):
    def full(config, sources):
        raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: out of memory\nwhile ...')

    monkeypatch.setattr(runtime, 'start_jax', lambda *_, **__: None)
    monkeypatch.setattr(compiled, 'compile_update', full)
    assert program.main(['--config', CNN, '--config.data.source=digits']) == 2
    assert (
        'Give --batch_size below 64. RESOURCE_EXHAUSTED: out' in capsys.readouterr().err
    )


def test_a_config_that_cuts_images_is_measured(capsys):
    arguments = [
        'configs/super_resolution.py:digits',
        '--config.model.variant=1x4',
        '--config.task.patch=2',
        '--config.data.image_size=8',
    ]
    effort = ['--batch_size', '4', '--steps', '3', '--seconds', '0.05', '--json']
    assert program.main(['--config', *arguments, *effort]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found['step']['images_per_second'] > 0
    assert found['inference'][0]['batch_size'] == 1
