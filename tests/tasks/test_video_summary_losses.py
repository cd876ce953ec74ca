"""Losses of the video summary: rewards, sampled summaries and REINFORCE, against NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxvision.tasks.video_summary import losses


def diversity_by_hand(features, chosen, limit):
    """Equations 3 and 4, one pair at a time."""
    terms = []
    for i, j in itertools.permutations(chosen, 2):
        norms = np.linalg.norm(features[i]) * np.linalg.norm(features[j])
        term = 1 - features[i] @ features[j] / norms
        if abs(i - j) > limit:
            term = 1.0
        terms.append(term)
    return np.mean(terms) if terms else 0.0


def representativeness_by_hand(features, chosen):
    """Equation 5, one frame at a time."""
    if not len(chosen):
        return 0.0
    distances = []
    for frame in features:
        distances.append(min(((frame - features[j]) ** 2).sum() for j in chosen))
    return np.exp(-np.mean(distances))


@pytest.mark.parametrize('chosen', [[], [3], [3, 4], [0, 7, 30, 49], [*range(50)]])
@pytest.mark.parametrize('limit', [5, 20])
def test_rewards_equal_loops_and_ignore_padding(chosen, limit):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 6)).astype(np.float32) / 2
    padded = np.concatenate([features, rng.normal(size=(14, 6)).astype(np.float32)])
    actions = np.zeros(64, np.int32)
    actions[chosen] = 1
    # Padding is never chosen.
    actions[50:] = 1
    arguments = jnp.array(padded), jnp.array(actions), jnp.arange(64) < 50
    diversity = jax.jit(losses.diversity, static_argnames='limit')
    expected = diversity_by_hand(features, chosen, limit)
    assert diversity(*arguments, limit=limit) == pytest.approx(expected, abs=1e-5)
    representativeness = jax.jit(losses.representativeness)
    expected = representativeness_by_hand(features, chosen)
    assert representativeness(*arguments) == pytest.approx(expected, abs=1e-5)


def test_rewards_of_many_summaries_under_vmap():
    features = jax.random.normal(jax.random.key(0), (30, 4))
    actions = jax.random.bernoulli(jax.random.key(1), 0.3, (5, 30))
    mask = jnp.ones(30, bool)
    for reward in (losses.diversity, losses.representativeness):
        together = jax.jit(jax.vmap(reward, (None, 0, None)))(features, actions, mask)
        one = jax.jit(reward)
        one_by_one = [one(features, chosen, mask) for chosen in actions]
        np.testing.assert_allclose(together, np.array(one_by_one), rtol=1e-6)


def test_the_reward_of_an_empty_video_is_zero_in_float32():
    empty = jnp.ones((8, 3), jnp.bfloat16), jnp.ones(8, jnp.int32), jnp.zeros(8, bool)
    for reward in (losses.diversity, losses.representativeness):
        value = jax.jit(reward)(*empty)
        assert value == 0 and value.dtype == jnp.float32


def test_ranks_equal_scipy_and_ignore_padding():
    importance = np.random.default_rng(0).integers(0, 6, 20).astype(np.float32)
    mask = np.arange(20) < 15
    ranks = jax.jit(losses.ranks)(jnp.array(importance), jnp.array(mask))
    expected = (stats.rankdata(importance[:15]) - 0.5) / 15
    np.testing.assert_allclose(ranks[:15], expected, rtol=1e-6)


def in_order(values, order):
    """The probability of sampling these items in this order, in float64."""
    weights = np.exp(np.float64(values))
    probability = 1.0
    for position, item in enumerate(order):
        sampled = list(order[:position])
        probability *= weights[item] / (weights.sum() - weights[sampled].sum())
    return probability


def test_sampled_summaries_have_the_probability_of_the_plackett_luce_model():
    logits = jnp.array(np.random.default_rng(0).normal(size=24), jnp.float32)
    # A summary has two of 18 frames.
    mask = jnp.arange(24) < 18
    sample = jax.jit(jax.vmap(losses.sample_summary, (0, None, None)))
    sample_keys = jax.random.split(jax.random.key(0), 20_000)
    chosen, log_probability = sample(sample_keys, logits, mask)
    chosen = np.asarray(chosen)
    values = np.asarray(logits)[:18]
    assert (chosen.sum(1) == 2).all() and not chosen[:, 18:].any()
    pairs = np.argwhere(chosen)[:, 1].reshape(-1, 2)
    expected = np.zeros((18, 18))
    for order in itertools.permutations(range(18), 2):
        expected[tuple(sorted(order))] += in_order(values, order)
    frequency = np.zeros_like(expected)
    np.add.at(frequency, tuple(pairs.T), 1 / len(pairs))
    assert expected.sum() == pytest.approx(1)
    tolerance = 5 * np.sqrt(expected.max() / len(pairs))
    np.testing.assert_allclose(frequency, expected, atol=tolerance)
    # The returned probability is that of one of the two orders.
    either_order = []
    for pair in pairs[:200]:
        either_order.append([in_order(values, pair), in_order(values, pair[::-1])])
    probability = np.exp(np.asarray(log_probability))[:200, None]
    assert (np.abs(probability / either_order - 1) < 1e-4).any(1).all()


@pytest.mark.parametrize(
    'frames, length, number',
    [
        (1, 1, 1),
        (6, 1, 1),
        (20, 1, 3),
        (39, 1, 5),
        (40, 2, 3),
        (47, 2, 3),
        (60, 3, 3),
        (59, 2, 4),
    ],
)
def test_a_summary_is_a_few_whole_segments_with_the_highest_logits(
    frames, length, number
):
    logits = jax.random.normal(jax.random.key(1), (64,))
    mask = jnp.arange(64) < frames
    sample = jax.jit(jax.vmap(losses.sample_summary, (0, None, None)))
    edges = np.arange(0, frames, length)

    def starts(chosen):
        return edges[np.add.reduceat(np.asarray(chosen)[:frames], edges) > 0]

    # With logits that are far apart nothing is random.
    for seed, scale in ((2, 1.0), (3, 1e4)):
        sample_keys = jax.random.split(jax.random.key(seed), 8)
        chosen, _ = sample(sample_keys, scale * logits, mask)
        for summary in chosen:
            assert len(starts(summary)) == number
            assert summary[:frames].sum() <= max(0.15 * frames, 1)
            assert summary.sum() >= number * length - (frames % length > 0)
    means = [
        float(logits[start : min(start + length, frames)].mean()) for start in edges
    ]
    best = sorted(edges[np.argsort(means)[-number:]].tolist())
    assert starts(summary).tolist() == best


def test_reinforce_descends_the_mean_reward_over_all_summaries():
    rng = np.random.default_rng(0)
    features = jnp.array(rng.normal(size=(16, 3)), jnp.float32)
    mask = jnp.arange(16) < 14
    logits = jnp.array(rng.normal(size=16), jnp.float32)
    pairs = jnp.array([*itertools.permutations(range(14), 2)])
    chosen = jax.vmap(lambda pair: jnp.zeros(16, bool).at[pair].set(True))(pairs)
    rewards = jax.jit(jax.vmap(losses.reward, (None, 0, None)))(features, chosen, mask)

    def probability(logits):
        p = jax.nn.softmax(logits[:14])
        return p[pairs[:, 0]] * p[pairs[:, 1]] / (1 - p[pairs[:, 0]])

    def mean_reward(logits):
        return probability(logits) @ rewards

    mean = float(mean_reward(logits))
    std = float(probability(logits) @ (rewards - mean) ** 2) ** 0.5
    expected = jax.grad(mean_reward)(logits) / std

    def loss(logits):
        return losses.reinforce(jax.random.key(1), logits, features, mask, 20_000)

    differentiate = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (_, reward), gradient = differentiate(logits)
    assert float(reward) == pytest.approx(mean, rel=0.01)
    np.testing.assert_allclose(gradient, -expected, atol=0.1 * jnp.abs(expected).max())
    assert not gradient[14:].any()


def test_with_two_summaries_each_is_the_baseline_of_the_other():
    features = jax.random.normal(jax.random.key(0), (14, 3))
    logits = jnp.zeros(14)
    mask = jnp.ones(14, bool)
    key = jax.random.key(5)

    def sample(logits):
        sample_many = jax.vmap(losses.sample_summary, (0, None, None))
        chosen, log_probability = sample_many(jax.random.split(key, 2), logits, mask)
        return log_probability, chosen

    def loss(logits):
        return losses.reinforce(key, logits, features, mask, 2)[0]

    slopes, chosen = jax.jit(jax.jacobian(sample, has_aux=True))(logits)
    gradient = jax.jit(jax.grad(loss))(logits)
    rewards = [losses.reward(features, summary, mask) for summary in chosen]
    # Two rewards differ by twice their std, and the gradient is the mean of two.
    np.testing.assert_allclose(
        gradient,
        -np.sign(rewards[0] - rewards[1]) * (slopes[0] - slopes[1]),
        rtol=1e-3,
        atol=1e-5,
    )


def test_bounded_logits_keep_their_order():
    logits = jnp.linspace(-4, 4, 50)
    bounded = losses.bound_logits(logits)
    assert (jnp.diff(bounded) > 0).all() and jnp.abs(bounded).max() < 3
