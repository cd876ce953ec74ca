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
    """{sequence: log-probabilities [B]} of all sequences, computed word by word."""
    step, start = model

    @jax.jit
    def advance(state, last):
        state, logits, _ = step(state, last)
        return state, jax.nn.log_softmax(logits)

    log_probabilities = {}
    for sequence in itertools.product(range(WORDS), repeat=LENGTH):
        ended = sequence.index(0) if 0 in sequence else LENGTH
        if any(sequence[ended:]):
            continue
        state, last, total = start, np.full(BATCH, decoding.BEGIN), np.zeros(BATCH)
        for word in sequence[: ended + 1]:
            state, logarithms = advance(state, last)
            total = total + np.asarray(logarithms)[:, word]
            last = np.full(BATCH, word)
        log_probabilities[sequence] = total
    return log_probabilities


def test_probabilities_of_all_sequences_sum_to_one(every):
    np.testing.assert_allclose(np.exp(list(every.values())).sum(0), 1, rtol=1e-5)


def test_beam_search_equals_exhaustive_search(model, every):
    sequences, scores = list(every), np.array(list(every.values()))
    words, beam_scores = jax.jit(
        lambda start: decoding.beam(model[0], start, LENGTH, 216)
    )(model[1])
    for b in range(BATCH):
        order = np.argsort(-scores[:, b])[:50]
        np.testing.assert_allclose(
            beam_scores[b, :50], scores[order, b], rtol=1e-5, atol=1e-5
        )
        assert tuple(words[b, 0].tolist()) == sequences[order[0]]
        assert len({*map(tuple, words[b].tolist())}) == 216


def test_beam_scores_are_log_probabilities_and_one_beam_is_greedy(model, every):
    step, start = model
    for width in (1, 3):
        words, beam_scores = decoding.beam(step, start, LENGTH, width)
        for b, k in np.ndindex(BATCH, width):
            assert beam_scores[b, k] == pytest.approx(
                every[tuple(words[b, k].tolist())][b], abs=1e-5
            )
        assert (np.diff(beam_scores) <= 0).all()
        if width == 1:
            np.testing.assert_array_equal(
                words[:, 0], decoding.greedy(step, start, LENGTH)[0]
            )


def test_teacher_forcing_gives_each_sequence_its_probability(model, every):
    step, start = model
    for sequence in list(every)[::97]:
        words = jnp.tile(jnp.array(sequence), (BATCH, 1))
        logits, extra = decoding.forced(step, start, words)
        assert extra.shape == (BATCH, LENGTH, 2)
        total = decoding.log_probability(logits, words).sum(1)
        np.testing.assert_allclose(total, every[sequence], rtol=1e-5, atol=1e-5)


def test_frequencies_of_samples_equal_their_probabilities(model, every):
    step, start = model
    keys = jax.random.split(jax.random.key(0), 3000)

    def many(x):
        return jnp.broadcast_to(x[0], (3000, *x.shape[1:]))

    words, _ = decoding.sample(keys, step, many(start), LENGTH)
    samples = [tuple(row) for row in words.tolist()]
    for likely_sequence in sorted(every, key=lambda s: -every[s][0])[:5]:
        likely = np.exp(every[likely_sequence][0])
        assert (
            abs(samples.count(likely_sequence) / 3000 - likely)
            < 5 * np.sqrt(likely / 3000) + 1e-3
        )
    again, _ = decoding.sample(keys[::-1], step, many(start), LENGTH)
    # The sample of an example depends on its key alone.
    np.testing.assert_array_equal(again, words[::-1])


def test_within_includes_the_words_and_the_first_end():
    words = jnp.array([[3, 4, 0, 0], [0, 0, 0, 0], [5, 5, 5, 5]])
    assert decoding.within(words).tolist() == [
        [True] * 3 + [False],
        [True] + [False] * 3,
        [True] * 4,
    ]


def test_largest_is_descending_with_the_first_of_equal_values_first():
    values = jnp.array([[1.0, 5.0, 5.0, -2.0], [0.0, 0.0, 0.0, 0.0]])
    values, columns = decoding.largest(values, 3)
    assert values.T.tolist() == [[5.0, 5.0, 1.0], [0.0] * 3]
    assert columns.T.tolist() == [[1, 2, 0], [0, 1, 2]]
