"""The comparison of a segmentation run with its exported files."""

import numpy as np
import pytest
from scipy import special

from jaxvision.cli.export import check
from jaxvision.tasks.segmentation import comparison


def outputs(logits):
    return {
        'probabilities': special.softmax(logits, axis=-1),
        'center': special.expit(logits[..., 0]),
    }


@pytest.mark.parametrize('size', [1, 5, 50])
def test_rounding_errors_of_logits_are_accepted_and_larger_ones_are_not(size):
    rng = np.random.default_rng(0)
    logits = rng.uniform(-size, size, (2, 9, 9, 4))
    reference = outputs(logits)
    noise = np.where(rng.integers(0, 2, logits.shape), 1, -1)
    small = comparison.compare(outputs(logits + 2e-6 * size * noise), reference)
    assert small.keys() == reference.keys()
    assert max(small.values()) < check.tolerance('float32')
    large = comparison.compare(outputs(logits + 2e-3 * noise), reference)
    assert large['probabilities'] > check.tolerance('float32')


def test_the_classes_of_an_accepted_file_differ_only_at_ties():
    reference = {'probabilities': np.array([[[[0.5 + 6e-5, 0.5 - 6e-5, 1e-30]]]])}
    other = {'probabilities': reference['probabilities'][..., [1, 0, 2]]}
    differences = comparison.compare(other, reference)
    assert differences['probabilities'] > check.tolerance('float32')


def test_equal_outputs_do_not_differ_and_nan_differs_infinitely():
    reference = outputs(np.zeros((1, 2, 2, 3)))
    assert set(comparison.compare(reference, reference).values()) == {0.0}
    damaged = {**reference, 'center': np.full((1, 2, 2), np.nan)}
    assert comparison.compare(damaged, reference)['center'] == float('inf')
