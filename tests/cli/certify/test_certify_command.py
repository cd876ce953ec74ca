"""`jaxvision certify`: the report, killed evaluations, mistakes."""

import functools
import json

import numpy as np
import pytest

from jaxvision.cli import stored
from jaxvision.cli.certify import command
from jaxvision.cli.progress import Progress
from jaxvision.metrics import certified

SMALL = ('--sigma', 0.3, '--n0', 10, '--n', 60, '--examples', 12)


@pytest.fixture
def certify(called, trained):
    """certify(argument, ...) -> (exit code, stdout, stderr), for a trained run."""
    return functools.partial(called, command.main, '--workdir', trained)


def report(folder):
    return json.loads((folder / 'certify.json').read_text())


def test_a_killed_evaluation_goes_on_and_ends_equal(certify, tmp_path, monkeypatch):
    code, out, err = certify(*SMALL, '--out', 'whole', '--batch_size', 60)
    assert code == 0, err
    calls = []

    def killed(self, line):
        calls.append(line)
        if len(calls) == 5:
            raise KeyboardInterrupt

    # Another batch size gives the same counts.
    arguments = (*SMALL, '--out', 'out', '--batch_size', 25, '--no_pictures')
    with monkeypatch.context() as patch:
        patch.setattr(Progress, 'print', killed)
        assert certify(*arguments)[0] == 130
    assert '5 of 12 images' in calls[-1]
    (folder,) = (tmp_path / 'out').iterdir()
    kept = {path: path.stat().st_mtime_ns for path in folder.glob('*.npz')}
    assert len(kept) == 5
    with monkeypatch.context() as patch:
        patch.setattr(stored, 'remove', lambda folder: None)
        assert certify(*arguments)[0] == 0
    for path, time in kept.items():
        assert path.stat().st_mtime_ns == time
    whole, resumed = report(tmp_path / 'whole'), report(tmp_path / 'out')
    for values in (whole, resumed):
        del values['seconds']
    assert resumed == whole
    files = sorted(path.name for path in (tmp_path / 'whole').iterdir())
    assert files == ['certify.json', 'curve.png']
    # The report follows from its own rows.
    radii = np.array(whole['radius'])
    is_right = np.array(whole['class']) == np.array(whole['label'])
    rows = whole['certified']
    assert [row['radius'] for row in rows] == pytest.approx(
        [0.15 * place for place in range(len(rows))]
    )
    expected = [np.mean(is_right & (radii >= row['radius'])) for row in rows]
    assert [row['certified_accuracy'] for row in rows] == pytest.approx(expected)
    assert whole['images'] == len(radii) == 12
    lower = certified.lower_bound(np.array([60]), 60, 0.001)
    assert whole['largest_radius'] == certified.radius(lower, 0.3)[0]
    assert radii.max() <= whole['largest_radius']
    assert next(iter(whole)) == 'certify'
    assert 'certified accuracy' in out and 'at most 0.001' in out


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--sigma', '0'], '--sigma=0.0: expected'),
        (['--sigma', '0.5', '--alpha', '1'], '--alpha=1.0: expected'),
        (['--sigma', '0.5', '--n', '0'], '--n=0: expected'),
        (['--sigma', '0.5', '--radii', '0,x'], '--radii=x: expected numbers'),
        (['--sigma', '0.5', '--radii', '-1'], '--radii=-1: expected numbers'),
        (['--sigma', '0.5', '--out', 'notes'], '--out=notes: expected an empty folder'),
        (
            ['--sigma', '0.5', '--workdir', 'none'],
            '--workdir=none: expected the folder',
        ),
    ],
)
def test_a_mistake_is_one_line(certify, tmp_path, arguments, message):
    (tmp_path / 'notes').mkdir()
    (tmp_path / 'notes' / 'mine.txt').write_text('')
    code, _, err = certify(*arguments)
    assert code == 2
    assert message in err and err.count('\n') == 1
