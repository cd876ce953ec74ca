"""The process itself: killed, stopped, started again. tests/bench/kill_resume.py does it often."""

import importlib.util
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from jaxvision.cli import train as program

ROOT = Path(__file__).parents[1]
OVERRIDES = [
    '--config.model.variant=8',
    '--config.train.steps=60',
    '--config.train.best=',
    '--config.train.checkpoint_every=3',
    '--config.train.eval_every=30',
]


@pytest.fixture
def bench():
    spec = importlib.util.spec_from_file_location(
        'kill_resume', ROOT / 'tests' / 'bench' / 'kill_resume.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(command):
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(step, workdir, process, seconds=120):
    """Until a checkpoint of at least this step is there, while the run goes on."""
    folder, end = workdir / 'checkpoints', time.monotonic() + seconds
    while time.monotonic() < end:
        found = folder.iterdir() if folder.exists() else ()
        if any(path.name.isdigit() and int(path.name) >= step for path in found):
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    raise AssertionError(f'no checkpoint of step {step} after {seconds} s')


def test_killed_stopped_and_started_again_it_is_the_same_run(bench, tmp_path):
    workdir = tmp_path / 'stopped'
    command = bench.command(workdir, OVERRIDES)

    killed = start(command)
    wait_for(3, workdir, killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL

    stopped = start(command)
    wait_for(15, workdir, stopped)
    stopped.send_signal(signal.SIGTERM)
    out, _ = stopped.communicate(timeout=120)
    assert stopped.returncode == program.STOPPED == 75, out
    assert 'resuming at step' in out and 'SIGTERM: saving and stopping' in out
    again = out.splitlines()[-1].strip()
    assert shlex.split(again)[1:] == command[1:]

    python, *arguments = shlex.split(again)
    done = subprocess.run(
        [python, '-X', 'importtime', *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and 'finished at step 60' in done.stdout, done.stderr
    imported = {line.rpartition('|')[2].strip() for line in done.stderr.splitlines()}
    # Training needs no TensorFlow, though it is installed.
    assert 'jaxvision.train.loop' in imported
    assert 'tensorflow' not in imported

    subprocess.run(
        bench.command(
            tmp_path / 'whole', [*OVERRIDES, '--config.train.checkpoint_every=60']
        ),
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    assert bench.same(bench.outcome(workdir), bench.outcome(tmp_path / 'whole'))
