import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxvision.losses import summary


def diversity_by_hand(features, chosen, limit):
    """Equations 3 and 4, a pair at a time."""
    found = []
    for i in chosen:
        for j in chosen:
            if i != j:
                x, y = features[i], features[j]
                cosine = x @ y / (np.linalg.norm(x) * np.linalg.norm(y))
                found.append(1.0 if abs(i - j) > limit else 1 - cosine)
    return np.mean(found) if found else 0.0


def representativeness_by_hand(features, chosen):
    """Equation 5, a frame at a time."""
    if not len(chosen):
        return 0.0
    return np.exp(-np.mean([min(((x - features[j]) ** 2).sum() for j in chosen)
                            for x in features]))


@pytest.mark.parametrize('chosen', [[], [3], [3, 4], [0, 7, 30, 49], [*range(50)]])
@pytest.mark.parametrize('limit', [5, 20])
def test_rewards_equal_loops_whatever_the_padding(chosen, limit):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 6)).astype(np.float32) / 2
    padded = np.concatenate([features, rng.normal(size=(14, 6)).astype(np.float32)])
    actions = np.zeros(64, np.int32)
    actions[chosen] = 1
    actions[50:] = 1  # of frames that are not there
    arguments = jnp.array(padded), jnp.array(actions), jnp.arange(64) < 50
    got = jax.jit(summary.diversity, static_argnames='limit')(*arguments, limit=limit)
    assert got == pytest.approx(diversity_by_hand(features, chosen, limit), abs=1e-5)
    got = jax.jit(summary.representativeness)(*arguments)
    assert got == pytest.approx(representativeness_by_hand(features, chosen), abs=1e-5)


def test_many_drawn_summaries_at_once():
    features = jax.random.normal(jax.random.key(0), (30, 4))
    actions = jax.random.bernoulli(jax.random.key(1), 0.3, (5, 30))
    mask = jnp.ones(30, bool)
    for reward in (summary.diversity, summary.representativeness):
        got = jax.vmap(reward, (None, 0, None))(features, actions, mask)
        one_by_one = [reward(features, each, mask) for each in actions]
        np.testing.assert_allclose(got, np.array(one_by_one), rtol=1e-6)


def test_an_empty_video_is_worth_nothing_and_half_precision_is_widened():
    empty = jnp.ones((8, 3), jnp.bfloat16), jnp.ones(8, jnp.int32), jnp.zeros(8, bool)
    for reward in (summary.diversity, summary.representativeness):
        assert reward(*empty) == 0 and reward(*empty).dtype == jnp.float32


def test_ranks_are_those_of_scipy_whatever_the_padding():
    importance = np.random.default_rng(0).integers(0, 6, 20).astype(np.float32)
    mask = np.arange(20) < 15
    got = jax.jit(summary.ranks)(jnp.array(importance), jnp.array(mask))
    np.testing.assert_allclose(got[:15], (stats.rankdata(importance[:15]) - 0.5) / 15, rtol=1e-6)


def test_reinforce_descends_the_mean_reward_over_all_summaries():
    rng = np.random.default_rng(0)
    features, mask = jnp.array(rng.normal(size=(5, 3)), jnp.float32), jnp.arange(5) < 4
    logits = jnp.array(rng.normal(size=5), jnp.float32)

    def mean_reward(logits):
        p = jax.nn.sigmoid(logits)
        total = 0
        for chosen in itertools.product([0, 1], repeat=4):
            chosen = jnp.array([*chosen, 1])
            likely = jnp.prod(jnp.where(chosen, p, 1 - p)[:4])
            total += likely * summary.reward(features, chosen, mask)
        return total

    wanted = jax.grad(mean_reward)(logits) / 4  # logarithms are averaged over the frames
    (_, reward), gradient = jax.value_and_grad(
        lambda logits: summary.reinforce(jax.random.key(1), logits, features, mask, 100_000),
        has_aux=True)(logits)
    assert float(reward) == pytest.approx(float(mean_reward(logits)), rel=0.01)
    np.testing.assert_allclose(gradient, -wanted, atol=0.03 * jnp.abs(wanted).max())
    assert gradient[4] == 0
