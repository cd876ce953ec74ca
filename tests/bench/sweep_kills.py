"""Kills a sweep and its trials with SIGKILL at random moments, and compares it with one left alone.

    python tests/bench/sweep_kills.py [--search random] [--halving 3] [--trials 30] [--workers 3] \\
        [--kills 20] [--spacing SECONDS] [--seed 0] [--folder DIR]

At each kill either the parent or one of the processes of the trials dies. A parent that died is
started again with the same command. A finished sweep in DIR/whole is used again. The sweeps are
equal if every trial has the same parameters, results, metrics (but for timings) and last
checkpoint, to the bit.
"""

import argparse
import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tests'))

from helpers import sweep_processes  # noqa: E402


def command(options, folder, workers):
    words = [
        *(sys.executable, '-m', 'jaxvision.sweep'),
        *('--config', f'{ROOT}/configs/cnn.py:digits', '--workdir', str(folder)),
        *('--search', options.search, '--trials', str(options.trials)),
        *('--workers', str(workers), '--sweep.optimizer.lr=log(1e-3,3e-2)'),
        *('--sweep.model.variant=4,8', '--config.train.steps=27'),
        *('--config.train.eval_every=9', '--config.train.checkpoint_every=4'),
        '--config.train.log_every=1',
    ]
    if options.halving:
        words += ['--halving', str(options.halving)]
    return words


def start(words):
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL)


def run_with_kills(words, folder, options, rng):
    """Run a sweep with kills; returns what was killed.

    Kills are spread over the first four fifths of the trials, at random moments of them.
    """
    moments = []
    finished = sorted(
        rng.uniform(0, 0.8 * options.trials) for _ in range(options.kills)
    )
    parent = start(words)
    while True:
        wait = rng.uniform(0, 2 * options.spacing)
        try:
            code = parent.wait(wait)
        except subprocess.TimeoutExpired:
            ended = len(list(folder.glob('trials/*/result.json')))
            if len(moments) == len(finished) or ended < finished[len(moments)]:
                continue
            trials = sweep_processes.of_trials(folder)
            if not trials and rng.random() < 0.8:
                continue  # The parent is starting. Few kills hit that.
            if trials and rng.random() < 0.5:
                victim = rng.choice(trials)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                moments.append('trial')
            else:
                parent.kill()
                moments.append('parent')
            continue
        if code == 0:
            return moments
        assert code == -signal.SIGKILL, code
        parent = start(words)


def outcome(folder):
    """Parameters, results, metrics and the last checkpoint of each trial."""
    from jaxvision.train import loop

    found = {}
    for trial in sorted((folder / 'trials').glob('[0-9]*')):
        result = json.loads((trial / 'result.json').read_text())
        del result['seconds']
        rows = [
            {
                name: value
                for name, value in json.loads(line).items()
                if 'perf/' not in name
            }
            for line in (trial / 'metrics.jsonl').read_text().splitlines()
        ]
        state = loop.reopen(trial).restore('last')
        state = state.replace(key=jax.random.key_data(state.key))
        arrays = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]
        parameters = json.loads((trial / 'trial.json').read_text())['parameters']
        found[trial.name] = (parameters, result, rows, arrays)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--search', default='random')
    parser.add_argument('--halving', type=int, default=0)
    parser.add_argument('--trials', type=int, default=30)
    parser.add_argument('--workers', type=int, default=3)
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--spacing', type=float, default=2.0, help='mean seconds before a kill'
    )
    parser.add_argument('--folder', type=Path)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix='sweep-kills-'))
    begin = time.monotonic()
    # Another number of workers must not change anything either.
    assert start(command(options, folder / 'whole', 2)).wait() == 0
    print(f'undisturbed: {time.monotonic() - begin:.0f} s', flush=True)
    rng = random.Random(options.seed)
    words = command(options, folder / 'killed', options.workers)
    moments = run_with_kills(words, folder / 'killed', options, rng)
    whole = outcome(folder / 'whole')
    killed = outcome(folder / 'killed')
    assert whole.keys() == killed.keys(), whole.keys() ^ killed.keys()
    differing = [name for name in whole if whole[name] != killed[name]]
    kinds = {kind: moments.count(kind) for kind in ('parent', 'trial')}
    print(f'{len(whole)} trials, killed: {kinds}, differing: {differing or "none"}')
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f'{used.ru_utime + used.ru_stime:.0f} CPU s of the processes that ended')
    sys.exit(bool(differing))


if __name__ == '__main__':
    main()
