"""local.sh with stand-in workers."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from stand_ins import LAUNCH, alive, clean_environment, program, wait_for

# Keeps a line of JSON of each call, then does as BEHAVIOUR says: for each attempt, for each worker,
# a code, or how many seconds it runs (SIGTERM: 75).
WORKER = """#!{python}
import json, os, signal, sys, time
arguments = sys.argv[1:]
worker = int(arguments[arguments.index('--process_id') + 1])
signal.signal(signal.SIGTERM, lambda *_: (os.write(2, b'saved\\n'), os._exit(75)))
with open(f'calls{worker}', 'a') as file:
    file.write(json.dumps([arguments, os.getpid(), {name: os.environ.get(name) for name in
                          ('CUDA_VISIBLE_DEVICES', 'XLA_FLAGS', 'JAX_PLATFORMS')}]) + '\\n')
os.write(1, f'progress of {worker}\\n'.encode())  # in one piece, for the others write there too
os.write(2, f'error of {worker}\\n'.encode())
attempt = len(open(f'calls{worker}').readlines()) - 1
behaviour = json.loads(os.environ['BEHAVIOUR'])
answer = behaviour[min(attempt, len(behaviour) - 1)][worker]
if isinstance(answer, str):
    time.sleep(float(answer))
else:
    sys.exit(answer)
"""


@pytest.fixture
def local(tmp_path):
    """Starts local.sh with stand-in workers that end as `behaviour` says."""
    worker = program(tmp_path / 'worker', WORKER)

    def start(behaviour, *arguments, **environment):
        return subprocess.Popen(
            [LAUNCH / 'local.sh', str(len(behaviour[0])), 'configs/cnn.py', *arguments],
            cwd=tmp_path,
            start_new_session=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # What starts the tests in the background may have it ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            env=clean_environment(
                BEHAVIOUR=json.dumps(behaviour), PYTHON=str(worker), GRACE='1'
            )
            | environment,
        )

    return start


def calls(folder: Path, worker: int) -> list:
    path = folder / f'calls{worker}'
    return (
        [json.loads(line) for line in path.read_text().splitlines()]
        if path.exists()
        else []
    )


def test_local_gives_each_worker_its_place(local, tmp_path):
    process = local(
        [[0, 0, 0]], '--workdir', 'a folder', DEVICES='2', XLA_FLAGS='--xla_a=1'
    )
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    for worker in range(3):
        ((arguments, _, environment),) = calls(tmp_path, worker)
        port = re.search(r'127\.0\.0\.1:(\d+)', ' '.join(arguments))[1]
        assert arguments == [
            '-m',
            'jaxvision.main',
            '--config',
            'configs/cnn.py',
            '--workdir',
            'a folder',
            '--coordinator',
            f'127.0.0.1:{port}',
            '--num_processes',
            '3',
            '--process_id',
            str(worker),
        ]
        assert environment == {
            'XLA_FLAGS': '--xla_a=1 --xla_force_host_platform_device_count=2',
            'JAX_PLATFORMS': 'cpu',
            'CUDA_VISIBLE_DEVICES': None,
        }
    assert sorted(out.splitlines()) == [
        '[worker 1] progress of 1',
        '[worker 2] progress of 2',
        'progress of 0',
    ]
    assert sorted(err.splitlines()) == [
        '[worker 1] error of 1',
        '[worker 2] error of 2',
        'error of 0',
    ]


@pytest.mark.parametrize('environment', [{}, {'CUDA_VISIBLE_DEVICES': '0,1,2,3,4'}])
def test_local_shares_the_gpus_out(local, tmp_path, environment):
    program(tmp_path / 'bin/nvidia-smi', '#!/bin/sh\nprintf "0\\n1\\n2\\n3\\n"')
    process = local(
        [[0, 0]], PATH=f'{tmp_path / "bin"}:{os.environ["PATH"]}', **environment
    )
    process.communicate(timeout=60)
    assert [
        calls(tmp_path, worker)[0][2]['CUDA_VISIBLE_DEVICES'] for worker in range(2)
    ] == ['0,1', '2,3']


@pytest.mark.parametrize(
    'behaviour, code',
    [
        ([[3, 0]], 3),
        ([[0, 2]], 2),
        ([[1, 2]], 2),  # the mistake, not what came of it
        ([[4, 75]], 4),
        ([[75, 75], [0, 0]], 0),
        ([[75, 75]] * 3, 75),
    ],
)
def test_local_ends_with_the_code_that_tells_most(local, tmp_path, behaviour, code):
    process = local(behaviour, RESTARTS='2')
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert len(calls(tmp_path, 0)) == len(behaviour)
    assert err.count('starting again') == len(behaviour) - 1


def test_local_takes_a_new_port_for_each_start(local, tmp_path):
    local([[75], [75], [0]]).communicate(timeout=60)
    ports = {
        re.search(r'127\.0\.0\.1:(\d+)', str(call))[1] for call in calls(tmp_path, 0)
    }
    assert len(ports) > 1


@pytest.mark.parametrize(
    'send',
    [
        lambda pid: os.kill(pid, signal.SIGTERM),
        lambda pid: os.killpg(
            pid, signal.SIGINT
        ),  # as a terminal's Ctrl-C does: to all of them
    ],
    ids=['SIGTERM', 'Ctrl-C'],
)
def test_local_passes_a_signal_on_and_does_not_start_again(local, tmp_path, send):
    process = local([['30', '30']])
    wait_for(lambda: calls(tmp_path, 0) and calls(tmp_path, 1))
    send(process.pid)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert 'starting again' not in err
    assert {'saved', '[worker 1] saved'} <= set(err.splitlines())
    assert not any(alive(calls(tmp_path, worker)[0][1]) for worker in range(2))


def test_local_kills_what_a_killed_worker_leaves(local, tmp_path):
    process = local([['30', '30', '30']])
    wait_for(lambda: all(calls(tmp_path, worker) for worker in range(3)))
    started = time.monotonic()
    os.kill(calls(tmp_path, 1)[0][1], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + 9
    assert time.monotonic() - started < 20  # GRACE is 1 s
    assert 'worker 1 failed with code 137' in err
    assert not any(alive(calls(tmp_path, worker)[0][1]) for worker in range(3))


def test_local_restarts_when_one_worker_was_told_to_stop(local, tmp_path):
    # As the real ones do, the others learn of it and stop as well; here, a little later.
    process = local([['30', 75], [0, 0]], GRACE='10')
    wait_for(lambda: calls(tmp_path, 0) and calls(tmp_path, 1))
    os.kill(calls(tmp_path, 0)[0][1], signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(calls(tmp_path, 0)) == len(calls(tmp_path, 1)) == 2


@pytest.mark.parametrize(
    'arguments',
    [
        [],
        ['2'],
        ['0', 'configs/cnn.py'],
        ['configs/cnn.py', '2'],
        ['2', '--workdir', 'x'],
    ],
)
def test_local_prints_its_usage(arguments):
    result = subprocess.run(
        [LAUNCH / 'local.sh', *arguments], text=True, capture_output=True
    )
    assert result.returncode == 2
    assert 'usage: launch/local.sh N CONFIG' in result.stderr
