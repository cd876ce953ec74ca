"""The launch scripts against stand-ins for what they start: workers, gcloud, srun."""

import copy
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[1]
LAUNCH = ROOT / 'launch'
SHELLCHECK = Path(sys.executable).parent / 'shellcheck'
SCRIPTS = [*LAUNCH.glob('*.sh'), *LAUNCH.glob('*.sbatch')]

# Keeps a line of JSON of each call, then does as BEHAVIOUR says: for each attempt, for each worker,
# a code, or how many seconds it runs (SIGTERM: 75).
WORKER = '''#!{python}
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
'''


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace('{python}', sys.executable))
    path.chmod(0o755)
    return path


def clean_environment(**extra) -> dict[str, str]:
    ours = {'DEVICES', 'RESTARTS', 'GRACE', 'PYTHON', 'XLA_FLAGS', 'JAX_PLATFORMS',
            'CUDA_VISIBLE_DEVICES', 'NAME', 'ZONE', 'TYPE', 'VERSION', 'PROJECT', 'SPOT', 'REPO',
            'REF', 'BUCKET'}
    return {name: value for name, value in os.environ.items() if name not in ours} | extra


@pytest.fixture
def local(tmp_path):
    """Starts local.sh with stand-in workers that end as `behaviour` says."""
    worker = program(tmp_path / 'worker', WORKER)

    def start(behaviour, *arguments, **environment):
        return subprocess.Popen(
            [LAUNCH / 'local.sh', str(len(behaviour[0])), 'configs/cnn.py', *arguments],
            cwd=tmp_path, start_new_session=True, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_environment(BEHAVIOUR=json.dumps(behaviour), PYTHON=str(worker), GRACE='1')
            | environment)
    return start


def calls(folder: Path, worker: int) -> list:
    path = folder / f'calls{worker}'
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.02)


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script):
    assert len(SCRIPTS) == 4
    check = subprocess.run([SHELLCHECK, '--shell=bash', script], text=True, capture_output=True)
    assert check.returncode == 0, check.stdout


# local.sh

def test_local_gives_each_worker_its_place(local, tmp_path):
    process = local([[0, 0, 0]], '--workdir', 'a folder', DEVICES='2', XLA_FLAGS='--xla_a=1')
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    for worker in range(3):
        (arguments, _, environment), = calls(tmp_path, worker)
        port = re.search(r'127\.0\.0\.1:(\d+)', ' '.join(arguments))[1]
        assert arguments == [
            '-m', 'jaxvision.main', '--config', 'configs/cnn.py', '--workdir', 'a folder',
            '--coordinator', f'127.0.0.1:{port}', '--num_processes', '3',
            '--process_id', str(worker)]
        assert environment == {
            'XLA_FLAGS': '--xla_a=1 --xla_force_host_platform_device_count=2',
            'JAX_PLATFORMS': 'cpu', 'CUDA_VISIBLE_DEVICES': None}
    assert sorted(out.splitlines()) == [
        '[worker 1] progress of 1', '[worker 2] progress of 2', 'progress of 0']
    assert sorted(err.splitlines()) == [
        '[worker 1] error of 1', '[worker 2] error of 2', 'error of 0']


@pytest.mark.parametrize('environment', [{}, {'CUDA_VISIBLE_DEVICES': '0,1,2,3,4'}])
def test_local_shares_the_gpus_out(local, tmp_path, environment):
    program(tmp_path / 'bin/nvidia-smi', '#!/bin/sh\nprintf "0\\n1\\n2\\n3\\n"')
    process = local([[0, 0]], PATH=f'{tmp_path / "bin"}:{os.environ["PATH"]}', **environment)
    process.communicate(timeout=60)
    assert [calls(tmp_path, worker)[0][2]['CUDA_VISIBLE_DEVICES'] for worker in range(2)] == [
        '0,1', '2,3']


@pytest.mark.parametrize('behaviour, code', [
    ([[3, 0]], 3),
    ([[0, 2]], 2),
    ([[1, 2]], 2),           # the mistake, not what came of it
    ([[4, 75]], 4),
    ([[75, 75], [0, 0]], 0),
    ([[75, 75]] * 3, 75),
])
def test_local_ends_with_the_code_that_tells_most(local, tmp_path, behaviour, code):
    process = local(behaviour, RESTARTS='2')
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert len(calls(tmp_path, 0)) == len(behaviour)
    assert err.count('starting again') == len(behaviour) - 1


def test_local_takes_a_new_port_for_each_start(local, tmp_path):
    local([[75], [75], [0]]).communicate(timeout=60)
    ports = {re.search(r'127\.0\.0\.1:(\d+)', str(call))[1] for call in calls(tmp_path, 0)}
    assert len(ports) > 1


@pytest.mark.parametrize('send', [
    lambda pid: os.kill(pid, signal.SIGTERM),
    lambda pid: os.killpg(pid, signal.SIGINT),  # as a terminal's Ctrl-C does: to all of them
], ids=['SIGTERM', 'Ctrl-C'])
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


@pytest.mark.parametrize('arguments', [[], ['2'], ['0', 'configs/cnn.py'], ['configs/cnn.py', '2'],
                                       ['2', '--workdir', 'x']])
def test_local_tells_how_it_is_used(arguments):
    result = subprocess.run([LAUNCH / 'local.sh', *arguments], text=True, capture_output=True)
    assert result.returncode == 2
    assert 'usage: launch/local.sh N CONFIG' in result.stderr


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# tpu_pod.sh

# Keeps each call; answers `describe` with STATE; runs a command for the workers here, if WORKERS.
GCLOUD = '''#!{python}
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
'''


@pytest.fixture
def tpu_pod(tmp_path):
    """Runs tpu_pod.sh with a stand-in gcloud; gives the result and gcloud's calls."""
    program(tmp_path / 'bin/gcloud', GCLOUD)

    def start(*arguments, **environment):
        record = tmp_path / 'gcloud.calls'
        record.unlink(missing_ok=True)
        result = subprocess.run(
            [LAUNCH / 'tpu_pod.sh', *arguments], text=True, capture_output=True, timeout=60,
            env=clean_environment(
                NAME='my pod', ZONE='us-west4-a', REPO='https://host/code', REF='abc',
                CALLS=str(record), PATH=f'{tmp_path / "bin"}:{os.environ["PATH"]}') | environment,
            cwd=tmp_path)
        return result, [json.loads(line) for line in record.read_text().splitlines()
                        ] if record.exists() else []
    return start


TPU = ['compute', 'tpus', 'tpu-vm']
PLACE = ['my pod', '--zone=us-west4-a']
DESCRIBE = [*TPU, 'describe', *PLACE, '--format=value(state)']
CREATE = [*TPU, 'create', *PLACE,
          '--accelerator-type=v5litepod-16', '--version=v2-alpha-tpuv5-lite']
DELETE = [*TPU, 'delete', *PLACE, '--quiet']
RUN = ('configs/cnn.py', '--workdir', '/mnt/runs/a run')


def ssh(worker, call):
    """The command that a call of gcloud gives to `worker`; the rest must be as expected."""
    *rest, command = call
    assert rest == [*TPU, 'ssh', *PLACE, f'--worker={worker}']
    assert command.startswith('--command=')
    return command.removeprefix('--command=')


@pytest.mark.parametrize('environment, expected', [
    ({}, [DESCRIBE, CREATE]),
    ({'STATE': 'READY'}, [DESCRIBE]),
    ({'STATE': 'PREEMPTED', 'SPOT': '1'}, [DESCRIBE, DELETE, [*CREATE, '--spot']]),
    ({'TYPE': 'v6e-8', 'VERSION': 'v2-alpha-tpuv6e', 'PROJECT': 'p'}, [
        [*TPU, 'describe', *PLACE, '--project=p', '--format=value(state)'],
        [*TPU, 'create', *PLACE, '--project=p', '--accelerator-type=v6e-8',
         '--version=v2-alpha-tpuv6e']]),
])
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
    assert re.search(r'gcsfuse .*--rename-dir-limit=\d+ [^&]*my-bucket /mnt/runs$',
                     ssh('all', mount), re.MULTILINE)
    start = ssh('all', tpu_pod('start', *RUN)[1][0])
    assert (r'launch/restart.sh .venv/bin/python -m jaxvision.main --config configs/cnn.py '
            r'--workdir /mnt/runs/a\ run --distributed </dev/null >run.log 2>&1 &') in start


@pytest.mark.parametrize('step', [['install'], ['start', *RUN], ['log'], ['stop']],
                         ids=lambda step: step[0])
def test_shellcheck_finds_nothing_in_what_the_workers_run(tpu_pod, step):
    for call in tpu_pod(*step, BUCKET='my-bucket')[1]:
        command = call[-1].removeprefix('--command=')
        check = subprocess.run([SHELLCHECK, '--shell=bash', '-'], input=command, text=True,
                               capture_output=True)
        assert check.returncode == 0, check.stdout


def test_tpu_pod_all_is_its_steps_in_order(tpu_pod):
    steps = [tpu_pod(*step)[1] for step in (['create'], ['install'], ['start', *RUN], ['log'])]
    assert tpu_pod('all', *RUN)[1] == sum(steps, [])


@pytest.mark.parametrize('step', [['create'], ['install'], ['start', *RUN], ['log'], ['stop'],
                                  ['delete'], ['all', *RUN]], ids=lambda step: step[0])
def test_tpu_pod_dry_run_prints_what_it_would_run(tpu_pod, step):
    environment = {'BUCKET': 'my-bucket', 'SPOT': '1', 'PROJECT': 'p'}
    dry, made = tpu_pod('--dry_run', *step, **environment)
    assert dry.returncode == 0, dry.stderr
    assert made == []
    pasted = subprocess.run(
        ['bash'], input=f'gcloud() {{ printf "%s\\0" "$@"; printf "\\n\\0"; }}\n{dry.stdout}',
        text=True, capture_output=True)
    printed = [call.split('\0')[:-1] for call in pasted.stdout.split('\n\0')[:-1]]
    assert printed == tpu_pod(*step, **environment)[1]


@pytest.mark.parametrize('arguments, environment, message', [
    ([], {}, 'which step?'),
    (['begin'], {}, 'which step?'),
    (['create'], {'ZONE': ''}, 'set NAME and ZONE'),
    (['create'], {'STATE': 'CREATING'}, 'my pod is CREATING'),
    (['log', 'configs/cnn.py'], {}, 'log takes no arguments'),
    (['start'], {}, 'give a CONFIG'),
    (['start', 'configs/cnn.py'], {}, 'give --workdir FOLDER on storage that all workers see'),
])
def test_tpu_pod_tells_a_mistake(tpu_pod, arguments, environment, message):
    result, made = tpu_pod(*arguments, **environment)
    assert result.returncode == 2
    assert message in result.stderr
    assert made in ([], [DESCRIBE])


def test_tpu_pod_starts_again_follows_and_stops_on_a_worker(tpu_pod, tmp_path):
    worker = tmp_path / 'jaxvision'
    (worker / 'launch').mkdir(parents=True)
    (worker / 'launch/restart.sh').symlink_to(LAUNCH / 'restart.sh')
    program(worker / '.venv/bin/python', '#!/bin/bash\necho "$@"\necho >>starts\n'
            '[ "$(wc -l <starts)" -gt 1 ] || exit 75\n'
            "trap 'echo saved; exit 75' TERM\nwhile :; do sleep 0.1; done\n")
    command = f'-m jaxvision.main --config {" ".join(RUN)} --distributed'
    run_log = worker / 'run.log'

    assert tpu_pod('start', *RUN, WORKERS='1')[0].returncode == 0
    wait_for(lambda: run_log.read_text() == f'{command}\n' * 2)  # 75, and once more
    twice, _ = tpu_pod('start', *RUN, WORKERS='1')
    assert twice.returncode == 2
    assert 'stop it first' in twice.stderr
    assert tpu_pod('stop', WORKERS='1')[0].returncode == 0
    assert not alive(int((worker / 'run.pid').read_text()))
    log, _ = tpu_pod('log', WORKERS='1')
    assert log.stdout == f'{command}\n' * 2 + 'saved\n'
    assert len((worker / 'starts').read_text()) == 2


def test_restart_ends_with_75_once_it_is_told_to_stop(tmp_path):
    endless = program(tmp_path / 'endless', "#!/bin/bash\ntrap 'exit 75' TERM\necho >>starts\n"
                                            'while :; do sleep 0.1; done\n')
    process = subprocess.Popen([LAUNCH / 'restart.sh', endless], cwd=tmp_path)
    wait_for((tmp_path / 'starts').exists)
    process.terminate()
    assert process.wait(timeout=60) == 75


# slurm.sbatch

@pytest.mark.parametrize('code, cancelled, requeued, expected', [
    (0, False, False, 0), (2, False, False, 2), (75, False, True, 0), (75, True, False, 75)])
def test_slurm_goes_back_into_the_queue_on_75(tmp_path, code, cancelled, requeued, expected):
    cancel = 'kill -TERM $PPID; ' if cancelled else ''
    program(tmp_path / 'srun',
            f'#!/bin/bash\nprintf "%s\\n" "$@" >srun.call; {cancel}exit {code}\n')
    program(tmp_path / 'scontrol', '#!/bin/bash\necho "$@" >scontrol.call\n')
    result = subprocess.run(
        ['bash', LAUNCH / 'slurm.sbatch', *RUN], cwd=tmp_path, text=True, capture_output=True,
        env=clean_environment(PATH=f'{tmp_path}:{os.environ["PATH"]}', SLURM_JOB_ID='7'))
    assert result.returncode == expected, result.stderr
    assert (tmp_path / 'srun.call').read_text().splitlines() == [
        '--kill-on-bad-exit=0', '.venv/bin/python', '-m', 'jaxvision.main', '--config', *RUN,
        '--distributed']
    assert (tmp_path / 'scontrol.call').exists() == requeued
    assert not requeued or (tmp_path / 'scontrol.call').read_text() == 'requeue 7\n'


def test_slurm_warns_the_tasks_and_shows_them_every_gpu_of_their_node():
    options = dict(re.findall(r'^#SBATCH --([\w-]+)=?(\S*)$',
                              (LAUNCH / 'slurm.sbatch').read_text(), re.MULTILINE))
    assert options['signal'] == 'TERM@120'  # B:TERM would warn this script only
    assert options['ntasks-per-node'] == options['gpus-per-node']
    assert 'requeue' in options and 'gpus-per-task' not in options


# gke.yaml

SERVICE, JOBSET = yaml.safe_load_all((LAUNCH / 'gke.yaml').read_text())
SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parent / 'launch_schema.json').read_text()))
JOB = ('spec', 'replicatedJobs', 0, 'template', 'spec')
POD = (*JOB, 'template', 'spec')
RULE = ('spec', 'failurePolicy', 'rules', 0)


def field(document, path):
    for key in path:
        document = document[key]
    return document


def test_gke_fits_the_schemas():
    SCHEMA.validate(SERVICE)
    SCHEMA.validate(JOBSET)


@pytest.mark.parametrize('path, value', [
    (('apiVersion',), 'jobset.x-k8s.io/v1alpha1'),
    (('spec', 'failurepolicy'), {}),
    ((*RULE, 'action'), 'Restart'),
    ((*RULE, 'onJobFailureReasons'), 'PodFailurePolicy'),
    ((*JOB, 'completions'), '4'),
    ((*JOB, 'completionMode'), 'indexed'),
    ((*JOB, 'podFailurePolicy', 'rules', 0, 'onExitCodes', 'values'), ['75']),
    ((*POD, 'restartPolicy'), 'never'),
    ((*POD, 'nodeSelector', 'cloud.google.com/gke-spot'), True),
    ((*POD, 'containers', 0, 'args', 0), {'--config': 'configs/cnn.py'}),
    ((*POD, 'containers', 0, 'volumeMounts', 0, 'path'), '/mnt/runs'),
])
def test_gke_schema_refuses_a_mistake(path, value):
    document = copy.deepcopy(JOBSET)
    field(document, path[:-1])[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        SCHEMA.validate(document)


def test_gke_parts_agree():
    job, pod = field(JOBSET, JOB), field(JOBSET, POD)
    container, = pod['containers']
    arguments = dict(argument.removeprefix('--').split('=', 1) for argument in container['args'])
    jobset, jobs = JOBSET['metadata']['name'], JOBSET['spec']['replicatedJobs'][0]['name']
    service = SERVICE['metadata']['name']
    port = container['ports'][0]['containerPort']
    assert arguments['coordinator'] == f'{jobset}-{jobs}-0-0.{service}:{port}'
    assert JOBSET['spec']['network']['subdomain'] == service
    assert SERVICE['spec']['selector'] == {'jobset.sigs.k8s.io/jobset-name': jobset}
    assert SERVICE['spec']['clusterIP'] == 'None'
    assert job['completions'] == job['parallelism'] == int(arguments['num_processes'])
    rows, columns = pod['nodeSelector']['cloud.google.com/gke-tpu-topology'].split('x')
    assert int(rows) * int(columns) == (
        job['completions'] * container['resources']['limits']['google.com/tpu'])
    mount, = container['volumeMounts']
    assert arguments['workdir'].startswith(mount['mountPath'] + '/')
    assert mount['name'] == pod['volumes'][0]['name']


@pytest.mark.parametrize('code, action', [
    (75, 'RestartJobSetAndIgnoreMaxRestarts'), (2, 'FailJobSet'), (1, None), (137, None)])
def test_gke_takes_75_as_start_again_and_2_as_the_end(code, action):
    policy, = field(JOBSET, JOB)['podFailurePolicy']['rules']
    container = field(JOBSET, POD)['containers'][0]['name']
    assert policy['onExitCodes']['containerName'] == container
    if code not in policy['onExitCodes']['values']:
        assert action is None  # no rule: JobSet starts again, and counts
        return
    # The words of Kubernetes' Job controller, pkg/controller/job/pod_failure_policy.go.
    message = (f'Container {container} for pod default/jaxvision-workers-0-1-abcde failed with '
               f'exit code {code} matching FailJob rule at index 0')
    first = next(rule for rule in JOBSET['spec']['failurePolicy']['rules']
                 if 'PodFailurePolicy' in rule['onJobFailureReasons']
                 and any(re.search(p, message) for p in rule['onJobFailureMessagePatterns']))
    assert first['action'] == action


def test_main_takes_the_arguments_of_every_launcher():
    shown = subprocess.run([sys.executable, '-m', 'jaxvision.main', '--help'], cwd=ROOT, text=True,
                           capture_output=True).stdout
    for flag in ('--config', '--workdir', '--distributed', '--coordinator', '--num_processes',
                 '--process_id'):
        assert flag in shown
