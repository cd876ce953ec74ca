import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxvision.tasks.video_summary import losses


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
    return np.exp(
        -np.mean(
            [min(((x - features[j]) ** 2).sum() for j in chosen) for x in features]
        )
    )


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
    got = jax.jit(losses.diversity, static_argnames='limit')(*arguments, limit=limit)
    assert got == pytest.approx(diversity_by_hand(features, chosen, limit), abs=1e-5)
    got = jax.jit(losses.representativeness)(*arguments)
    assert got == pytest.approx(representativeness_by_hand(features, chosen), abs=1e-5)


def test_many_drawn_summaries_at_once():
    features = jax.random.normal(jax.random.key(0), (30, 4))
    actions = jax.random.bernoulli(jax.random.key(1), 0.3, (5, 30))
    mask = jnp.ones(30, bool)
    for reward in (losses.diversity, losses.representativeness):
        got = jax.vmap(reward, (None, 0, None))(features, actions, mask)
        one_by_one = [reward(features, each, mask) for each in actions]
        np.testing.assert_allclose(got, np.array(one_by_one), rtol=1e-6)


def test_an_empty_video_is_worth_nothing_and_half_precision_is_widened():
    empty = jnp.ones((8, 3), jnp.bfloat16), jnp.ones(8, jnp.int32), jnp.zeros(8, bool)
    for reward in (losses.diversity, losses.representativeness):
        assert reward(*empty) == 0 and reward(*empty).dtype == jnp.float32


def test_ranks_are_those_of_scipy_whatever_the_padding():
    importance = np.random.default_rng(0).integers(0, 6, 20).astype(np.float32)
    mask = np.arange(20) < 15
    got = jax.jit(losses.ranks)(jnp.array(importance), jnp.array(mask))
    np.testing.assert_allclose(
        got[:15], (stats.rankdata(importance[:15]) - 0.5) / 15, rtol=1e-6
    )


def in_order(values, order):
    """The probability of drawing these one after another, in float64."""
    weights, found = np.exp(np.float64(values)), 1.0
    for taken, item in enumerate(order):
        found *= weights[item] / (weights.sum() - weights[list(order[:taken])].sum())
    return found


def test_a_summary_is_drawn_as_often_as_its_orders_are_likely():
    logits = jnp.array(np.random.default_rng(0).normal(size=24), jnp.float32)
    own = jnp.arange(24) < 18  # of which two are kept
    chosen, likely = jax.jit(jax.vmap(losses.sample_summary, (0, None, None)))(
        jax.random.split(jax.random.key(0), 20_000), logits, own
    )
    chosen, values = np.asarray(chosen), np.asarray(logits)[:18]
    assert (chosen.sum(1) == 2).all() and not chosen[:, 18:].any()
    pairs = np.argwhere(chosen)[:, 1].reshape(-1, 2)
    wanted = np.zeros((18, 18))
    for order in itertools.permutations(range(18), 2):
        wanted[tuple(sorted(order))] += in_order(values, order)
    seen = np.zeros_like(wanted)
    np.add.at(seen, tuple(pairs.T), 1 / len(pairs))
    assert wanted.sum() == pytest.approx(1)
    np.testing.assert_allclose(
        seen, wanted, atol=5 * np.sqrt(wanted.max() / len(pairs))
    )
    either = [
        [in_order(values, order) for order in (pair, pair[::-1])]
        for pair in pairs[:200]
    ]
    known = np.exp(np.asarray(likely))[:200, None]
    assert (np.abs(known / either - 1) < 1e-4).any(1).all()


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
def test_a_summary_is_a_few_whole_stretches_of_the_highest_logits(
    frames, length, number
):
    logits = jax.random.normal(jax.random.key(1), (64,))
    own = jnp.arange(64) < frames
    draw = jax.jit(jax.vmap(losses.sample_summary, (0, None, None)))
    edges = np.arange(0, frames, length)

    def starts(chosen):
        return edges[np.add.reduceat(np.asarray(chosen)[:frames], edges) > 0]

    for seed, scale in (
        (2, 1.0),
        (3, 1e4),
    ):  # where the logits are far apart nothing is random
        chosen, _ = draw(jax.random.split(jax.random.key(seed), 8), scale * logits, own)
        for each in chosen:
            assert len(starts(each)) == number and each[:frames].sum() <= max(
                0.15 * frames, 1
            )
            assert each.sum() >= number * length - (frames % length > 0)
    means = [
        float(logits[start : min(start + length, frames)].mean()) for start in edges
    ]
    assert starts(each).tolist() == sorted(edges[np.argsort(means)[-number:]].tolist())


def test_reinforce_descends_the_mean_reward_over_all_summaries():
    rng = np.random.default_rng(0)
    features, mask = (
        jnp.array(rng.normal(size=(16, 3)), jnp.float32),
        jnp.arange(16) < 14,
    )
    logits = jnp.array(rng.normal(size=16), jnp.float32)
    every = jnp.array([*itertools.permutations(range(14), 2)])
    chosen = jax.vmap(lambda pair: jnp.zeros(16, bool).at[pair].set(True))(every)
    rewards = jax.vmap(losses.reward, (None, 0, None))(features, chosen, mask)

    def likely(logits):
        p = jax.nn.softmax(logits[:14])
        return p[every[:, 0]] * p[every[:, 1]] / (1 - p[every[:, 0]])

    mean = float(likely(logits) @ rewards)
    deviation = float(likely(logits) @ (rewards - mean) ** 2) ** 0.5
    wanted = jax.grad(lambda logits: likely(logits) @ rewards)(logits) / deviation
    (_, reward), gradient = jax.jit(
        jax.value_and_grad(
            lambda logits: losses.reinforce(
                jax.random.key(1), logits, features, mask, 20_000
            ),
            has_aux=True,
        )
    )(logits)
    assert float(reward) == pytest.approx(mean, rel=0.01)
    np.testing.assert_allclose(gradient, -wanted, atol=0.1 * jnp.abs(wanted).max())
    assert not gradient[14:].any()


def test_of_two_summaries_each_is_the_others_baseline():
    features = jax.random.normal(jax.random.key(0), (14, 3))
    logits, own, key = jnp.zeros(14), jnp.ones(14, bool), jax.random.key(5)

    @jax.jit
    def found(logits):
        draws = jax.vmap(losses.sample_summary, (0, None, None))
        chosen, _ = draws(jax.random.split(key, 2), logits, own)
        slopes = jax.jacobian(lambda x: draws(jax.random.split(key, 2), x, own)[1])(
            logits
        )
        return (
            chosen,
            slopes,
            jax.grad(lambda x: losses.reinforce(key, x, features, own, 2)[0])(logits),
        )

    chosen, slopes, gradient = found(logits)
    rewards = [losses.reward(features, each, own) for each in chosen]
    # They are apart by twice their standard deviation, and the gradient is the mean of two.
    np.testing.assert_allclose(
        gradient,
        -np.sign(rewards[0] - rewards[1]) * (slopes[0] - slopes[1]),
        rtol=1e-3,
        atol=1e-5,
    )


def test_bounded_logits_keep_their_order():
    logits = jnp.linspace(-4, 4, 50)
    found = losses.bounded(logits)
    assert (jnp.diff(found) > 0).all() and jnp.abs(found).max() < 3
