"""Compares trials of a sweep with bare runs of the same settings, by turns.

    python tests/bench/sweep_overhead.py [--trials 4] [--rounds 3] [--steps 50]

A round is a sweep over seeds with one worker, and then `jaxvision train` with each of these seeds.
Both validate on 10 % of the training data, with one device and one thread. A bare run also
measures the test split and draws its figures, which a trial leaves out (`--without_test` times
this part by a third kind of run). The overhead is that of a trial, with its share of the sweep's
start, checks, table and page. Programs are compiled in a first sweep that does not count.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
# A run as a trial makes it, without the test split.
TRIAL = """
import sys
from pathlib import Path
from jaxvision.cli.runtime import split_cpu, start_jax
from jaxvision.core import config as configs
name, folder, *overrides = sys.argv[1:]
config = configs.load(name)
for field, text in configs.overrides(overrides).items():
    configs.override(config, field, text)
split_cpu(config)
start_jax(config)
from jaxvision.train import loop
loop.run(config, folder, measure_test=False)
"""


def timed(words):
    """Run a command, and return its CPU seconds with its children's, and its wall seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    environment = {**os.environ, 'NPROC': '1', 'OMP_NUM_THREADS': '1'}
    subprocess.run(
        words, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL
    )
    wall = time.monotonic() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, wall


def settings(options):
    return (
        '--config.data.validation=10%',
        f'--config.train.steps={options.steps}',
        '--config.train.eval_every=0',
        '--config.train.checkpoint_every=0',
        '--config.parallel.cpu_devices=1',
    )


def sweep(options, seeds, folder):
    """The seconds of a trial of a sweep, CPU and wall."""
    listed = ','.join(map(str, seeds))
    words = [
        *(sys.executable, '-m', 'jaxvision.sweep', '--config', options.config),
        *('--workdir', folder, '--workers', '1', '--search', 'grid'),
        *(f'--sweep.seed={listed}', *settings(options)),
    ]
    cpu, wall = timed(words)
    return cpu / len(seeds), wall / len(seeds)


def bare(options, seed, folder, program):
    """The seconds of a run, CPU and wall."""
    words = [sys.executable, '-m', 'jaxvision.main', '--config', options.config]
    words += ['--workdir', folder]
    if program:
        words = [sys.executable, '-c', program, options.config, folder]
    return timed([*words, *settings(options), f'--config.seed={seed}'])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--config', default=f'{ROOT}/configs/cnn.py:digits')
    parser.add_argument('--trials', type=int, default=4)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--steps', type=int, default=50)
    parser.add_argument('--without_test', action='store_true')
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix='sweep-overhead-'))
    kinds = {'jaxvision train': ''}
    if options.without_test:
        kinds['without the test split'] = TRIAL
    sweep(options, [0], str(root / 'first'))
    overheads = {kind: [] for kind in kinds}
    for round_number in range(options.rounds):
        seeds = list(range(1, options.trials + 1))
        swept = sweep(options, seeds, str(root / f'sweep{round_number}'))
        print(f'round {round_number}: a trial {swept[0]:.2f} CPU s, {swept[1]:.2f} s')
        for kind, program in kinds.items():
            folder = root / f'{kind}{round_number}'.replace(' ', '-')
            runs = [bare(options, seed, f'{folder}-{seed}', program) for seed in seeds]
            cpu, wall = (statistics.mean(column) for column in zip(*runs, strict=True))
            print(f'  {kind}: {cpu:.2f} CPU s, {wall:.2f} s', flush=True)
            overheads[kind].append((swept[0] - cpu, swept[1] - wall))
    for kind, pairs in overheads.items():
        for name, column in zip(('CPU s', 's'), zip(*pairs, strict=True), strict=True):
            each = ', '.join(f'{value:+.2f}' for value in column)
            mean = statistics.mean(column)
            print(f'overhead of a trial over {kind}: {mean:+.2f} {name} ({each})')


if __name__ == '__main__':
    main()
