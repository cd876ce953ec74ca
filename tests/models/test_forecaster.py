import jax
import numpy as np
import pytest
from scipy import ndimage

from jaxvision.core.errors import UserError
from jaxvision.models.sequence import forecaster


def test_moving_a_frame_equals_a_correlation():
    rng = np.random.default_rng(0)
    frame = rng.random((2, 8, 12, 3)).astype(np.float32)
    logits = np.tile(rng.normal(size=(2, 1, 1, 5)), (1, 2, 3, 1)).astype(np.float32)
    moved = jax.jit(forecaster._moved_down)(frame, logits)
    for image, kernel, answer in zip(
        frame, jax.nn.softmax(logits[:, 0, 0]), moved, strict=True
    ):
        expected = ndimage.correlate1d(image, kernel, axis=0, mode='constant')
        np.testing.assert_allclose(answer, expected, atol=1e-6)


def test_each_patch_moves_by_its_weights():
    frame = np.arange(8 * 8, dtype=np.float32).reshape(1, 8, 8, 1)
    logits = np.zeros((1, 2, 2, 5), np.float32)
    logits[0, 0, 0, 4] = logits[0, 0, 1, 2] = logits[0, 1, 0, 0] = logits[
        0, 1, 1, 1
    ] = 100
    moved = np.asarray(jax.jit(forecaster._moved_down)(frame, logits))[0, ..., 0]
    frame = frame[0, ..., 0]
    np.testing.assert_allclose(moved[:4, :4], frame[2:6, :4])
    np.testing.assert_allclose(moved[:4, 4:], frame[:4, 4:])
    np.testing.assert_allclose(moved[4:, :4], frame[2:6, :4])
    np.testing.assert_allclose(moved[4:, 4:], frame[3:7, 4:])


def test_a_number_of_layers_is_refused():
    with pytest.raises(UserError, match="variant='8x2': expected .* without an 'x'"):
        forecaster.make('8x2', frames=2, image_shape=(8, 8, 1))
