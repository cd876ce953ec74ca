"""Self-similarity of a video, compared with SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import distance

from jaxvision.tasks.video_summary import similarity

similar = jax.jit(similarity.similarity)


def padded_features(frames, seed=0):
    """(Features of `frames` frames, padded to 40, their mask)."""
    features = np.random.default_rng(seed).normal(size=(40, 6)).astype(np.float32)
    return features * (np.arange(40) < frames)[:, None], np.arange(40) < frames


def test_the_values_of_twenty_frames_equal_scipy():
    features, mask = padded_features(20)
    x = features[:20].astype(np.float64)
    variance = x.var(0).sum()
    distances = distance.cdist(x, x, 'sqeuclidean') / variance / 2
    expected = [
        distances,
        np.stack(
            [
                (np.arange(20) + 0.5) / 20,
                distance.cdist(x, [x.mean(0)], 'sqeuclidean')[:, 0] / variance,
                distances.mean(1),
                np.append(0, np.sqrt(2 * np.diag(distances, 1))),
            ],
            1,
        ),
    ]
    values = np.asarray(similar(features, mask))
    assert values.shape == (40, similarity.WIDTH) and not values[20:].any()
    np.testing.assert_allclose(values[:20], np.concatenate(expected, 1), atol=1e-5)


@pytest.mark.parametrize('frames', [1, 2, 7, 20, 33, 40])
def test_parts_are_means_of_frames_without_padding(frames):
    features, mask = padded_features(frames)
    noise = np.where(mask[:, None], features, 99).astype(np.float32)
    values = np.asarray(similar(features, mask))
    np.testing.assert_array_equal(values, similar(noise, mask))
    x = features[:frames].astype(np.float64)
    distances = distance.cdist(x, x, 'sqeuclidean') / max(x.var(0).sum(), 1e-6) / 2
    middles = np.clip((np.arange(20) + 0.5) / 20 * frames - 0.5, 0, frames - 1)
    # With few frames a part is interpolated between two frames.
    if frames <= 20:
        expected = [np.interp(middles, np.arange(frames), row) for row in distances]
        np.testing.assert_allclose(values[:frames, :20], expected, atol=1e-4)
    assert (values[:frames, :20] <= distances.max(1, keepdims=True) + 1e-4).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.floats(0.1, 10), st.integers(0, 99))
def test_the_values_do_not_depend_on_rotation_shift_and_scale_of_the_features(
    frames, scale, seed
):
    features, mask = padded_features(frames, seed)
    turned = np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))[0]
    moved = jnp.asarray((scale * features @ turned + 1) * mask[:, None], jnp.float32)
    np.testing.assert_allclose(similar(features, mask), similar(moved, mask), atol=5e-3)
