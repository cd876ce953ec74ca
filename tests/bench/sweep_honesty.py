"""Sweeps over settings that are equal but for chance: their reported gain is nothing.

    python tests/bench/sweep_honesty.py [--sweeps 3] [--trials 20] [--retest 5] [--steps 60]

The searched learning rates differ by less than 0.3 %, and each trial has a seed of its own. So all
settings are equally good, and the best score on validation is that of the luckiest trial. Prints
the gain of this score over the mean of all trials, which a naive search would report, and the gain
that the sweep reports: on the test split, with new seeds, over the default settings. The trainings
run one after another in this process.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

os.environ['XLA_FLAGS'] = '--xla_backend_optimization_level=0'

from jaxvision.cli.runtime import start_jax  # noqa: E402
from jaxvision.cli.sweep import definition, records, retest, schedule  # noqa: E402
from jaxvision.cli.sweep.definition import Sweep  # noqa: E402
from jaxvision.cli.sweep.halving import Rungs  # noqa: E402
from jaxvision.cli.sweep.records import Record  # noqa: E402
from jaxvision.cli.sweep.trial import trial  # noqa: E402
from jaxvision.core import config as configs  # noqa: E402

ROOT = Path(__file__).parents[2]
METRIC = 'validation/accuracy'


def train(jobs, ended):
    """Run jobs in this process, as an engine of a sweep."""
    for job in jobs:
        settings = records.read_settings(job.folder)
        config = configs.stored(settings['config'])
        outcome = trial(config, job.folder, measure_test=settings['measure_test'])
        record = Record(evaluations={records.END: outcome.metrics})
        records.write(job.folder, record)
        ended(job, record)
    return True


def make_sweep(options, seed, folder):
    config = configs.load(f'{ROOT}/configs/cnn.py:digits')
    overrides = {
        'data.validation': '10%',
        'data.threads': '0',
        'model.variant': '4-8',
        'train.steps': str(options.steps),
        'train.eval_every': '0',
        'train.checkpoint_every': '0',
        'train.keep': '1',
    }
    for field, text in overrides.items():
        configs.override(config, field, text)
    rate = config.optimizer.lr
    sweep = Sweep(
        folder=folder,
        config=config,
        texts={
            'optimizer.lr': f'uniform({rate * 0.9985},{rate * 1.0015})',
            'seed': 'int(1,1000000)',
        },
        search='random',
        seed=seed,
        trials=options.trials,
        metric='accuracy',
        rungs=Rungs(),
    )
    definition.take_folder(sweep)
    return sweep


def gains(options, seed, folder):
    """The gain of the best validation score, and that of the retest with its error."""
    sweep = make_sweep(options, seed, folder)
    assert schedule.run(sweep, train, lambda job, record: None)
    found = schedule.read(sweep)
    scores = [
        record.evaluations[records.END][METRIC] for _, record in sorted(found.items())
    ]
    naive = max(scores) - statistics.mean(scores)
    tested = retest.candidates(sweep, 1)
    seeds = retest.seeds(sweep, options.retest)
    retest.run(sweep, tested, seeds, train, lambda job, record: None)
    _, winner = retest.summaries(sweep, tested, seeds)
    return naive, winner.gain, winner.standard_error


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--sweeps', type=int, default=3)
    parser.add_argument('--trials', type=int, default=20)
    parser.add_argument('--retest', type=int, default=5)
    parser.add_argument('--steps', type=int, default=60)
    options = parser.parse_args()
    start_jax(configs.load(f'{ROOT}/configs/cnn.py:digits'))
    root = Path(tempfile.mkdtemp(prefix='sweep-honesty-'))
    for seed in range(options.sweeps):
        naive, gain, error = gains(options, seed, root / str(seed))
        print(
            f'sweep {seed}: best of validation {100 * naive:+.2f} points over the mean, '
            f'reported gain {100 * gain:+.2f} +- {100 * error:.2f} points',
            flush=True,
        )


if __name__ == '__main__':
    main()
