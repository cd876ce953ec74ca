"""The comparison of exported outputs with those of the run."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import softmax

from jaxvision.cli.export import check, exported
from jaxvision.core.errors import UserError

OUTPUTS = {
    'logits': np.array([[1.0, -4.0], [2.0, 0.5]], np.float32),
    'class': np.array([0, 0]),
}


def reference(best='eval/accuracy', dtype='float32'):
    return check.Reference(
        {},
        OUTPUTS,
        dict,
        best,
        dtype,
        {'metrics': {'eval/accuracy': 0.9, 'eval/loss': 0.3}},
    )


def row(logits=0.0, classes=0.0, **metrics):
    return {'differences': {'logits': logits, 'class': classes}, 'metrics': metrics}


def test_probabilities_differ_no_more_than_their_logits_make_them():
    rng = np.random.default_rng(0)
    for scale in (0.1, 3.0, 60.0):
        expected = scale * rng.normal(size=(500, 3))
        signs = rng.choice([-1, 1], size=expected.shape)
        logits = expected + 1e-5 * np.abs(expected).max() * signs
        result = check.differences(
            {'logits': logits, 'probabilities': softmax(logits, axis=1)},
            {'logits': expected, 'probabilities': softmax(expected, axis=1)},
        )
        assert result['logits'] == pytest.approx(1e-5)
        assert 1e-7 < result['probabilities'] <= 1.001e-5
    alone = check.differences(
        {'probabilities': np.array([[0.5, 0.4]])},
        {'probabilities': np.array([[0.5, 0.5]])},
    )
    assert alone['probabilities'] == pytest.approx(0.2)


def test_differences_are_relative_to_the_largest_value():
    outputs = {
        'logits': OUTPUTS['logits'] + [[0, 0], [0.2, 0]],
        'class': np.array([0, 1]),
    }
    assert check.differences(outputs, OUTPUTS) == {
        'logits': pytest.approx(0.05),
        'class': 0.5,
    }


@given(arrays.arrays(np.float32, (3, 2), elements=st.floats(width=32)))
def test_an_output_does_not_differ_from_itself(values):
    assert check.differences({'x': values}, {'x': values}) == {'x': 0}


@pytest.mark.parametrize(
    'value, expected',
    [(np.nan, 1), (np.inf, 1), (1, np.nan), (np.nan, np.inf), (-np.inf, np.inf)],
)
def test_other_values_that_are_not_finite_differ_infinitely(value, expected):
    outputs = {'x': np.array([[1, value]], np.float32)}
    reference = {'x': np.array([[1, expected]], np.float32)}
    assert check.differences(outputs, reference) == {'x': np.inf}


@pytest.mark.parametrize(
    'outputs',
    [{'logits': OUTPUTS['logits']}, {**OUTPUTS, 'logits': OUTPUTS['logits'][:1]}],
)
def test_outputs_of_other_names_or_shapes_are_an_error(outputs):
    with pytest.raises(
        UserError, match='returns the names and shapes .* expected those'
    ):
        check.differences(outputs, OUTPUTS)


@pytest.mark.parametrize(
    'end, message',
    [
        ('os.abort()', 'its runtime crashed with SIGABRT'),
        ('raise RuntimeError(3)', 'RuntimeError: 3'),
    ],
)
def test_a_file_that_does_not_run_is_an_error(tmp_path, monkeypatch, end, message):
    (tmp_path / 'runtime.py').write_text(
        f'import os, sys; print("note", file=sys.stderr); {end}'
    )
    monkeypatch.setattr(exported, '__file__', str(tmp_path / 'runtime.py'))
    with pytest.raises(
        UserError, match=f'x.tflite was written, but does not run: .*{message}'
    ):
        check.answer(Path('x.tflite'), tmp_path / 'inputs.npz', tmp_path)


@pytest.mark.parametrize('file', ['savedmodel', 'model.stablehlo', 'float32.tflite'])
def test_files_in_full_precision_are_compared_by_their_outputs(file):
    check.verify(file, row(9e-6, 9e-4), reference(), 0.02)
    check.verify(file, row(9e-3), reference(dtype='bfloat16'), 0.02)
    for wrong in (row(1.1e-5), row(0.0, 2e-3), row(float('inf')), row(float('nan'))):
        with pytest.raises(UserError, match=f'{file} differs from the run by'):
            check.verify(file, wrong, reference(), 0.02)


@pytest.mark.parametrize(
    'best, good, bad',
    [
        ('eval/accuracy', {'eval/accuracy': 0.883}, {'eval/accuracy': 0.881}),
        ('-eval/loss', {'eval/loss': 0.305}, {'eval/loss': 0.307}),
        ('-eval/loss', {'eval/loss': 0.1}, {'eval/loss': float('nan')}),
    ],
)
def test_files_with_rounded_weights_are_compared_by_the_metric(best, good, bad):
    check.verify('int8.tflite', row(0.3, **good), reference(best), 0.02)
    with pytest.raises(
        UserError, match='int8.tflite: eval/.*: expected a loss of at most'
    ):
        check.verify('int8.tflite', row(0.3, **bad), reference(best), 0.02)


def test_files_with_rounded_weights_and_no_metric_are_compared_roughly():
    check.verify('int8.tflite', row(0.1), reference(), 0.02)
    with pytest.raises(UserError, match='int8.tflite differs .* no metric'):
        check.verify('int8.tflite', row(0.3), reference(), 0.02)
