import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestCentroid

from jaxvision.losses import few_shot

WAYS, SHOTS = 4, 3


@pytest.fixture(scope='module')
def episode():
    """Features of an episode, whose last class has only two examples."""
    rng = np.random.default_rng(0)
    support, query = rng.normal(size=(WAYS, SHOTS, 5)) * 0.7, rng.normal(size=(50, 5))
    mask = np.ones((WAYS, SHOTS))
    mask[-1, -1] = 0
    return [jnp.asarray(x, jnp.float32) for x in (query, support, mask)]


def test_prototypes_equal_scikit_learns_nearest_centroids(episode):
    query, support, mask = episode
    valid = np.asarray(mask, bool)
    reference = NearestCentroid().fit(
        np.asarray(support)[valid], np.repeat(np.arange(WAYS), SHOTS)[valid.ravel()]
    )
    centres = few_shot.prototypes(support, mask)
    np.testing.assert_allclose(centres, reference.centroids_, rtol=1e-5)
    logits = few_shot.distance_logits(query, centres)
    np.testing.assert_array_equal(
        logits.argmax(-1), reference.predict(np.asarray(query))
    )
    distances = ((np.asarray(query)[:, None] - reference.centroids_) ** 2).sum(-1)
    np.testing.assert_allclose(
        jax.nn.softmax(logits), jax.nn.softmax(-distances), atol=1e-5
    )


def test_attention_equals_the_class_sums_of_a_softmax_over_cosines(episode):
    query, support, mask = episode
    weights = np.exp(10 * cosine_similarity(query, np.asarray(support).reshape(-1, 5)))
    weights = weights.reshape(-1, WAYS, SHOTS) * np.asarray(mask)
    expected = weights.sum(2) / weights.sum((1, 2))[:, None]
    logits = few_shot.attention_logits(query, support, mask, 10.0)
    np.testing.assert_allclose(jnp.exp(logits), expected, atol=1e-5)


def test_cosines_equal_scikit_learn_and_have_a_finite_gradient_at_zero(episode):
    query, support, _ = episode
    logits = few_shot.cosine_logits(query, support[:, 0], 3.0)
    np.testing.assert_allclose(
        logits, 3 * cosine_similarity(query, support[:, 0]), atol=1e-5
    )
    gradient = jax.grad(lambda x: few_shot.cosine_logits(x, support[:, 0], 3.0).sum())(
        query * 0
    )
    assert np.isfinite(gradient).all()
