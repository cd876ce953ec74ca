"""A run's `predict`, written as every float format and read again."""

import jax
import numpy as np

from helpers.random_weights import random_leaves
from jaxvision.cli.export import exported, formats


def assert_exported_alike(run, inputs, folder, atol=255e-5, output='image'):
    """SavedModel and TFLite answer as the run itself does, with weights that are all random."""
    variables = {
        **run.shapes.variables,
        'params': random_leaves(run.shapes.variables['params']),
        'model_state': random_leaves(run.shapes.variables['model_state']),
    }
    wanted = jax.jit(run.task.predict)(variables, inputs)[output]
    assert np.std(wanted) > 100 * atol
    formats.savedmodel(run.task.predict, variables, run.spec, {}, folder / 'savedmodel')
    formats.tflite(
        run.task.predict,
        variables,
        run.spec,
        {},
        folder / 'float32.tflite',
        kind='float32',
        examples={},
    )
    # TensorFlow compiles a program for each size of a batch. test_formats.py has several sizes.
    answer = exported.open_exported(folder / 'savedmodel')(inputs)
    np.testing.assert_allclose(answer[output], wanted, atol=atol)
    lite = exported.open_exported(folder / 'float32.tflite')
    answer = exported.answer_all(lite, inputs)
    np.testing.assert_allclose(answer[output], wanted, atol=atol)
