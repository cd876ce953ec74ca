"""tpu_pod.sh, and restart.sh that it runs on every worker, with a stand-in gcloud."""

import json
import os
import re
import subprocess

import pytest
from stand_ins import (
    LAUNCH,
    RUN,
    SHELLCHECK,
    alive,
    clean_environment,
    program,
    wait_for,
)

# Keeps each call; answers `describe` with STATE; runs a command for the workers here, if WORKERS.
GCLOUD = """#!{python}
import json, os, subprocess, sys
arguments = sys.argv[1:]
with open(os.environ['CALLS'], 'a') as file:
    file.write(json.dumps(arguments) + '\\n')
if 'describe' in arguments:
    print(os.environ.get('STATE', ''))
    sys.exit('STATE' not in os.environ)
command = [argument for argument in arguments if argument.startswith('--command=')]
if command and 'WORKERS' in os.environ:
    sys.exit(subprocess.run(['bash', '-c', command[0].removeprefix('--command=')]).returncode)
"""


@pytest.fixture
def tpu_pod(tmp_path):
    """Runs tpu_pod.sh with a stand-in gcloud; gives the result and gcloud's calls."""
    program(tmp_path / 'bin/gcloud', GCLOUD)

    def start(*arguments, **environment):
        record = tmp_path / 'gcloud.calls'
        record.unlink(missing_ok=True)
        result = subprocess.run(
            [LAUNCH / 'tpu_pod.sh', *arguments],
            text=True,
            capture_output=True,
            timeout=60,
            env=clean_environment(
                NAME='my pod',
                ZONE='us-west4-a',
                REPO='https://host/code',
                REF='abc',
                CALLS=str(record),
                PATH=f'{tmp_path / "bin"}:{os.environ["PATH"]}',
            )
            | environment,
            cwd=tmp_path,
        )
        return result, [
            json.loads(line) for line in record.read_text().splitlines()
        ] if record.exists() else []

    return start


TPU = ['compute', 'tpus', 'tpu-vm']
PLACE = ['my pod', '--zone=us-west4-a']
DESCRIBE = [*TPU, 'describe', *PLACE, '--format=value(state)']
CREATE = [
    *TPU,
    'create',
    *PLACE,
    '--accelerator-type=v5litepod-16',
    '--version=v2-alpha-tpuv5-lite',
]
DELETE = [*TPU, 'delete', *PLACE, '--quiet']


def ssh(worker, call):
    """The command that a call of gcloud gives to `worker`; the rest must be as expected."""
    *rest, command = call
    assert rest == [*TPU, 'ssh', *PLACE, f'--worker={worker}']
    assert command.startswith('--command=')
    return command.removeprefix('--command=')


@pytest.mark.parametrize(
    'environment, expected',
    [
        ({}, [DESCRIBE, CREATE]),
        ({'STATE': 'READY'}, [DESCRIBE]),
        ({'STATE': 'PREEMPTED', 'SPOT': '1'}, [DESCRIBE, DELETE, [*CREATE, '--spot']]),
        (
            {'TYPE': 'v6e-8', 'VERSION': 'v2-alpha-tpuv6e', 'PROJECT': 'p'},
            [
                [*TPU, 'describe', *PLACE, '--project=p', '--format=value(state)'],
                [
                    *TPU,
                    'create',
                    *PLACE,
                    '--project=p',
                    '--accelerator-type=v6e-8',
                    '--version=v2-alpha-tpuv6e',
                ],
            ],
        ),
    ],
)
def test_tpu_pod_creates_what_is_not_there(tpu_pod, environment, expected):
    result, made = tpu_pod('create', **environment)
    assert result.returncode == 0, result.stderr
    assert made == expected


def test_tpu_pod_steps(tpu_pod):
    assert tpu_pod('delete')[1] == [DELETE]
    (_, (log,)), (_, (stop,)) = tpu_pod('log'), tpu_pod('stop')
    assert ssh(0, log) == 'cd jaxvision && tail --pid="$(cat run.pid)" -n +1 -F run.log'
    assert 'kill -TERM' in ssh('all', stop)
    install = ssh('all', tpu_pod('install')[1][0])
    assert 'git clone https://host/code jaxvision' in install
    assert 'git fetch origin abc' in install
    assert "-e '.[tpu]'" in install
    install, mount = tpu_pod('install', BUCKET='my-bucket')[1]
    assert re.search(
        r'gcsfuse .*--rename-dir-limit=\d+ [^&]*my-bucket /mnt/runs$',
        ssh('all', mount),
        re.MULTILINE,
    )
    start = ssh('all', tpu_pod('start', *RUN)[1][0])
    assert (
        r'launch/restart.sh .venv/bin/python -m jaxvision.main --config configs/cnn.py '
        r'--workdir /mnt/runs/a\ run --distributed </dev/null >run.log 2>&1 &'
    ) in start


@pytest.mark.parametrize(
    'step', [['install'], ['start', *RUN], ['log'], ['stop']], ids=lambda step: step[0]
)
def test_shellcheck_finds_nothing_in_what_the_workers_run(tpu_pod, step):
    for call in tpu_pod(*step, BUCKET='my-bucket')[1]:
        command = call[-1].removeprefix('--command=')
        check = subprocess.run(
            [SHELLCHECK, '--shell=bash', '-'],
            input=command,
            text=True,
            capture_output=True,
        )
        assert check.returncode == 0, check.stdout


def test_tpu_pod_all_is_its_steps_in_order(tpu_pod):
    steps = [
        tpu_pod(*step)[1]
        for step in (['create'], ['install'], ['start', *RUN], ['log'])
    ]
    assert tpu_pod('all', *RUN)[1] == sum(steps, [])


@pytest.mark.parametrize(
    'step',
    [
        ['create'],
        ['install'],
        ['start', *RUN],
        ['log'],
        ['stop'],
        ['delete'],
        ['all', *RUN],
    ],
    ids=lambda step: step[0],
)
def test_tpu_pod_dry_run_prints_what_it_would_run(tpu_pod, step):
    environment = {'BUCKET': 'my-bucket', 'SPOT': '1', 'PROJECT': 'p'}
    dry, made = tpu_pod('--dry_run', *step, **environment)
    assert dry.returncode == 0, dry.stderr
    assert made == []
    pasted = subprocess.run(
        ['bash'],
        input=f'gcloud() {{ printf "%s\\0" "$@"; printf "\\n\\0"; }}\n{dry.stdout}',
        text=True,
        capture_output=True,
    )
    printed = [call.split('\0')[:-1] for call in pasted.stdout.split('\n\0')[:-1]]
    assert printed == tpu_pod(*step, **environment)[1]


@pytest.mark.parametrize(
    'arguments, environment, message',
    [
        ([], {}, 'STEP=: expected create'),
        (['begin'], {}, 'STEP=begin: expected create'),
        (['create'], {'ZONE': ''}, 'expected the name and the zone'),
        (
            ['create'],
            {'STATE': 'CREATING'},
            'NAME=my pod: expected a slice in state READY, not CREATING',
        ),
        (['log', 'configs/cnn.py'], {}, 'log: expected no arguments'),
        (['start'], {}, 'CONFIG: expected a config'),
        (
            ['start', 'configs/cnn.py'],
            {},
            '--workdir: expected a folder that all workers share',
        ),
    ],
)
def test_a_mistake_with_tpu_pod_is_named(tpu_pod, arguments, environment, message):
    result, made = tpu_pod(*arguments, **environment)
    assert result.returncode == 2
    assert message in result.stderr
    assert made in ([], [DESCRIBE])


def test_tpu_pod_starts_again_follows_and_stops_on_a_worker(tpu_pod, tmp_path):
    worker = tmp_path / 'jaxvision'
    (worker / 'launch').mkdir(parents=True)
    (worker / 'launch/restart.sh').symlink_to(LAUNCH / 'restart.sh')
    program(
        worker / '.venv/bin/python',
        '#!/bin/bash\necho "$@"\necho >>starts\n'
        '[ "$(wc -l <starts)" -gt 1 ] || exit 75\n'
        "trap 'echo saved; exit 75' TERM\nwhile :; do sleep 0.1; done\n",
    )
    command = f'-m jaxvision.main --config {" ".join(RUN)} --distributed'
    run_log = worker / 'run.log'

    assert tpu_pod('start', *RUN, WORKERS='1')[0].returncode == 0
    wait_for(lambda: run_log.read_text() == f'{command}\n' * 2)  # 75, and once more
    twice, _ = tpu_pod('start', *RUN, WORKERS='1')
    assert twice.returncode == 2
    assert 'Stop it first' in twice.stderr
    assert tpu_pod('stop', WORKERS='1')[0].returncode == 0
    assert not alive(int((worker / 'run.pid').read_text()))
    log, _ = tpu_pod('log', WORKERS='1')
    assert log.stdout == f'{command}\n' * 2 + 'saved\n'
    assert len((worker / 'starts').read_text()) == 2


def test_restart_ends_with_75_once_it_is_told_to_stop(tmp_path):
    endless = program(
        tmp_path / 'endless',
        "#!/bin/bash\ntrap 'exit 75' TERM\necho >>starts\n"
        'while :; do sleep 0.1; done\n',
    )
    process = subprocess.Popen([LAUNCH / 'restart.sh', endless], cwd=tmp_path)
    wait_for((tmp_path / 'starts').exists)
    process.terminate()
    assert process.wait(timeout=60) == 75
