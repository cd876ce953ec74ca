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

from jaxvision.train import processes

ROOT = Path(__file__).parents[2]


def test_alone_there_is_nothing_to_agree_on(capsys):
    processes.agree('config', {'seed': 0})
    assert processes.is_first()
    processes.say('hello')
    assert capsys.readouterr().out == 'hello\n'


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


def test_a_lost_process_ends_the_others_and_the_launch_goes_on(bench, tmp_path):
    double = ['--config.model.dtype=float64', '--config.model.param_dtype=float64']
    options = dict(number=2, devices=2, overrides=['--config.parallel.fsdp=2', *double])
    launch = bench.start(tmp_path / 'run', **options)
    bench.wait_for(5, tmp_path / 'run', launch)
    os.kill(bench.worker(tmp_path / 'run', 1), signal.SIGKILL)
    killed = time.monotonic()
    assert launch.wait(timeout=60) not in (0, 2, 75)
    assert time.monotonic() - killed < 30

    shutil.copytree(tmp_path / 'run', tmp_path / 'moved')

    launch = bench.start(tmp_path / 'run', **options)
    bench.wait_for(bench.last_step(tmp_path / 'run') + 5, tmp_path / 'run', launch)
    os.kill(
        bench.worker(tmp_path / 'run', 1), signal.SIGTERM
    )  # local.sh starts it again
    out, _ = launch.communicate(timeout=120)
    assert launch.returncode == 0, out
    assert (
        'resuming at step' in out
        and 'everything saved' in out
        and 'starting again' in out
    )

    # What two processes of two devices saved goes on in one of one, each parameter whole again
    # (restoring compares checksums), and ends as the others do.
    moved = bench.start(tmp_path / 'moved', number=1, overrides=double)
    assert (
        'resuming at step' in moved.communicate(timeout=120)[0]
        and moved.returncode == 0
    )
    with jax.enable_x64(True):
        assert bench.apart(tmp_path / 'run', tmp_path / 'moved') < 1e-8
