import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision
from jaxvision.core.errors import UserError
from jaxvision.core.spec import ArraySpec
from jaxvision.train import loop
from jaxvision.train.writers import read_rows


@pytest.fixture(scope='module')
def selected(tiny, tmp_path_factory):
    """The folder of a finished run with a validation split."""
    workdir = tmp_path_factory.mktemp('selected')
    fields = ('data.validation=20%', 'train.best=accuracy', 'train.keep=1')
    loop.run(tiny(*fields, 'optimizer.schedule=constant'), workdir)
    return workdir


def accuracy(workdir, step):
    task, variables, _ = jaxvision.load(workdir, step)
    source = loop.reopen(Path(workdir)).sources['validation']
    batch = source.batch(range(len(source)))
    logits = task.predict(variables, {'image': jnp.asarray(batch['image'])})['logits']
    return (np.asarray(logits.argmax(-1)) == batch['label']).mean()


def test_a_run_is_reopened_at_its_last_its_best_or_a_numbered_checkpoint(selected):
    scores = {
        row['step']: row['validation/accuracy']
        for row in read_rows(selected / 'metrics.jsonl')
        if 'validation/accuracy' in row
    }
    assert scores.keys() == {3, 6}
    best = max(scores, key=scores.get)
    for step, expected in (
        ('last', scores[6]),
        (6, scores[6]),
        ('6', scores[6]),
        ('best', scores[best]),
    ):
        assert accuracy(selected, step) == pytest.approx(expected, abs=1e-9)
    assert accuracy(str(selected), 'last') == pytest.approx(scores[6], abs=1e-9)


def test_the_spec_says_what_goes_in_and_what_comes_out(trained):
    task, variables, spec = jaxvision.load(trained)
    assert spec.inputs == {'image': ArraySpec((8, 8, 1), 'uint8')}
    assert list(spec.class_names) == list('0123456789')
    image = jnp.zeros((2, *spec.inputs['image'].shape), spec.inputs['image'].dtype)
    answer = jax.jit(task.predict)(variables, {'image': image})
    assert answer['probabilities'].shape == (2, len(spec.class_names))


@pytest.mark.parametrize(
    'name, step, message',
    [
        ('', 99, 'no checkpoint 99: expected last, best or one of'),
        ('', 'worst', 'no checkpoint worst'),
        ('nowhere', 'last', 'is not a run: it has no config.json'),
    ],
)
def test_a_missing_run_or_checkpoint_is_named(trained, name, step, message):
    with pytest.raises(UserError, match=message):
        jaxvision.load(trained / name, step)


def test_loading_logs_no_warnings_of_orbax_and_keeps_the_logging_of_others(trained):
    script = """
import logging, sys
import jaxvision
logging.basicConfig(level=logging.WARNING)
handlers = list(logging.root.handlers)
jaxvision.load(sys.argv[1])
logger = logging.getLogger('absl')
assert logging.root.handlers == handlers and not logger.filters
assert logger.isEnabledFor(logging.WARNING)
logger.warning('afterwards')
"""
    done = subprocess.run(
        [sys.executable, '-c', script, str(trained)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ''
    absl_lines = [line for line in done.stderr.splitlines() if 'absl' in line]
    assert absl_lines == ['WARNING:absl:afterwards']
