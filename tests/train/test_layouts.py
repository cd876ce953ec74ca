"""One run on other layouts is the same run."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope='module')
def four_devices():
    done = subprocess.run(
        [sys.executable, HERE / 'on_four_devices.py'],
        capture_output=True,
        text=True,
        cwd=HERE.parents[1],
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_without_batch_norm_pmap_is_jit(four_devices):
    assert four_devices['moved'] > 1e-2  # it did train
    assert four_devices['pmap, accumulated'] < 1e-10


def test_under_pmap_a_mean_is_over_the_weights_of_all_devices(four_devices):
    assert four_devices['weighted'] < 1e-6


def test_under_pmap_a_device_has_batch_statistics_of_its_own(four_devices):
    # The variance within 8 examples is another than within 32; the means are the same.
    assert 1e-4 < four_devices['statistics'] < 0.1


def test_shared_parameters_are_the_same_parameters(four_devices):
    assert four_devices['fsdp'] < 1e-10


def test_optimizer_and_average_are_shared_as_their_parameters(four_devices):
    shares = four_devices['shares']
    assert 0.25 <= shares['params'] < 0.3
    assert shares['opt_state'] == pytest.approx(shares['params'], rel=1e-3)
    assert 0.25 <= shares['ema'] < 0.3  # it holds the batch statistics too


def test_parameters_are_gathered_and_never_activations(four_devices):
    gathered = re.findall(r'= \w+\[([\d,]*)\]\S* all-gather\(', four_devices['hlo'])
    assert gathered and set(gathered) <= {'3,3,64,64'}


def test_a_range_test_chooses_the_same_rate_on_every_layout(four_devices):
    assert len(set(four_devices['rates'])) == 1


def test_under_pmap_a_mean_is_over_the_devices_of_all_processes():
    """test_processes.py has a whole run of two processes, under jit.

    bench/layouts.py compares whole runs under pmap: --layouts 1x1 2x2 --set parallel.mode=pmap
    """
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        coordinator = f'127.0.0.1:{free.getsockname()[1]}'
    workers = []
    for process in '01':
        command = [sys.executable, HERE / 'on_four_devices.py', coordinator, process]
        workers.append(
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=HERE.parents[1],
            )
        )
    for worker in workers:
        output, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
        assert json.loads(output.splitlines()[-1])['weighted'] < 1e-6
