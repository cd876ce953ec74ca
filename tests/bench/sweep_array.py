"""Runs a sweep as a Slurm array by stand-ins of srun and scontrol, and as one process.

    python tests/bench/sweep_array.py [--search sobol] [--trials 4] [--folder DIR]

launch/sweep.slurm runs once for each task, in a shuffled order. Task 1 gets a signal as before its
time limit: it must save, return to the queue, and end when it is started again. The sweeps are
equal if parameters, results, metrics (but for timings) and the last checkpoint of every trial are,
to the bit. The array writes no report; --report makes the same trials.csv but for the times.
"""

import argparse
import csv
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sweep_kills import ROOT, outcome

sys.path.insert(0, str(ROOT / 'tests' / 'launch'))

from stand_ins import clean_environment, program  # noqa: E402

# Seconds after which a task counts as hanging.
LONGEST = 900
CONFIG = f'{ROOT}/configs/cnn.py:digits'


def words(options, folder):
    return [
        *('--workdir', str(folder), '--search', options.search),
        *('--trials', str(options.trials), '--sweep.optimizer.lr=log(1e-3,3e-2)'),
        *('--sweep.model.variant=4,8', '--config.train.steps=300'),
        *('--config.train.eval_every=100', '--config.train.checkpoint_every=20'),
    ]


def start_task(options, folder, tools, number):
    """Start the script of a task of the array, as Slurm does."""
    environment = clean_environment(
        PATH=f'{tools}:{os.environ["PATH"]}',
        PYTHON=sys.executable,
        PYTHONPATH=str(ROOT),
        SLURM_JOB_ID=f'17_{number}',
        SLURM_ARRAY_TASK_ID=str(number),
    )
    return subprocess.Popen(
        ['bash', str(ROOT / 'launch' / 'sweep.slurm'), CONFIG, *words(options, folder)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def signal_task(task, trial, tools):
    """Send SIGTERM to the command of a task when its trial has saved a checkpoint.

    A task that ends before gets none.
    """
    end = time.monotonic() + LONGEST
    while not list((trial / 'checkpoints').glob('[0-9]*')):
        if task.poll() is not None:
            return
        assert time.monotonic() < end, 'the task saves no checkpoint'
        time.sleep(0.05)
    os.kill(int((tools / 'srun.pid').read_text()), signal.SIGTERM)


def run_array(options, folder, tools):
    """Run all tasks until the queue is empty; returns the task that was requeued."""
    waiting = list(range(options.trials))[::-1]
    requeued = []
    while waiting:
        number = waiting.pop(0)
        task = start_task(options, folder, tools, number)
        if number == 1 and not requeued:
            signal_task(task, folder / 'trials' / '0001', tools)
        printed, _ = task.communicate()
        assert task.returncode == 0, printed
        calls = tools / 'scontrol.call'
        if calls.exists():
            assert calls.read_text() == f'requeue 17_{number}\n'
            assert 'everything saved' in printed
            calls.unlink()
            requeued.append(number)
            waiting.append(number)
    return requeued


def table(folder):
    """The rows of trials.csv without the times."""
    with (folder / 'trials.csv').open() as file:
        rows = list(csv.DictReader(file))
    return [{name: row[name] for name in row if name != 'seconds'} for row in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--search', default='sobol')
    parser.add_argument('--trials', type=int, default=4)
    parser.add_argument('--folder', type=Path)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix='sweep-array-'))
    tools = folder / 'tools'
    program(
        tools / 'srun',
        # A file that is moved is never half written.
        f'#!/bin/bash\n"$@" &\necho $! >{tools}/srun.part\n'
        f'mv {tools}/srun.part {tools}/srun.pid\nwait $!\nexit $?\n',
    )
    program(tools / 'scontrol', f'#!/bin/bash\necho "$@" >{tools}/scontrol.call\n')
    base = [sys.executable, '-m', 'jaxvision.sweep']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    whole = [*base, '--config', CONFIG, *words(options, folder / 'whole')]
    subprocess.run(whole, cwd=ROOT, env=environment, check=True)
    requeued = run_array(options, folder / 'array', tools)
    report = [*base, '--workdir', str(folder / 'array'), '--report']
    subprocess.run(report, cwd=ROOT, env=environment, check=True)
    ours = outcome(folder / 'array')
    theirs = outcome(folder / 'whole')
    assert ours.keys() == theirs.keys()
    differing = [name for name in ours if ours[name] != theirs[name]]
    same_table = table(folder / 'array') == table(folder / 'whole')
    print(
        f'{len(ours)} trials, requeued: {requeued}, differing: {differing or "none"}, same '
        f'table: {same_table}'
    )
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f'{used.ru_utime + used.ru_stime:.0f} CPU s')
    sys.exit(bool(differing) or not same_table or requeued != [1])


if __name__ == '__main__':
    main()
