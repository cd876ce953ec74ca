"""Sweeps over settings that are equal but for chance: their reported gain is nothing.

    python tests/bench/sweep_honesty.py [--sweeps 1] [--trials 20] [--retest 4] [--steps 30]

A linear classifier of digits is trained briefly. The searched field is a number that goes into the
key of the random initialisation, so all settings are equally good. The best score on validation is
that of the luckiest trial. Prints the gain of this score over the mean of all trials, which a naive
search would report, and the gain that the sweep reports: on the test split, with new seeds, over
the default settings. The trainings run one after another in this process.
"""

import argparse
import contextlib
import io
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers import drawing  # noqa: E402

from jaxvision.cli.runtime import start_jax  # noqa: E402
from jaxvision.cli.sweep import definition, records, retest, schedule  # noqa: E402
from jaxvision.cli.sweep.definition import Sweep  # noqa: E402
from jaxvision.cli.sweep.halving import Rungs  # noqa: E402
from jaxvision.cli.sweep.records import Record  # noqa: E402
from jaxvision.cli.sweep.trial import trial  # noqa: E402
from jaxvision.core import config as configs  # noqa: E402

METRIC = 'validation/accuracy'


def train(jobs, ended):
    """Run jobs in this process, as an engine of a sweep."""
    for job in jobs:
        settings = records.read_settings(job.folder)
        config = configs.stored(settings['config'])
        with contextlib.redirect_stdout(io.StringIO()):
            outcome = trial(config, job.folder, measure_test=settings['measure_test'])
        if not outcome.finished:  # Ctrl-C or SIGTERM.
            return False
        record = Record(evaluations={records.END: outcome.metrics})
        records.write(job.folder, record)
        ended(job, record)
    return True


def make_config(options):
    config = configs.default('helpers.fakes.softmax')
    overrides = {
        'data.source': 'digits',
        'data.validation': '10%',
        'data.batch_size': '16',
        'data.threads': '0',
        'task.salt': '1',
        'optimizer.name': 'sgd',
        'optimizer.lr': '0.1',
        'train.steps': str(options.steps),
        'train.eval_every': '0',
        'train.checkpoint_every': '0',
    }
    for field, text in overrides.items():
        configs.override(config, field, text)
    return config


def make_sweep(options, seed, folder):
    sweep = Sweep(
        folder=folder,
        config=make_config(options),
        texts={'task.salt': 'int(2,1000000)'},
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
    assert retest.run(sweep, tested, seeds, train, lambda job, record: None)
    _, winner = retest.summaries(sweep, tested, seeds)
    return naive, winner.gain, winner.standard_error


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--sweeps', type=int, default=1)
    parser.add_argument('--trials', type=int, default=20)
    parser.add_argument('--retest', type=int, default=4)
    parser.add_argument('--steps', type=int, default=30)
    options = parser.parse_args()
    start_jax(make_config(options))
    root = Path(tempfile.mkdtemp(prefix='sweep-honesty-'))
    for seed in range(options.sweeps):
        with drawing.left_out():
            naive, gain, error = gains(options, seed, root / str(seed))
        print(
            f'sweep {seed}: best of validation {100 * naive:+.2f} points over the mean, '
            f'reported gain {100 * gain:+.2f} +- {100 * error:.2f} points',
            flush=True,
        )


if __name__ == '__main__':
    main()
