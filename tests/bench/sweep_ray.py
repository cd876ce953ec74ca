"""Runs sweeps on two Ray nodes of this machine, kills one node, and compares every trial.

    python tests/bench/sweep_ray.py [--trials 6] [--port 6399] [--folder DIR] [--only random]

Ray must be installed. The sweeps: random, which is the same one on one machine; tpe and cmaes by
Optuna; random with ASHA (--halving 3). In each, the second node dies with all its processes as soon
as a trial on it has saved a checkpoint. Then the random sweep runs again on one machine, and every
trial of the other sweeps is trained again from its trial.json by one machine. They are equal if
parameters, results, metrics (but for timings) and the last checkpoint are, to the bit.
"""

import argparse
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sweep_kills import ROOT, outcome

from jaxvision.cli.sweep import records
from jaxvision.cli.sweep.pool import Job, Pool

SWEEPS = {
    'random': ('--search', 'random'),
    'tpe': ('--search', 'tpe'),
    'cmaes': ('--search', 'cmaes'),
    'asha': ('--search', 'random', '--halving', '3', '--rungs', '2'),
}
# Seconds after which a sweep counts as hanging.
LONGEST = 900
_ENVIRONMENT = {
    **os.environ,
    'PYTHONPATH': str(ROOT),
    'RAY_USAGE_STATS_ENABLED': '0',
}


def start_node(port, is_head):
    """Start a Ray node with one CPU in a process that waits for it."""
    ray = Path(sys.executable).parent / 'ray'
    # Another address, so that the search does not connect to the node that dies.
    address = [f'--address=127.0.0.1:{port}', '--node-ip-address=127.0.0.2']
    if is_head:
        address = ['--head', f'--port={port}', '--include-dashboard=false']
        address.append('--node-ip-address=127.0.0.1')
    node = subprocess.Popen(
        [
            *(str(ray), 'start', *address, '--num-cpus=1', '--block'),
            *('--object-store-memory=80000000', '--disable-usage-stats'),
        ],
        env=_ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    if is_head:
        wait_for(lambda: status(ray, port), 120)
    return node


def status(ray, port):
    words = [str(ray), 'status', f'--address=127.0.0.1:{port}']
    done = subprocess.run(words, env=_ENVIRONMENT, capture_output=True)
    return done.returncode == 0


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.1)


def descendants(pid):
    """The processes that a process started, and those that they started."""
    children = {}
    for stat in Path('/proc').glob('[0-9]*/stat'):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(')')[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = []
    waiting = [pid]
    while waiting:
        new = children.get(waiting.pop(), [])
        found += new
        waiting += new
    return found


def kill_node(node):
    """Kill a node with all its processes, as if its machine lost power."""
    pids = [node.pid, *descendants(node.pid)]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    node.wait()


def saved_trial(node):
    """The folder of a trial that runs on a node and has saved a checkpoint; None: none."""
    for pid in descendants(node.pid):
        try:
            words = Path(f'/proc/{pid}/cmdline').read_bytes().decode().split('\0')
        except OSError:
            continue
        if 'jaxvision.cli.sweep.process' not in words:
            continue
        folder = Path(words[words.index('jaxvision.cli.sweep.process') + 1])
        steps = [path.name for path in (folder / 'checkpoints').glob('*')]
        if any(map(str.isdigit, steps)) and not (folder / 'result.json').exists():
            return folder
    return None


def command(options, folder, words):
    return [
        *(sys.executable, '-m', 'jaxvision.sweep', '--workdir', str(folder)),
        *('--config', f'{ROOT}/configs/cnn.py:digits', *words),
        *('--trials', str(options.trials), '--sweep.optimizer.lr=log(1e-3,3e-2)'),
        *('--sweep.model.variant=4,8', f'--config.train.steps={options.steps}'),
        *('--config.train.eval_every=50', '--config.train.checkpoint_every=20'),
        '--config.train.log_every=1',
    ]


def run_with_a_loss(options, folder, words):
    """Run a sweep on two nodes, of which one dies; returns the trial that it was at."""
    node = start_node(options.port, is_head=False)
    engine = ('--engine', 'ray', '--address', f'127.0.0.1:{options.port}')
    sweep = subprocess.Popen(
        command(options, folder, [*words, *engine]), cwd=ROOT, env=_ENVIRONMENT
    )
    end = time.monotonic() + LONGEST
    lost = None
    while sweep.poll() is None:
        assert time.monotonic() < end, 'the sweep hangs'
        if lost is None:
            lost = saved_trial(node)
            if lost:
                kill_node(node)
        time.sleep(0.05)
    if lost is None:
        kill_node(node)
    assert sweep.returncode == 0, sweep.returncode
    assert lost, 'no trial on the second node was lost'
    return lost


def train_again(folder, other):
    """Train every trial of a sweep again, by processes of this machine."""
    for settings in sorted(folder.glob('trials/*/trial.json')):
        trial = other / 'trials' / settings.parent.name
        trial.mkdir(parents=True)
        shutil.copy(settings, trial)
        for until in records.read(settings.parent).evaluations:
            Pool(1, 1, lambda: False)([Job(trial, until)], lambda job, record: None)


def compare(folder, other):
    """The numbers of trials of a sweep that differ from those trained again."""
    ours = outcome(folder)
    theirs = outcome(other)
    assert ours.keys() == theirs.keys()
    return [name for name in ours if ours[name] != theirs[name]]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--trials', type=int, default=6)
    parser.add_argument('--steps', type=int, default=300)
    parser.add_argument('--port', type=int, default=6399)
    parser.add_argument('--only', choices=SWEEPS)
    parser.add_argument('--folder', type=Path)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix='sweep-ray-'))
    head = start_node(options.port, is_head=True)
    differing = []
    try:
        for name, words in SWEEPS.items():
            if options.only and name != options.only:
                continue
            lost = run_with_a_loss(options, folder / name, words)
            again = folder / f'{name}-again'
            if name == 'random':
                subprocess.run(command(options, again, words), cwd=ROOT, check=True)
            else:
                train_again(folder / name, again)
            different = compare(folder / name, again)
            differing += different
            lengths = [
                list(json.loads(path.read_text())['evaluations'])
                for path in sorted((folder / name).glob('trials/*/result.json'))
            ]
            ended = sum('end' in each for each in lengths)
            lines = (lost / 'log.txt').read_text().splitlines()
            resumed = ', '.join(line for line in lines if 'resuming' in line)
            print(
                f'{name}: {len(lengths)} trials, {ended} to the end, on the lost node: trial '
                f'{lost.name} ({resumed}), differing: {different or "none"}',
                flush=True,
            )
    finally:
        kill_node(head)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f'{used.ru_utime + used.ru_stime:.0f} CPU s of the processes that ended')
    sys.exit(bool(differing))


if __name__ == '__main__':
    main()
