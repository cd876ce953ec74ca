import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import distance

from jaxvision.tasks.video_summary import similarity

similar = jax.jit(similarity.similarity)


def filled(frames, seed=0):
    """40 frames of 6 features, of which the last are not the video's own."""
    features = np.random.default_rng(seed).normal(size=(40, 6)).astype(np.float32)
    return features * (np.arange(40) < frames)[:, None], np.arange(40) < frames


def test_twenty_frames_are_seen_as_scipy_measures_them():
    features, own = filled(20)
    x = features[:20].astype(np.float64)
    variance = x.var(0).sum()
    apart = distance.cdist(x, x, 'sqeuclidean') / variance / 2
    wanted = [
        apart,
        np.stack(
            [
                (np.arange(20) + 0.5) / 20,
                distance.cdist(x, [x.mean(0)], 'sqeuclidean')[:, 0] / variance,
                apart.mean(1),
                np.append(0, np.sqrt(2 * np.diag(apart, 1))),
            ],
            1,
        ),
    ]
    got = np.asarray(similar(features, own))
    assert got.shape == (40, similarity.WIDTH) and not got[20:].any()
    np.testing.assert_allclose(got[:20], np.concatenate(wanted, 1), atol=1e-5)


@pytest.mark.parametrize('frames', [1, 2, 7, 20, 33, 40])
def test_a_part_is_a_mean_of_frames_that_there_are(frames):
    features, own = filled(frames)
    noise = np.where(own[:, None], features, 99).astype(np.float32)
    got = np.asarray(similar(features, own))
    np.testing.assert_array_equal(got, similar(noise, own))
    x = features[:frames].astype(np.float64)
    apart = distance.cdist(x, x, 'sqeuclidean') / max(x.var(0).sum(), 1e-6) / 2
    middles = np.clip((np.arange(20) + 0.5) / 20 * frames - 0.5, 0, frames - 1)
    if frames <= 20:  # read between two frames
        wanted = [np.interp(middles, np.arange(frames), row) for row in apart]
        np.testing.assert_allclose(got[:frames, :20], wanted, atol=1e-4)
    assert (got[:frames, :20] <= apart.max(1, keepdims=True) + 1e-4).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.floats(0.1, 10), st.integers(0, 99))
def test_neither_where_in_the_space_of_features_nor_how_large_matters(
    frames, scale, seed
):
    features, own = filled(frames, seed)
    turned = np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))[0]
    moved = jnp.asarray((scale * features @ turned + 1) * own[:, None], jnp.float32)
    np.testing.assert_allclose(similar(features, own), similar(moved, own), atol=5e-3)
