"""calibration.json: fitted on the validation split alone, for the best checkpoint."""

import contextlib
import dataclasses

import numpy as np
import pytest

from jaxvision.core.errors import UserError
from jaxvision.train import calibration, evaluation, loop, saved
from jaxvision.train.run import reopen

SELECTING = (
    'train.steps=8',
    'train.eval_every=2',
    'train.checkpoint_every=2',
    'optimizer.lr=0.1',
)
VALIDATION = 'data.validation=10%'


@pytest.fixture(autouse=True)
def quickly(no_pictures):
    pass


def fit(records):
    return {
        'examples': len(records['index']),
        'nll': float(np.sum(records['nll'], dtype=np.float64)),
    }


@pytest.fixture
def calibrating(monkeypatch):
    """Classification with something to fit."""
    make_task = saved.make_task

    def with_calibration(config, spec):
        task = make_task(config, spec)
        main = dataclasses.replace(task.main, calibrate=fit)
        evaluations = {**task.evaluations, task.main_evaluation: main}
        return dataclasses.replace(task, evaluations=evaluations)

    monkeypatch.setattr(saved, 'make_task', with_calibration)


def test_the_best_checkpoint_is_calibrated_on_validation(calibrating, tiny, tmp_path):
    result = loop.run(tiny(*SELECTING, VALIDATION), tmp_path)
    best = int(result.metrics['best/step'])
    run = reopen(tmp_path)
    state = run.restore('best')
    assert int(state.step) == best
    records = evaluation.gather(run, run.evaluate['eval'], 'validation', state)
    assert calibration.read(tmp_path) == {
        'split': 'validation',
        'step': best,
        **fit(records),
    }
    assert len(run.sources['validation']) != len(run.sources['test'])


def test_a_killed_run_ends_with_the_same_calibration(
    calibrating, tiny, tmp_path, monkeypatch
):
    @contextlib.contextmanager
    def stop_signal():
        yield lambda step: step >= 4

    config = tiny(*SELECTING, VALIDATION)
    loop.run(config, tmp_path / 'straight')
    with monkeypatch.context() as patch:
        patch.setattr(loop.processes, 'stop_signal', stop_signal)
        assert not loop.run(config, tmp_path / 'killed').finished
    loop.run(config, tmp_path / 'killed')
    files = [tmp_path / name / 'calibration.json' for name in ('straight', 'killed')]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_test_split_calibrates_nothing(calibrating, tiny, tmp_path):
    loop.run(tiny(*SELECTING), tmp_path)
    assert calibration.read(tmp_path) == {}


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / 'calibration.json').write_text('{"score": 0.')
    with pytest.raises(UserError, match='calibration.json is damaged'):
        calibration.read(tmp_path)
