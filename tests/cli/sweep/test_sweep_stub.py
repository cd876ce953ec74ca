"""Sweeps of stub trials: killed, torn, halved, failing. No training."""

import json
import math
import multiprocessing
import os
import random
import runpy
import signal
import time

import numpy as np
import pytest
from helpers import sweep_processes
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.cli.sweep import (
    definition,
    page,
    records,
    report,
    retest,
    running,
    schedule,
)
from jaxvision.cli.sweep.halving import Rungs
from jaxvision.cli.sweep.pool import Pool
from jaxvision.cli.sweep.records import Record
from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.viz.sweeps import Column

HALVED = Rungs(3, (100, 300))


def ignore(job, record):
    """What happens when a trial ends is no matter."""


def outcome(sweep):
    """Everything that may not depend on workers and kills: results, states, parameters."""
    found = {}
    for folder in sorted((sweep.folder / 'trials').iterdir()):
        ends = (folder / 'ends.txt').read_text().splitlines()
        assert len(set(ends)) == len(ends), f'{folder} ended twice'
        contents = [
            json.loads((folder / name).read_text())
            for name in ('result.json', 'state.json', 'trial.json')
        ]
        found[folder.name] = contents
    return found


def run_alone(folder, program):
    """The parent of a sweep in a process of its own."""
    schedule.run(definition.read(folder), Pool(3, 1, lambda: False, program), ignore)


def run_with_kills(folder, program, kills, rng):
    """Run a sweep to its end, while its parent or one of its trials is killed now and then."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(
        ['jaxvision.cli.sweep.schedule', 'jaxvision.tasks.classification.task']
    )
    killed = {'parent': 0, 'trial': 0}
    parent = context.Process(target=run_alone, args=(folder, program))
    parent.start()
    end = time.monotonic() + 300
    while time.monotonic() < end:
        parent.join(rng.uniform(0.0, 0.25))
        if not parent.is_alive():
            if parent.exitcode == 0:
                return killed
            assert parent.exitcode == -signal.SIGKILL
            parent = context.Process(target=run_alone, args=(folder, program))
            parent.start()
        elif sum(killed.values()) < kills:
            trials = sweep_processes.of_trials(folder)
            if trials and rng.random() < 0.6:
                os.kill(rng.choice(trials), signal.SIGKILL)
                killed['trial'] += 1
            else:
                parent.kill()
                killed['parent'] += 1
    parent.kill()
    raise TimeoutError('the sweep has not ended after five minutes')


@pytest.mark.parametrize(
    'search, rungs', [('random', Rungs()), ('sobol', HALVED)], ids=['random', 'halving']
)
def test_random_kills_change_no_trial(
    stub_sweep, stub_pool, search, rungs, monkeypatch
):
    monkeypatch.setenv('STUB_SECONDS', '0.01')
    program = stub_pool()._program
    whole = stub_sweep('whole', search=search, rungs=rungs, trials=10)
    assert schedule.run(whole, stub_pool(3), ignore)
    killed = stub_sweep('killed', search=search, rungs=rungs, trials=10)
    counts = run_with_kills(killed.folder, program, 8, random.Random(0))
    assert sum(counts.values()) > 0
    assert outcome(killed) == outcome(whole)
    assert len(outcome(killed)) == 10
    assert schedule.finalists(killed, schedule.read(killed)) == schedule.finalists(
        whole, schedule.read(whole)
    )


def test_a_damaged_file_redoes_its_trial_alone(stub_sweep, stub_pool):
    sweep = stub_sweep()
    assert schedule.run(sweep, stub_pool(), ignore)
    whole = outcome(sweep)
    result = sweep.trial_folder(1) / 'result.json'
    text = result.read_text()
    rerun = []
    for damage in (
        text[:20],
        '',
        '[]',
        '{"state": "trained", "evaluations": {"end": 1}}',
    ):
        result.write_text(damage)
        (sweep.trial_folder(1) / 'ends.txt').unlink()
        (sweep.trial_folder(1) / 'trial.json').write_text('{"numb')
        schedule.run(
            sweep, stub_pool(), lambda job, record: rerun.append(job.folder.name)
        )
        assert outcome(sweep) == whole
    assert rerun == ['0001'] * 4
    (sweep.folder / 'sweep.json').write_text('{"conf')
    with pytest.raises(UserError, match=r'sweep\.json is damaged'):
        definition.read(sweep.folder)


def test_a_trial_that_diverges_ranks_last_and_one_that_fails_is_tried_again(
    stub_sweep, stub_pool
):
    texts = {'optimizer.lr': '1,2', 'model.variant': 'nan,fail,good,suicide,doomed'}
    sweep = stub_sweep(texts=texts, search='grid', trials=10)
    states = {}

    def ended(job, record):
        states[int(job.folder.name)] = record.state

    assert schedule.run(sweep, stub_pool(3), ended)
    assert [states[number] for number in range(5)] == [
        'diverged',
        'failed',
        'trained',
        'trained',
        'failed',
    ]
    found = schedule.read(sweep)
    assert found[1].error == 'no such data'
    assert 'stopped by signals' in found[4].error
    # The score grows with the learning rate, and a restart changes nothing.
    assert schedule.finalists(sweep, found)[:4] == [7, 8, 2, 3]
    assert report.best(sweep) == 7
    states.clear()
    assert schedule.run(sweep, stub_pool(3), ended)
    assert sorted(states) == [1, 4, 6, 9]


def test_every_trial_failing_is_one_line(stub_sweep, stub_pool):
    sweep = stub_sweep(texts={'optimizer.lr': '1,2,3', 'model.variant': 'fail'})
    with pytest.raises(UserError, match='^every trial failed; the first one: no such'):
        schedule.run(sweep, stub_pool(), ignore)


def test_the_number_of_workers_changes_nothing(stub_sweep, stub_pool):
    outcomes = []
    for workers in (1, 5):
        sweep = stub_sweep(f'by{workers}', rungs=HALVED, trials=9)
        assert schedule.run(sweep, stub_pool(workers), ignore)
        report.write_table(sweep)
        outcomes.append((outcome(sweep), (sweep.folder / 'trials.csv').read_text()))
    assert outcomes[0] == outcomes[1]
    found = schedule.read(sweep)
    reached = [len(found[number].evaluations) for number in range(9)]
    assert sorted(reached) == [1] * 6 + [2] * 2 + [3]


def test_a_signal_stops_the_trials_and_the_sweep_goes_on(stub_sweep, stub_pool):
    sweep = stub_sweep(trials=3)
    program = stub_pool()._program
    asked = iter([False] * 3 + [True] * 99)
    assert not schedule.run(sweep, Pool(1, 1, lambda: next(asked), program), ignore)
    assert not sweep_processes.of_trials(sweep.folder)
    assert schedule.run(sweep, stub_pool(), ignore)
    assert len(outcome(sweep)) == 3


def test_another_sweep_in_the_folder_is_refused(stub_sweep):
    stub_sweep(trials=4)
    stub_sweep(trials=9)  # A random search may grow.
    with pytest.raises(UserError, match=r'other settings: seed: 0 -> 1'):
        stub_sweep(seed=1)
    with pytest.raises(UserError, match='rungs'):
        stub_sweep(trials=9, rungs=HALVED)


@given(st.dictionaries(st.integers(0, 30), st.none() | st.floats(-9, 9), min_size=1))
@settings(max_examples=50, deadline=None)
def test_promotion_takes_the_best_and_no_failed_one(scores):
    from jaxvision.cli.sweep import halving

    count = 1 + len(scores) // 3
    chosen = halving.promoted(scores, count)
    assert len(chosen) == min(
        count, sum(score is not None for score in scores.values())
    )
    others = [score for number, score in scores.items() if number not in chosen]
    worst = min((scores[number] for number in chosen), default=0)
    assert all(score is None or score <= worst for score in others)


def test_scores_have_a_direction_and_nan_has_none():
    record = Record(
        evaluations={'end': {'validation/nll': 2.0, 'validation/x': float('nan')}}
    )
    assert record.score('-validation/nll', 'end') == -2.0
    assert record.score('validation/nll', 'end') == 2.0
    assert record.score('validation/x', 'end') is None
    assert record.score('validation/nll', '100 examples') is None
    assert (
        records.Record(state='failed', evaluations=record.evaluations).score(
            'validation/nll', 'end'
        )
        is None
    )


def test_an_array_of_single_trials_is_the_same_sweep(stub_sweep, stub_pool):
    whole = stub_sweep('whole', search='sobol')
    assert schedule.run(whole, stub_pool(), ignore)
    array = stub_sweep('array', search='sobol')
    progress = running.Progress(array)
    for number in (2, 0, 3, 1, 2):
        definition.take_folder(array)
        assert running.run_one(array, number, stub_pool(1), progress)
    assert outcome(array) == outcome(whole)
    assert len(outcome(array)) == 4


def test_best_py_holds_the_number_that_its_trial_found(stub_sweep):
    config = configs.default('classification')
    configs.override(config, 'optimizer.lr', 'auto')
    sweep = stub_sweep(config=config, texts={'model.variant': 'a,b'})
    folder = sweep.prepare(0, {'model.variant': 'b'})
    trained = config.copy_and_resolve_references()
    configs.override(trained, 'optimizer.lr', '0.0123')
    (folder / 'config.json').write_text(json.dumps(trained.to_dict()))
    report.write_best(sweep, 0)
    best = runpy.run_path(str(sweep.folder / 'best.py'))['get_config']()
    assert (best.optimizer.lr, best.model.variant) == (0.0123, 'b')


def test_a_retest_has_new_seeds_and_the_gain_its_error(stub_sweep, stub_pool):
    texts = {'optimizer.lr': '0.01,0.02', 'seed': '3,8'}
    sweep = stub_sweep(texts=texts, search='grid')
    sweep.config.data.validation = '10%'
    sweep.config.train.best = 'accuracy'
    assert schedule.run(sweep, stub_pool(), ignore)
    tested = retest.candidates(sweep, 2)
    seeds = retest.seeds(sweep, 2)
    assert seeds == [9, 10]
    # The winner and the next best one: the larger rate, with either seed.
    assert [each.name for each in tested] == ['default', '0002', '0003']
    assert retest.run(sweep, tested, seeds, stub_pool(), ignore)
    for each in tested:
        for seed in seeds:
            folder = retest.folder_of(sweep, each, seed)
            config = records.read_settings(folder)['config']
            assert (config['seed'], config['train']['best']) == (seed, '')
            assert config['data']['validation'] == 'none'
            assert config['optimizer']['lr'] == each.point.get('optimizer.lr', 1e-3)
    assert retest.read_tested(sweep) == (tested, seeds)


def test_patience_keeps_the_validation_split_of_a_retest(stub_sweep):
    sweep = stub_sweep()
    sweep.config.data.validation = '10%'
    sweep.config.train.patience = '2 epochs'
    config = retest.config_of(sweep, retest.Settings('0001', {'optimizer.lr': 0.5}), 4)
    assert (config.data.validation, config.optimizer.lr) == ('10%', 0.5)


def test_the_gain_is_that_of_pairs_and_has_the_direction_of_the_metric():
    from scipy import stats

    default = {1: 0.5, 2: 0.7, 3: 0.6}
    scores = {1: 0.6, 2: 0.75, 3: 0.8, 4: 0.1}
    found = retest.summary('0001', scores, default, 1.0, False)
    gains = [scores[seed] - default[seed] for seed in default]
    assert found.gain == pytest.approx(sum(gains) / 3)
    assert found.standard_error == pytest.approx(stats.sem(gains))
    assert found.std == pytest.approx(stats.tstd(list(scores.values())))
    # Of a loss, scores are negative. A smaller loss is a positive gain.
    less = retest.summary('0001', {1: -0.2}, {1: -0.5}, -1.0, False)
    assert (less.mean, less.gain) == (0.2, pytest.approx(0.3))
    assert math.isnan(less.standard_error)
    same = retest.summary('0001', default, default, 1.0, False)
    assert (same.gain, same.standard_error) == (0.0, 0.0)
    none = retest.summary('0001', {}, default, 1.0, False)
    assert math.isnan(none.mean) and math.isnan(none.gain)


def test_the_page_shows_every_trial_and_escapes_names(stub_sweep, stub_pool):
    texts = {'optimizer.lr': 'log(1e-4,1)', 'model.variant': 'a<b,nan,c'}
    sweep = stub_sweep(texts=texts, trials=14, metric='-accuracy')
    assert schedule.run(sweep, stub_pool(2), ignore)
    page.write(sweep)
    text = (sweep.folder / 'sweep.html').read_text()
    assert text.count('<img') == 4 and 'a&lt;b' in text and 'a<b' not in text
    assert all(f'>{number}</td>' in text for number in range(14))


def test_pictures_compare_trials_after_equal_training(
    stub_sweep, stub_pool, monkeypatch
):
    drawn = {'slices': [], 'parallel': []}
    for name, calls in drawn.items():

        def draw(columns, scores, best, metric, calls=calls):
            calls.append(scores)
            return np.zeros((1, 1, 3), np.uint8)

        monkeypatch.setattr(page.sweeps, name, draw)
    sweep = stub_sweep(trials=9, rungs=HALVED)
    assert schedule.run(sweep, stub_pool(2), ignore)
    # A trial that diverged has no place in a picture.
    first = HALVED.intervals[0]
    lengths = {
        number: len(record.evaluations)
        for number, record in schedule.read(sweep).items()
    }
    lost = min(lengths, key=lambda number: lengths[number])
    infinite = {first: {'validation/accuracy': math.inf}}
    diverged = Record(state='diverged', evaluations=infinite)
    records.write(sweep.trial_folder(lost), diverged)
    page.write(sweep)
    results = [
        json.loads((folder / 'result.json').read_text())['evaluations']
        for folder in sorted((sweep.folder / 'trials').iterdir())
    ]
    for calls in drawn.values():
        # A single trial trains to the end, which compares nothing.
        for until, scores, count in zip(HALVED.intervals, calls, (8, 3), strict=False):
            values = [
                result.get(until, {}).get('validation/accuracy', math.nan)
                for result in results
            ]
            if until == first:
                values[lost] = math.nan
            np.testing.assert_array_equal(scores, values)
            assert np.isfinite(scores).sum() == count
        assert len(calls) == 2
    text = (sweep.folder / 'sweep.html').read_text()
    assert 'Fields, trained to 100 examples (8 trials)' in text


def test_importance_finds_the_field_that_matters():
    rng = np.random.default_rng(0)
    columns = [
        Column(name='matters', values=rng.random(60)),
        Column(name='nothing', values=np.arange(60.0) % 3, labels=['a', 'b', 'c']),
    ]
    values = np.where(np.arange(60) % 10, columns[0].values ** 2, np.nan)
    shares = page.importance(columns, values)
    assert shares['matters'] > 0.9
    assert sum(shares.values()) == pytest.approx(1)
    flat = page.importance(columns, np.ones(60))
    assert set(flat.values()) == {0.0}
