"""The sweep in other programs: Optuna's journal and TensorBoard's HParams tab."""

import json
import sys
import types

import pytest

from jaxvision.cli.sweep import hparams, journal, records, report, running, schedule
from jaxvision.cli.sweep.halving import Rungs
from jaxvision.cli.sweep.records import Record
from jaxvision.core.errors import UserError
from jaxvision.train.writers import Metrics

TEXTS = {
    'optimizer.lr': 'auto,0.5',
    'model.variant': 'good,nan,fail',
    'optimizer.ema': 'uniform(0,0.9)',
    'data.batch_size': 'int(8,64)',
}


def write_metrics(sweep, number, rows):
    """The logs that a real trial would have written."""
    with Metrics(sweep.trial_folder(number)) as metrics:
        for step, value in rows:
            metrics.write(step, {'validation/accuracy': value})


def trained(*values):
    """The record of a trial with the metric after the first rung, and perhaps at the end."""
    pairs = zip(('300 examples', 'end'), values, strict=False)
    evaluations = {until: {'validation/accuracy': value} for until, value in pairs}
    return Record(evaluations=evaluations, seconds=7.0)


def exported(point):
    """The parameters of a trial with texts where the types of a choice are mixed."""
    return {**point, 'optimizer.lr': str(point['optimizer.lr'])}


@pytest.fixture
def sweep(stub_sweep):
    """A sweep with halving: two trials to the end, two stopped early, two without a score."""
    sweep = stub_sweep(texts=TEXTS, trials=6, rungs=Rungs(3, (300,)), seed=1)
    results = [
        trained(0.5, 0.625),
        trained(0.25),
        Record(state='diverged', seconds=3.0, error='the loss is not finite'),
        Record(state='failed', seconds=2.0, error='no such data'),
        trained(0.75, 0.875),
        trained(0.125),
    ]
    for number, point in enumerate(sweep.points()):
        records.write(sweep.prepare(number, point), results[number])
    assert not schedule.next_round(sweep, sweep.points(), schedule.read(sweep))
    return sweep


def test_optuna_reads_the_journal_back(sweep, tmp_path, capsys, monkeypatch):
    optuna = pytest.importorskip('optuna')
    monkeypatch.setattr(
        running.page, 'write', lambda sweep: None
    )  # Drawing takes seconds.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    write_metrics(sweep, 0, [(2, 0.25), (4, float('nan')), (6, 0.75)])
    file = tmp_path / 'journal.log'
    file.write_text('an older journal')
    assert running.report_folder(sweep, str(file)) == 0
    assert f'the study of Optuna: {file}' in capsys.readouterr().out
    backend = optuna.storages.journal.JournalFileBackend(str(file))
    study = optuna.load_study(
        study_name=sweep.folder.name, storage=optuna.storages.JournalStorage(backend)
    )
    assert study.direction.name == 'MAXIMIZE'
    points = report.points(sweep)
    batch_size = points[0]['data.batch_size']
    assert study.trials[0].intermediate_values == {
        2 * batch_size: 0.25,
        6 * batch_size: 0.75,
    }
    states = ['COMPLETE', 'PRUNED', 'FAIL', 'FAIL', 'COMPLETE', 'PRUNED']
    assert [trial.state.name for trial in study.trials] == states
    values = [trial.value for trial in study.trials]
    assert values == [0.625, 0.25, None, None, 0.875, 0.125]
    for number, trial in enumerate(study.trials):
        assert trial.number == trial.user_attrs['number'] == number
        assert trial.params == exported(points[number])
        record = records.read(sweep.trial_folder(number))
        assert trial.user_attrs['error'] == record.error
        assert trial.duration.total_seconds() == pytest.approx(record.seconds)
    assert study.best_trial.number == report.best(sweep) == 4
    # A sampler can go on from the study.
    assert study.ask().number == 6

    # While a trial runs, it and those that wait for the next rung are running.
    (sweep.trial_folder(4) / 'result.json').unlink()
    journal.write(sweep, file)
    study = optuna.load_study(
        study_name=sweep.folder.name,
        storage=optuna.storages.JournalStorage(type(backend)(str(file))),
    )
    states = [trial.state.name for trial in study.trials]
    assert states == ['COMPLETE', 'RUNNING', 'FAIL', 'FAIL', 'RUNNING', 'RUNNING']


def test_a_smaller_metric_is_minimised_and_mistakes_are_one_line(stub_sweep, tmp_path):
    optuna = pytest.importorskip('optuna')
    sweep = stub_sweep(metric='-accuracy', trials=1)
    records.write(sweep.prepare(0, sweep.points()[0]), trained(0.5, 0.25))
    file = tmp_path / 'journal.log'
    journal.write(sweep, file)
    backend = optuna.storages.journal.JournalFileBackend(str(file))
    storage = optuna.storages.JournalStorage(backend)
    study = optuna.load_study(study_name=sweep.folder.name, storage=storage)
    assert study.direction.name == 'MINIMIZE'
    assert study.best_value == 0.25
    for wrong in (tmp_path / 'no' / 'file', tmp_path):
        with pytest.raises(UserError, match='expected a file in a folder that exists'):
            journal.require(str(wrong))


def test_tensorboard_shows_parameters_metrics_and_states(sweep, monkeypatch):
    # Without this module TensorBoard's reader loads TensorFlow, which takes seconds.
    monkeypatch.setitem(
        sys.modules, 'tensorboard.compat.notf', types.ModuleType('notf')
    )
    from tensorboard.backend.event_processing import (
        data_provider,
        plugin_event_multiplexer,
    )
    from tensorboard.context import RequestContext
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import (
        api_pb2,
        backend_context,
        get_experiment,
        list_session_groups,
    )

    for number in range(6):
        write_metrics(sweep, number, [(1, 0.125), (2, 0.25 + number / 64)])
    hparams.write(sweep)
    hparams.write(sweep)  # Written again, it replaces itself.
    reader = plugin_event_multiplexer.EventMultiplexer()
    reader.AddRunsFromDirectory(str(sweep.folder))
    reader.Reload()
    provider = data_provider.MultiplexerDataProvider(reader, str(sweep.folder))
    flags = types.SimpleNamespace(generic_data='true')
    context = base_plugin.TBContext(data_provider=provider, flags=flags)
    backend = backend_context.Context(context)
    experiment = get_experiment.Handler(
        RequestContext(), backend, '', api_pb2.GetExperimentRequest()
    ).run()
    infos = {info.name: info for info in experiment.hparam_infos}
    assert infos.keys() == TEXTS.keys()
    choices = infos['model.variant'].domain_discrete.values
    assert {choice.string_value for choice in choices} == {'good', 'nan', 'fail'}
    mixed = infos['optimizer.lr'].domain_discrete.values
    assert {choice.string_value for choice in mixed} == {'auto', '0.5'}
    interval = infos['data.batch_size'].domain_interval
    assert (interval.min_value, interval.max_value) == (8, 64)
    names = [info.name.tag for info in experiment.metric_infos]
    assert names == ['validation/accuracy']
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=99,
        allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE],
    )
    for name in TEXTS:
        request.col_params.add(hparam=name)
    groups = (
        list_session_groups.Handler(RequestContext(), backend, '', request)
        .run()
        .session_groups
    )
    assert len(groups) == 6
    found = schedule.read(sweep)
    points = report.points(sweep)
    for group in groups:
        number = int(group.name)
        (session,) = group.sessions
        assert session.name == f'trials/{group.name}'
        is_trained = found[number].state == 'trained'
        assert session.status == (
            api_pb2.STATUS_SUCCESS if is_trained else api_pb2.STATUS_FAILURE
        )
        seconds = session.end_time_secs - session.start_time_secs
        assert seconds == pytest.approx(found[number].seconds)
        shown = {
            name: value.string_value or value.number_value
            for name, value in group.hparams.items()
        }
        assert shown == json.loads(json.dumps(exported(points[number])))
        (metric,) = session.metric_values
        assert metric.value == 0.25 + number / 64
