"""Several processes as one run: refused, killed, told to stop. tests/bench/lost_worker.py does it
often."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from jaxvision.train import loop, processes
from jaxvision.train.writers import read_rows

ROOT = Path(__file__).parents[2]


def test_alone_there_is_nothing_to_agree_on(capsys):
    processes.agree('config', {'seed': 0})
    assert processes.is_first()
    processes.say('hello')
    assert capsys.readouterr().out == 'hello\n'


def test_calls_for_a_stop_are_numbered_over_all_trainings(monkeypatch):
    numbers = []
    monkeypatch.setattr(processes.jax, 'process_count', lambda: 2)
    monkeypatch.setattr(
        processes.multihost_utils, 'reached_preemption_sync_point', numbers.append
    )
    for steps in (3, 2):
        with processes.stop_signal() as asked:
            for step in range(1, steps + 1):
                asked(step)
    assert numbers == list(range(numbers[0], numbers[0] + 5))


@pytest.mark.parametrize(
    'flags, message',
    [
        (
            ['--num_processes', '2'],
            '--coordinator, --num_processes and --process_id: expected all three or none',
        ),
        (
            [
                '--coordinator',
                'localhost:1',
                '--num_processes',
                '2',
                '--process_id',
                '2',
            ],
            '--process_id=2: expected 0 to 1, since --num_processes=2',
        ),
        (['--distributed'], 'the processes did not find each other'),
    ],
)
def test_what_cannot_be_joined_is_said_in_a_line(flags, message, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            '-m',
            'jaxvision.main',
            '--config',
            'configs/cnn.py:digits',
            '--workdir',
            str(tmp_path),
            *flags,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith('error: ') and message in done.stderr


def start_two(tmp_path, folders, *flags, rates=(0.1, 0.1)):
    """The last line on stderr of each of two processes that are refused."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        coordinator = f'127.0.0.1:{free.getsockname()[1]}'
    workers = [
        subprocess.Popen(
            [
                sys.executable,
                '-m',
                'jaxvision.main',
                '--config',
                ROOT / 'configs/cnn.py:digits',
                '--workdir',
                tmp_path / 'run',
                f'--config.optimizer.lr={rate}',
                '--coordinator',
                coordinator,
                '--num_processes',
                '2',
                '--process_id',
                str(i),
                *flags,
            ],
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i, (folder, rate) in enumerate(zip(folders, rates, strict=True))
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 2, errors
        yield errors.splitlines()[-1]
    assert not (tmp_path / 'run').exists()


def test_a_process_with_another_config_is_refused_with_the_difference(tmp_path):
    for error in start_two(tmp_path, (ROOT, ROOT), rates=(0.1, 0.2)):
        assert error == (
            'error: the processes differ in their config: process 1 has '
            'optimizer.lr=0.2, process 0 0.1. Start all of them with the same command '
            'and on the same files'
        )


def test_a_process_with_other_data_is_refused_with_the_difference(photos, tmp_path):
    one, other = tmp_path / 'one', tmp_path / 'other'
    for machine in (one, other):
        shutil.copytree(photos, machine / 'photos')
    (other / 'photos' / 'two' / '07.png').unlink()
    for error in start_two(
        tmp_path, (one, other), '--config.data.source=folder:photos'
    ):
        assert error.startswith(
            'error: the processes differ in their data: process 1 has '
        )
        assert 'files=59, process 0 60' in error


@pytest.fixture
def bench():
    spec = importlib.util.spec_from_file_location(
        'lost_worker', ROOT / 'tests' / 'bench' / 'lost_worker.py'
    )
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(ROOT / 'tests' / 'bench'))
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(ROOT / 'tests' / 'bench'))


@pytest.fixture
def float64():
    jax.config.update('jax_enable_x64', True)
    yield ('model.dtype=float64', 'model.param_dtype=float64')
    jax.config.update('jax_enable_x64', False)


def wait_for_text(text, launch):
    """The output of a launch up to the line with this text."""
    lines = []
    for line in launch.stdout:
        lines.append(line)
        if text in line:
            return ''.join(lines)
    raise AssertionError(f'{text!r} not in:\n{"".join(lines)}')


def measured(workdir):
    """The rows of metrics.jsonl with a measurement, without timings."""
    return [
        {name: value for name, value in row.items() if not name.startswith('perf/')}
        for row in read_rows(workdir / 'metrics.jsonl')
        if any(name.startswith('eval/') for name in row)
    ]


def test_a_lost_process_ends_the_others_and_any_layout_goes_on(
    bench, tmp_path, float64, no_pictures
):
    """A run of two processes of two devices is stopped, started again and killed.

    One process of one device ends it, as a run that nothing stopped.
    """
    workdir = tmp_path / 'run'
    overrides = [f'--config.{text}' for text in ('parallel.fsdp=2', *float64)]
    launch = bench.start(workdir, number=2, devices=2, overrides=overrides)
    bench.wait_for(5, workdir, launch)
    os.kill(bench.worker(workdir, 1), signal.SIGTERM)  # local.sh starts both again
    output = wait_for_text('resuming at step', launch)
    assert 'everything saved' in output and 'starting again' in output
    bench.wait_for(bench.last_step(workdir) + 5, workdir, launch)
    os.kill(bench.worker(workdir, 1), signal.SIGKILL)
    killed = time.monotonic()
    assert launch.wait(timeout=60) not in (0, 2, 75)
    assert time.monotonic() - killed < 30
    assert bench.last_step(workdir) < 100

    # Each parameter is whole again: restoring compares checksums.
    config = bench.config([*float64, 'train.checkpoint_every=100'])
    assert loop.run(config, workdir).finished
    loop.run(config, tmp_path / 'alone')
    assert bench.apart(workdir, tmp_path / 'alone') < 1e-8
    for row, expected in zip(
        measured(workdir), measured(tmp_path / 'alone'), strict=True
    ):
        assert row == pytest.approx(expected, abs=1e-6)
