"""Decoding against exhaustive search, on random recurrent models."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.models.sequence import decoding

WORDS, LENGTH, BATCH = 6, 4, 3


@pytest.fixture(scope='module', params=range(3))
def model(request):
    """A random recurrent network, sharp enough that its sequences differ."""
    rng = np.random.default_rng(request.param)
    recurrent, embedded, out = (
        jnp.asarray(rng.normal(size=shape))
        for shape in ((8, 8), (WORDS, 8), (8, WORDS))
    )

    def step(state, word):
        state = jnp.tanh(state @ recurrent + embedded[word])
        return state, 2 * state @ out, state[:, :2]

    return step, jnp.asarray(rng.normal(size=(BATCH, 8)))


@pytest.fixture(scope='module')
def every(model):
    """{sequence: log probabilities [B]} of all there are, each word from the last by hand."""
    step, start = model
    found = {}
    for said in itertools.product(range(WORDS), repeat=LENGTH):
        ended = said.index(0) if 0 in said else LENGTH
        if any(said[ended:]):
            continue
        state, last, total = start, np.full(BATCH, decoding.BEGIN), np.zeros(BATCH)
        for word in said[: ended + 1]:
            state, logits, _ = step(state, jnp.asarray(last))
            total = total + np.asarray(jax.nn.log_softmax(logits))[:, word]
            last = np.full(BATCH, word)
        found[said] = total
    return found


def test_probabilities_of_all_sequences_sum_to_one(every):
    np.testing.assert_allclose(np.exp(list(every.values())).sum(0), 1, rtol=1e-5)


def test_beam_search_equals_exhaustive_search(model, every):
    sequences, scores = list(every), np.array(list(every.values()))
    words, found = jax.jit(lambda start: decoding.beam(model[0], start, LENGTH, 216))(
        model[1]
    )
    for b in range(BATCH):
        order = np.argsort(-scores[:, b])[:50]
        np.testing.assert_allclose(
            found[b, :50], scores[order, b], rtol=1e-5, atol=1e-5
        )
        assert tuple(words[b, 0].tolist()) == sequences[order[0]]
        assert len({*map(tuple, words[b].tolist())}) == 216


def test_narrow_beams_score_what_they_say_and_of_width_one_are_greedy(model, every):
    step, start = model
    for width in (1, 3):
        words, found = decoding.beam(step, start, LENGTH, width)
        for b, k in np.ndindex(BATCH, width):
            assert found[b, k] == pytest.approx(
                every[tuple(words[b, k].tolist())][b], abs=1e-5
            )
        assert (np.diff(found) <= 0).all()
        if width == 1:
            np.testing.assert_array_equal(
                words[:, 0], decoding.greedy(step, start, LENGTH)[0]
            )


def test_teacher_forcing_gives_each_sequence_its_probability(model, every):
    step, start = model
    for said in list(every)[::97]:
        words = jnp.tile(jnp.array(said), (BATCH, 1))
        logits, extra = decoding.forced(step, start, words)
        assert extra.shape == (BATCH, LENGTH, 2)
        found = decoding.log_probability(logits, words).sum(1)
        np.testing.assert_allclose(found, every[said], rtol=1e-5, atol=1e-5)


def test_samples_come_as_often_as_they_are_likely(model, every):
    step, start = model
    keys = jax.random.split(jax.random.key(0), 3000)

    def many(x):
        return jnp.broadcast_to(x[0], (3000, *x.shape[1:]))

    words, _ = decoding.sample(keys, step, many(start), LENGTH)
    said = [tuple(row) for row in words.tolist()]
    for sequence in sorted(every, key=lambda s: -every[s][0])[:5]:
        likely = np.exp(every[sequence][0])
        assert (
            abs(said.count(sequence) / 3000 - likely)
            < 5 * np.sqrt(likely / 3000) + 1e-3
        )
    again, _ = decoding.sample(keys[::-1], step, many(start), LENGTH)
    np.testing.assert_array_equal(again, words[::-1])  # an example's draw is its key's


def test_what_belongs_to_a_sequence():
    words = jnp.array([[3, 4, 0, 0], [0, 0, 0, 0], [5, 5, 5, 5]])
    assert decoding.within(words).tolist() == [
        [True] * 3 + [False],
        [True] + [False] * 3,
        [True] * 4,
    ]


def test_the_largest_values_first_of_equals_the_first():
    values = jnp.array([[1.0, 5.0, 5.0, -2.0], [0.0, 0.0, 0.0, 0.0]])
    found, places = decoding.largest(values, 3)
    assert found.T.tolist() == [[5.0, 5.0, 1.0], [0.0] * 3]
    assert places.T.tolist() == [[1, 2, 0], [0, 1, 2]]
