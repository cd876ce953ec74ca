"""`jaxvision corrupt`: the report, mCE, killed evaluations, mistakes."""

import functools
import json
from types import SimpleNamespace

import numpy as np
import pytest

import jaxvision
from jaxvision.cli import stored
from jaxvision.cli.corrupt import command, measured
from jaxvision.core.errors import UserError
from jaxvision.metrics import corruptions as metrics

TWO = ('--corruptions', 'contrast,gaussian_noise', '--severities', '5,1')


@pytest.fixture
def corrupt(called, trained):
    """corrupt(argument, ...) -> (exit code, stdout, stderr), for a trained run."""
    return functools.partial(called, command.main, '--workdir', trained)


def report(folder):
    return json.loads((folder / 'corrupt.json').read_text())


def test_a_run_relative_to_itself_has_errors_of_1(corrupt, tmp_path, trained):
    code, out, err = corrupt(*TWO, '--reference', trained, '--out', 'out')
    assert code == 0, err
    values = report(tmp_path / 'out')
    assert next(iter(values)) == 'corrupt'
    assert [entry['name'] for entry in values['corruptions']] == [
        'gaussian_noise',
        'contrast',
    ]
    assert values['severities'] == [1, 5]
    assert values['mce'] == 1
    assert values['relative_mce'] in (1, None)
    assert 'mCE 1.0000' in out and 'gaussian_noise' in out
    files = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert files == ['corrupt.json', 'errors.png', 'examples.png']
    # The originals have the error of the task's own inference.
    task, variables, _ = jaxvision.load(trained)
    opened = measured.open_run('--workdir', str(trained), 'last', 'test')
    images = opened.run.sources['test'].batch(range(values['images']))
    outputs = task.predict(variables, {'image': images['image']})
    wrong = np.asarray(outputs['logits']).argmax(-1) != images['label']
    assert values['clean_error'] == pytest.approx(wrong.mean())
    for entry in values['corruptions']:
        assert entry['error'] == pytest.approx(np.mean(entry['errors']))


def test_a_killed_evaluation_goes_on_and_ends_equal(corrupt, tmp_path, monkeypatch):
    arguments = (*TWO, '--examples', 50, '--no_pictures')
    assert corrupt(*arguments, '--out', 'whole')[0] == 0
    measure = measured.measure
    calls = []

    def killed(*arguments):
        calls.append(arguments[-1])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return measure(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(measured, 'measure', killed)
        assert corrupt(*arguments, '--out', 'out')[0] == 130
    (folder,) = (tmp_path / 'out').iterdir()
    kept = {path: path.stat().st_mtime_ns for path in folder.glob('*.npz')}
    assert sorted(path.stem for path in kept) == [
        'clean',
        'gaussian_noise-1',
        'gaussian_noise-5',
    ]
    with monkeypatch.context() as patch:
        patch.setattr(stored, 'remove', lambda folder: None)
        assert corrupt(*arguments, '--out', 'out')[0] == 0
    for path, time in kept.items():
        assert path.stat().st_mtime_ns == time
    whole, resumed = report(tmp_path / 'whole'), report(tmp_path / 'out')
    for values in (whole, resumed):
        del values['seconds']
    assert resumed == whole
    assert whole['images'] == 50


def test_noise_belongs_to_the_row_and_not_to_the_batch():
    """All severities have the same random numbers."""
    import jax
    import jax.numpy as jnp

    images = jnp.full((4, 8, 8, 1), 128, jnp.uint8)
    key = jax.random.key(0)
    rows = jnp.array([3, 5, 7, 9])

    def noise(rows, severity):
        corrupted = measured.corrupt_batch(
            key,
            images[: len(rows)],
            rows,
            jnp.ones((len(rows), 8, 8, 1), bool),
            name='gaussian_noise',
            severity=severity,
        )
        assert corrupted.dtype == jnp.uint8
        return np.asarray(corrupted).astype(int) - 128

    first = noise(rows, 1)
    np.testing.assert_array_equal(noise(rows[2:3], 1)[0], first[2])
    assert (first[0] != first[1]).any()
    # Std 0.04 and 0.1; rounding to 8 bits moves a value by half a step at most.
    assert np.abs(noise(rows, 5) / 2.5 - first).max() <= 0.5 + 0.5 / 2.5


def test_the_padding_of_a_letterbox_stays_as_it_is():
    """An image of 4 x 6 pixels on the canvas of 8 x 8, with padding to its right and below."""
    import jax
    import jax.numpy as jnp

    batch = {
        'image': np.full((1, 8, 8, 1), 114, np.uint8),
        'warp': np.array([[[1, 0, 0], [0, 1, 0]]], np.float32),
        'original_size': np.array([[4, 6]], np.int32),
    }
    visible = measured.visible_of(batch)
    corrupted = measured.corrupt_batch(
        jax.random.key(0),
        jnp.asarray(batch['image']),
        jnp.zeros(1, jnp.int32),
        visible,
        name='brightness',
        severity=5,
    )
    expected = np.zeros((8, 8), bool)
    expected[:4, :6] = True
    np.testing.assert_array_equal(np.asarray(corrupted)[0, ..., 0] != 114, expected)


def test_the_corruption_error_is_a_ratio_of_sums():
    errors = np.array([0.2, 0.4])
    reference = np.array([0.3, 0.9])
    assert metrics.corruption_error(errors, reference) == pytest.approx(0.5)
    relative = metrics.relative_corruption_error(errors, 0.1, reference, 0.2)
    assert relative == pytest.approx(0.4 / 0.8)
    assert metrics.corruption_error(errors, np.zeros(2)) is None
    for clean in (0.6, 0.7):
        relative = metrics.relative_corruption_error(errors, 0.1, reference, clean)
        assert relative is None


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--severities', '0'], '--severities=0: expected numbers from 1 to 5'),
        (['--severities', '1,x'], '--severities=1,x: expected numbers'),
        (['--corruptions', 'fogg'], "Did you mean 'fog'"),
        (['--examples', '0'], '--examples=0: expected'),
        (['--reference', 'none'], '--reference=none: expected the folder of a run'),
        (['--split', 'validation'], '--split=validation: expected one of'),
        (['--out', 'notes'], '--out=notes: expected an empty folder'),
    ],
)
def test_a_mistake_is_one_line(corrupt, tmp_path, arguments, message):
    (tmp_path / 'notes').mkdir()
    (tmp_path / 'notes' / 'mine.txt').write_text('')
    code, _, err = corrupt(*arguments)
    assert code == 2
    assert message in err and err.count('\n') == 1


def test_another_task_or_reference_is_refused(fake, trained):
    with pytest.raises(UserError, match='expected a run of classification, detection'):
        measured.open_run('--workdir', str(fake('upscaler')), 'last', 'test')


def test_a_reference_that_sees_images_of_another_size_is_refused():
    def measured_at(side):
        inputs = {'image': SimpleNamespace(shape=(side, side, 1))}
        spec = SimpleNamespace(data={'test': 'hash'}, class_names=('a',), inputs=inputs)
        return SimpleNamespace(
            name=f'runs/{side}', metric='top1', run=SimpleNamespace(spec=spec)
        )

    measured.require_same_data(measured_at(8), measured_at(8), 'test')
    with pytest.raises(UserError, match=r'runs/16: expected the size of images of run'):
        measured.require_same_data(measured_at(8), measured_at(16), 'test')
