"""Searches that learn from results, beside Optuna itself."""

import math

import pytest

from jaxvision.cli.sweep import (
    halving,
    learning,
    records,
    report,
    schedule,
    search,
    space,
)
from jaxvision.cli.sweep.records import Record
from jaxvision.core import config as configs
from jaxvision.core.errors import UserError

optuna = pytest.importorskip('optuna')
optuna.logging.set_verbosity(optuna.logging.ERROR)

TEXTS = {
    'optimizer.lr': 'log(1e-4,1)',
    'optimizer.ema': 'uniform(0,0.9)',
    'data.batch_size': 'int(8,64)',
    'optimizer.name': 'sgd,adamw',
}


@pytest.fixture(scope='module')
def wide():
    return space.read(configs.default('classification'), TEXTS)


def goodness(point):
    """A smooth function with its maximum at lr 0.01 and ema 0.3."""
    distance = (math.log10(point['optimizer.lr']) + 2) ** 2
    distance += (point['optimizer.ema'] - 0.3) ** 2
    return -distance - 0.1 * (point['optimizer.name'] == 'sgd')


def run(wide, name, seed, batch, count, score=goodness):
    """Points and scores of a whole search."""
    scores = []
    points = []
    while len(scores) < count:
        known = learning.points(wide, name, seed, batch, count, scores)
        assert known[: len(points)] == points
        points = known
        scores += [score(point) for point in points[len(scores) :]]
    return points, scores


@pytest.mark.parametrize(
    'name, sampler', [('tpe', 'TPESampler'), ('cmaes', 'CmaEsSampler')]
)
def test_the_points_are_those_of_optuna_with_the_same_history(wide, name, sampler):
    names = list(TEXTS)

    def objective(trial):
        point = {
            'optimizer.lr': trial.suggest_float(names[0], 1e-4, 1, log=True),
            'optimizer.ema': trial.suggest_float(names[1], 0, 0.9),
            'data.batch_size': trial.suggest_int(names[2], 8, 64),
            'optimizer.name': ('sgd', 'adamw')[
                trial.suggest_categorical(names[3], (0, 1))
            ],
        }
        expected.append(point)
        return goodness(point)

    expected = []
    make = getattr(optuna.samplers, sampler)
    study = optuna.create_study(direction='maximize', sampler=make(seed=4))
    study.optimize(objective, n_trials=16)
    points, _ = run(wide, name, 4, 1, 16)
    assert points == expected


def test_a_batch_does_not_depend_on_its_own_results(wide):
    points, scores = run(wide, 'tpe', 0, 4, 16)
    assert len(points) == 16
    # The scores of a batch that is not whole are not used.
    for number in range(12, 16):
        assert learning.points(wide, 'tpe', 0, 4, 16, scores[:number]) == points
    other = [*scores[:11], 100.0]
    assert learning.points(wide, 'tpe', 0, 4, 16, other)[:12] == points[:12]
    assert learning.points(wide, 'tpe', 0, 4, 16, other)[12:] != points[12:]
    assert learning.points(wide, 'tpe', 0, 4, 16, [None] * 12)[:4] == points[:4]


def test_choices_do_not_come_twice(monkeypatch):
    few = space.read(
        configs.default('classification'),
        {'optimizer.name': 'sgd,adamw,lamb', 'data.batch_size': 'int(1,4)'},
    )
    points, scores = run(few, 'tpe', 0, 3, 12, lambda point: point['data.batch_size'])
    assert len({tuple(point.values()) for point in points}) == 12 == search.size(few)

    studies = []
    create_study = optuna.create_study

    def keep(**options):
        studies.append(create_study(**options))
        return studies[-1]

    monkeypatch.setattr(optuna, 'create_study', keep)
    learning.points(few, 'tpe', 0, 3, 12, scores)
    # The sampler suggested some points twice, and learned every score for its own point.
    trials = studies[0].trials
    assert len(trials) > 12
    told = [trial for trial in trials if trial.value is not None]
    assert len(told) == 12
    assert all(trial.value == trial.params['data.batch_size'] for trial in told)


def test_a_sweep_that_learns_goes_on_with_the_same_points(stub_sweep, stub_pool):
    def ignore(job, record):
        pass

    texts = {'optimizer.lr': 'log(1e-4,1)', 'model.variant': 'a,nan'}
    whole = stub_sweep('whole', search='tpe', batch=3, trials=14, texts=texts)
    assert schedule.run(whole, stub_pool(3), ignore)
    first = stub_sweep('grown', search='tpe', batch=3, trials=6, texts=texts)
    assert schedule.run(first, stub_pool(1), ignore)
    grown = stub_sweep('grown', search='tpe', batch=3, trials=14, texts=texts)
    assert schedule.run(grown, stub_pool(2), ignore)
    assert report.points(grown) == report.points(whole)
    assert report.best(grown) == report.best(whole)
    assert schedule.read(grown) == schedule.read(whole)

    settings = grown.trial_folder(2) / 'trial.json'
    settings.write_text(
        settings.read_text().replace('"optimizer.lr": 0', '"optimizer.lr": 1')
    )
    with pytest.raises(UserError, match='has other parameters than this search gives'):
        schedule.run(grown, stub_pool(1), ignore)


def test_a_failure_that_the_search_has_used_stays(stub_sweep, stub_pool):
    """Tried again with success, it would give other points than those that have begun."""

    def ignore(job, record):
        pass

    def failing(jobs, ended):
        assert stub_pool(3)(jobs, ended)
        for number in (1, 4):
            if records.read(sweep.trial_folder(number)):
                failed = Record(state=records.FAILED, error='no such data')
                records.write(sweep.trial_folder(number), failed)
        return True

    sweep = stub_sweep(search='tpe', batch=3, trials=6)
    assert schedule.run(sweep, failing, ignore)
    assert schedule.run(sweep, stub_pool(3), ignore)
    states = [record.state for record in schedule.read(sweep).values()]
    # Trial 4 is of the last batch, and is tried again.
    assert states == ['trained', 'failed', *['trained'] * 4]


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(learning.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=r'expected the package optuna.*\[search\]'):
        learning.require('tpe')
    monkeypatch.setattr(
        learning.importlib.util, 'find_spec', lambda name: name != 'torch'
    )
    with pytest.raises(UserError, match='expected the package torch. Install torch'):
        learning.require('gp')


def test_halving_ranks_no_failed_trial_above_another():
    assert halving.ranked({0: None, 1: -3.0, 2: 0.5, 3: 0.5}) == [2, 3, 1, 0]
