"""The seam between sweeps and Ray Tune, which is not installed here.

tests/bench/sweep_ray.py runs sweeps on real Ray nodes.
"""

import collections
import functools
import json
import sys
import types

import pytest

from jaxvision.cli.sweep import (
    asynchronous,
    command,
    definition,
    halving,
    opening,
    process,
    ray_engine,
    records,
    report,
    running,
    schedule,
)
from jaxvision.cli.sweep.halving import Rungs
from jaxvision.cli.sweep.pool import Job
from jaxvision.cli.sweep.records import Record
from jaxvision.core.errors import UserError

TEXTS = {'optimizer.lr': '1,2,3', 'model.variant': 'good,nan'}


class Searcher:
    """A searcher of Ray Tune that suggests the first values of all fields, and remembers."""

    def __init__(self):
        self.told = []
        self.reported = []

    def suggest(self, name):
        return {'optimizer.lr': 0, 'model.variant': 0}

    def on_trial_result(self, name, result):
        self.reported.append((name, result['score']))

    def on_trial_complete(self, name, result=None, error=False):
        self.told.append((name, (result or {}).get('score'), error))

    def add_evaluated_point(self, params, value, pruned=False):
        self.told.append((tuple(params.values()), value, pruned))


class Engine:
    """An engine that asks for trials as Ray Tune does, one after the other."""

    def __init__(self, pool, most=99):
        self._pool = pool
        self._most = most

    def search(self, trials, ended, metric='', factor=0):
        passed = collections.defaultdict(list)
        for place in range(min(len(trials), self._most)):
            name = f'ray{place}'
            result = {}
            for rung, job in enumerate(trials.next(name)):
                assert self._pool([job], ended)
                score = records.read(job.folder).score(metric, job.until)
                result = {} if score is None else {'score': score}
                trials.report(name, result)
                passed[rung].append(score)
                # The better half so far goes on.
                if score is None or (factor and sorted(passed[rung])[-1] > score):
                    break
            trials.end(name, result)
        return len(trials) <= self._most


def ignore(job, record):
    """What happens when a trial ends is no matter."""


def test_ray_is_needed_and_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ray_engine.importlib.util, 'find_spec', lambda name: None)
    folder = tmp_path / 'sweep'
    base = ['--config', 'cnn:digits', '--workdir', str(folder)]
    for arguments, message in (
        (['--engine', 'ray'], '--engine=ray: expected the package ray'),
        (['--engine', 'spark'], "--engine='spark': expected one of 'processes'"),
        (['--address', 'auto'], '--address=auto: expected --engine ray'),
        (['--engine', 'ray', '--trial', '2'], '--trial=2: expected no --engine ray'),
        (['--trial', '2', '--optuna', 'x'], '--trial=2: expected no --optuna'),
        (['--optuna', f'{folder}/x'], 'expected the package optuna'),
    ):
        assert command.main([*base, *arguments]) == 2
        _, error = capsys.readouterr()
        assert message in error and error.count('\n') == 1
    assert not folder.exists()


def test_a_trial_reports_every_rung_again_after_its_machine_was_lost(
    stub_sweep, stub_pool, monkeypatch
):
    pool = functools.partial(ray_engine.Pool, program=stub_pool()._program)
    monkeypatch.setattr(ray_engine, 'Pool', pool)
    monkeypatch.chdir('.')
    reports = []

    def report_to_ray(result):
        state = json.loads(result.pop('record'))['state']
        reports.append({**result, 'state': state})

    tune = types.SimpleNamespace(report=report_to_ray)
    monkeypatch.setitem(sys.modules, 'ray', types.SimpleNamespace(tune=tune))
    sweep = stub_sweep(rungs=Rungs(3, (100, 300)), texts=TEXTS, search='grid')
    for number, variant in ((0, 'good'), (1, 'nan')):
        point = {'optimizer.lr': 1.0, 'model.variant': variant}
        folder = sweep.prepare(number, point)
        settings = {
            'folder': str(folder),
            'intervals': sweep.rungs.intervals,
            'directory': '/no such folder',
            'threads': 1,
            'metric': sweep.selects,
            'factor': 3,
        }
        ray_engine.train(settings)
        first = list(reports)
        ray_engine.train(settings)
        assert reports == [*first, *first]
        reports.clear()
        if variant == 'nan':
            assert first == [
                {'until': '100 examples', 'length': 1, 'state': 'diverged'}
            ]
            continue
        assert [each['length'] for each in first] == [1, 3, 9]
        ends = [each['until'] for each in first]
        assert ends == ['100 examples', '300 examples', 'end']
        assert (folder / 'ends.txt').read_text().split('\n')[:3] == ends
        evaluations = records.read(folder).evaluations
        scores = [evaluations[until]['validation/accuracy'] for until in ends]
        assert [each['score'] for each in first] == scores


def test_points_of_a_searcher_are_tried_once_and_their_scores_told(
    stub_sweep, stub_pool
):
    texts = {'optimizer.lr': '1,2,3', 'model.variant': 'good,nan'}
    sweep = stub_sweep(search='tpe', trials=6, asynchronous=True, texts=texts)
    searcher = Searcher()
    trials = asynchronous.Suggested(sweep, searcher)
    assert not Engine(stub_pool(), most=2).search(trials, ignore, sweep.selects)
    points = report.points(sweep)
    assert points[0] == {'optimizer.lr': 1.0, 'model.variant': 'good'} != points[1]
    first = records.read(sweep.trial_folder(0)).score(sweep.selects, 'end')
    assert searcher.told[0] == ('ray0', first, False)
    assert searcher.reported[0] == ('ray0', first)
    # The second suggestion was the first one again, and a random point takes its place.
    assert searcher.told[1] == ('ray1', None, True)
    (lr, variant), score, pruned = searcher.told[2]
    assert points[1]['optimizer.lr'] == [1.0, 2.0, 3.0][lr]
    assert pruned == (variant == 1) == (score is None)

    # The same command later: results are told again, and trials that were cut off go first.
    (sweep.trial_folder(1) / 'result.json').unlink()
    searcher = Searcher()
    trials = asynchronous.Suggested(sweep, searcher)
    assert searcher.told == [((0, 0), first, False)]
    assert len(trials) == 5
    assert Engine(stub_pool()).search(trials, ignore, sweep.selects)
    assert report.points(sweep)[1] == points[1]
    tried = [tuple(point.values()) for point in report.points(sweep).values()]
    assert len(set(tried)) == len(tried) == 6
    told = [each for each in searcher.told if not isinstance(each[0], str)]
    assert len({each[0] for each in told}) == 6
    assert schedule.is_over(sweep)


def test_early_stopping_goes_on_with_all_results_and_ends_once(stub_sweep, stub_pool):
    rungs = Rungs(3, (100, 300))
    texts = {'optimizer.lr': 'log(1e-4,1)'}
    whole = stub_sweep('whole', rungs=rungs, trials=6, texts=texts)
    assert schedule.run(whole, stub_pool(), ignore)
    sweep = stub_sweep(rungs=rungs, trials=6, asynchronous=True, texts=texts)
    ends = []

    def ended(job, record):
        ends.append((job.folder.name, job.until))

    assert not asynchronous.run(sweep, Engine(stub_pool(), most=3), ended)
    assert not schedule.is_over(sweep)
    assert asynchronous.run(sweep, Engine(stub_pool()), ended)
    assert len(set(ends)) == len(ends)
    assert schedule.is_over(sweep)
    assert asynchronous.run(sweep, None, ended)  # Nothing is left to run.
    for number, record in schedule.read(sweep).items():
        assert report.points(sweep)[number] == report.points(whole)[number]
        other = schedule.read(whole)[number]
        for until in record.evaluations.keys() & other.evaluations.keys():
            assert record.evaluations[until] == other.evaluations[until]
    best = halving.ranked(
        schedule.scores(sweep, schedule.read(sweep), list(range(6)), 'end')
    )
    assert best[0] == report.best(whole) == report.best(sweep)
    running.finish(sweep)
    assert 'done' not in (sweep.folder / 'trials.csv').read_text()


def test_a_sweep_of_ray_does_not_go_on_elsewhere_if_its_points_would_differ(stub_sweep):
    stub_sweep(search='tpe', asynchronous=True)
    begun = 'expected the same --engine, since this sweep was begun with --engine ray'
    with pytest.raises(UserError, match=begun):
        stub_sweep(search='tpe', batch=4)
    # Another search or seed is named as such.
    with pytest.raises(UserError, match=r'other settings: seed: 0 -> 1\. Set'):
        stub_sweep(search='tpe', batch=4, seed=1)
    sweep = stub_sweep('random')
    with pytest.raises(UserError, match='begun without --engine ray'):
        stub_sweep('random', asynchronous=True)
    # A sweep of an older version.
    path = sweep.folder / 'sweep.json'
    path.write_text(path.read_text().replace(',\n "asynchronous": false', ''))
    assert not definition.read(sweep.folder).asynchronous


def test_begun_trials_keep_their_points_and_failed_ones_reopen_the_sweep(
    stub_sweep, stub_pool
):
    rungs = Rungs(3, (100,))
    sweep = stub_sweep(rungs=rungs, trials=3, asynchronous=True)
    assert asynchronous.run(sweep, Engine(stub_pool()), ignore)
    assert schedule.is_over(sweep)
    records.write(sweep.trial_folder(1), Record(state='failed', error='a full disk'))
    assert not asynchronous.run(sweep, Engine(stub_pool(), most=0), ignore)
    assert not schedule.is_over(sweep)
    sweep.prepare(1, {**sweep.points()[1], 'optimizer.lr': 0.75})
    with pytest.raises(UserError, match='0001 has other parameters than this search'):
        asynchronous.Suggested(sweep)


def test_errors_of_ray_are_named(stub_sweep, tmp_path, monkeypatch):
    tune = types.SimpleNamespace(Callback=object)
    monkeypatch.setitem(sys.modules, 'ray.tune', tune)
    sweep = stub_sweep(trials=1)
    job = Job(sweep.prepare(0, sweep.points()[0]), 'end')
    ends = []
    listener = ray_engine._listener(
        {('ray0', 'end'): job}, lambda job, record: ends.append(record)
    )
    file = tmp_path / 'error.txt'
    trial = types.SimpleNamespace(
        trial_id='ray0',
        config={'intervals': ['end']},
        error_file=None,
        num_failures=10,
    )
    listener.on_trial_error(1, [trial], trial)
    file.write_text(
        "Failure # 10\nTraceback\nImportError: No module named 'jaxvision'\n"
    )
    trial.error_file = str(file)
    listener.on_trial_error(1, [trial], trial)
    remedy = 'All machines need --workdir on shared storage and the same jaxvision'
    plain = f'its machine or worker failed (10 of at most 10 starts). {remedy}'
    last = "The last error: ImportError: No module named 'jaxvision'"
    assert [each.error for each in ends] == [plain, f'{plain}. {last}']
    assert records.read(job.folder) == ends[-1]

    def fail(*arguments, **options):
        raise ConnectionError

    monkeypatch.setitem(sys.modules, 'ray', types.SimpleNamespace(init=fail))
    monkeypatch.setattr(ray_engine, '_check_open', lambda address: None)
    monkeypatch.setattr(ray_engine, '_VARIABLES', {})
    with pytest.raises(UserError, match='The error: ConnectionError$'):
        ray_engine.connect('auto')


def test_a_stopped_sweep_says_whether_trials_on_other_machines_have_saved(
    stub_sweep, monkeypatch, capsys
):
    sweep = stub_sweep(trials=1)
    folder = sweep.prepare(0, sweep.points()[0])
    monkeypatch.setattr(opening, 'open_sweep', lambda options, rest: sweep)
    monkeypatch.setattr(running, 'run', lambda sweep, request: False)
    monkeypatch.setattr(command, 'SECONDS_TO_SAVE', 0.0)
    arguments = ['--config', 'cnn', '--engine', 'ray']
    with process.held(folder):
        assert command.main(arguments) == 75
        assert 'stopped, some trials may still save' in capsys.readouterr().out
    assert command.main(arguments) == 75
    assert 'stopped, everything saved' in capsys.readouterr().out


@pytest.mark.parametrize('failing', [True, False])
def test_a_sweep_without_a_trained_trial_is_one_line(stub_sweep, stub_pool, failing):
    variant = 'fail' if failing else 'nan'
    texts = {'optimizer.lr': '1,2', 'model.variant': variant}
    sweep = stub_sweep(search='tpe', trials=2, asynchronous=True, texts=texts)
    trials = asynchronous.Suggested(sweep, Searcher())
    assert Engine(stub_pool()).search(trials, ignore, sweep.selects)
    with pytest.raises(
        UserError, match='^every trial (failed|diverged); the first one'
    ):
        schedule.check_some_trained(schedule.read(sweep))
