"""Sweeps of stub trials, which train nothing."""

import sys
from pathlib import Path

import pytest

from jaxvision.cli.sweep import definition
from jaxvision.cli.sweep.definition import Sweep
from jaxvision.cli.sweep.halving import Rungs
from jaxvision.cli.sweep.pool import Pool
from jaxvision.core import config as configs

STUB = (sys.executable, '-I', '-S', str(Path(__file__).parent / 'stub_trial.py'))


@pytest.fixture
def stub_sweep(tmp_path):
    """stub_sweep(trials=4, ...): a sweep with its folder, whose trials are stubs."""

    def make(name='sweep', **changes):
        settings = {
            'config': configs.default('classification'),
            'texts': {'optimizer.lr': 'log(1e-4,1)', 'model.variant': 'a,b'},
            'search': 'random',
            'seed': 0,
            'trials': 4,
            'metric': 'accuracy',
            'rungs': Rungs(),
        }
        sweep = Sweep(folder=tmp_path / name, **{**settings, **changes})
        definition.take_folder(sweep)
        return sweep

    return make


@pytest.fixture
def stub_pool():
    """stub_pool(workers=2): an engine that runs stub trials."""

    def make(workers=2):
        return Pool(workers, 1, lambda: False, STUB)

    return make
