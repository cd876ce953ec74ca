"""The largest entries are the same in every form, also where several are equal."""

import contextlib

import jax
import numpy as np
import pytest
from jax import lax

from jaxvision.models.blocks import forms, selection

FORMATS = {
    'run': contextlib.nullcontext,
    'savedmodel': forms.for_savedmodel,
    'tflite': forms.for_tflite,
}

# Multiples of 1/4, so that many are equal.
SCORES = np.random.default_rng(0).integers(0, 16, (3, 9, 4)).astype(np.float32) / 4


@pytest.mark.parametrize('format', FORMATS)
def test_the_largest_numbers_of_each_row_are_those_of_lax_top_k(format):
    rows = SCORES.reshape(3, -1)
    expected = lax.top_k(rows, 11)
    with FORMATS[format]():
        program = jax.jit(jax.vmap(lambda row: selection.best(row, 11)))
        computed = program(rows)
        text = program.lower(rows).as_text()
    jax.tree.map(np.testing.assert_array_equal, computed, tuple(expected))
    # TensorFlow cannot load this operation, and TFLite has no sort.
    assert ('top_k' in text) == (format == 'run')
    assert 'stablehlo.sort' not in text or format != 'tflite'


@pytest.mark.parametrize('format', FORMATS)
def test_the_best_pairs_are_the_largest_entries_of_the_matrix(format):
    number = 7
    with FORMATS[format]():
        program = jax.jit(lambda matrix: selection.best_pairs(matrix, number))
        values, rows, columns = program(SCORES[0])
    np.testing.assert_array_equal(values, np.sort(SCORES[0].reshape(-1))[::-1][:number])
    np.testing.assert_array_equal(SCORES[0][rows, columns], values)
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == number
