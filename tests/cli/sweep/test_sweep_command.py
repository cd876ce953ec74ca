"""The command `sweep` on real digits, and its mistakes."""

import csv
import json
import runpy

import pytest

from jaxvision import sweep
from jaxvision.cli.sweep import command
from jaxvision.core import config as configs

CONFIG = """
from jaxvision.core import config as configs


def get_config():
    config = configs.default('classification')
    config.data.source = 'digits'
    config.data.batch_size = 32
    config.model.name = 'cnn'
    config.model.variant = '4'
    config.model.options = {'pool': 'max'}
    config.optimizer.lr = 0.01
    config.train.steps = '4'
    config.train.eval_every = '0'
    config.train.checkpoint_every = '0'
    return config


def sweep():
    return {'optimizer.lr': [0.01, 3e10]}
"""


@pytest.fixture
def config(tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text(CONFIG.replace("    config.model.options = {'pool': 'max'}\n", ''))
    return str(file)


def test_a_real_sweep_finds_the_better_rate(config, tmp_path, capsys):
    folder = tmp_path / 'sweep'
    arguments = ['--config', config, '--workdir', str(folder), '--search', 'grid']
    assert command.main(arguments) == 0
    printed = capsys.readouterr().out
    assert 'data.validation=10%' in printed
    assert 'best on the validation split: trial 0' in printed
    with (folder / 'trials.csv').open() as file:
        first, second = csv.DictReader(file)
    assert (first['state'], first['optimizer.lr'], first['trained']) == (
        'trained',
        '0.01',
        'end',
    )
    assert (second['state'], second['optimizer.lr']) == ('diverged', '30000000000.0')
    assert 'not finite' in second['error']
    metrics = (folder / 'trials' / '0000' / 'metrics.jsonl').read_text().splitlines()
    last = json.loads(metrics[-1])
    assert float(first['validation/accuracy']) == last['validation/accuracy']
    # A selected score is not a result, and the test split is left alone.
    assert f'{last["validation/accuracy"]:.4f}' not in printed.partition('best on')[2]
    assert not any('eval/' in row for row in metrics)
    winner = runpy.run_path(str(folder / 'best.py'))['get_config']()
    trained = json.loads((folder / 'trials' / '0000' / 'config.json').read_text())
    assert winner.to_dict() == configs.stored(trained).to_dict()

    # Finished trials are read from the folder.
    assert command.main(arguments) == 0
    assert command.main(['--report', '--workdir', str(folder)]) == 0


def test_a_trial_of_another_program_goes_on_from_its_checkpoint(config, tmp_path):
    settings = configs.load(config)
    settings.parallel.cpu_devices = 1
    settings.data.validation = '10%'
    folder = tmp_path / 'trial'
    seen = []
    with pytest.raises(KeyError, match='lost'):

        def lose(step, metrics):
            raise KeyError('lost')

        sweep.trial(settings, folder, until='64 examples', on_eval=lose)
    outcome = sweep.trial(
        settings, folder, on_eval=lambda step, metrics: seen.append((step, metrics))
    )
    assert (outcome.finished, outcome.step) == (True, 4)
    assert outcome.metric == 'validation/accuracy'
    assert seen == [(4, outcome.metrics)]
    rows = (folder / 'metrics.jsonl').read_text().splitlines()
    evaluated = [
        row['step'] for row in map(json.loads, rows) if 'validation/accuracy' in row
    ]
    assert evaluated == [2, 4]


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--search', 'gird'], "--search='gird': expected one of 'grid'"),
        (['--trials', '0'], '--trials=0: expected a whole number >= 1'),
        (['--halving', '1'], '--halving=1: expected a whole number >= 2'),
        (['--trial', '2', '--halving', '3'], 'expected no --halving'),
        (['--trial', '2'], '--trial=2: expected 0 to 1'),
        (['--sweep.lr=1'], "did you mean 'optimizer.lr'"),
        (['--config.optimizer.lr=1'], 'Leave the other one out'),
        (['--search', 'grid', '--sweep.optimizer.lr=log(1,2)'], 'with --search grid'),
        (['--config.data.validation=none'], 'expected a validation split'),
        (['--config.train.best=acuracy'], "did you mean 'accuracy'"),
        (['--sweep.seed'], 'expected --sweep.FIELD=VALUES'),
        (['--epochs=3'], 'expected --config.FIELD=VALUE'),
        (['--config.data.batch_size=auto'], 'auto: expected a number in a sweep'),
        (['--sweep.data.batch_size=8,auto'], 'auto: expected a number in a sweep'),
        (['--top=2'], '--top=2: expected --retest'),
        (['--rungs=4'], '--rungs=4: expected --halving'),
        (['--batch=2'], '--batch=2: expected --search tpe or cmaes or gp'),
    ],
)
def test_a_mistake_is_one_line_before_the_first_trial(
    config, tmp_path, capsys, arguments, message
):
    folder = tmp_path / 'sweep'
    code = command.main(['--config', config, '--workdir', str(folder), *arguments])
    _, error = capsys.readouterr()
    assert (code, error.count('\n')) == (2, 1)
    assert message in error
    assert not folder.exists()


def test_a_folder_of_something_else_is_refused(config, tmp_path, capsys):
    assert command.main(['--report', '--workdir', str(tmp_path)]) == 2
    assert 'expected the folder of a sweep' in capsys.readouterr().err
