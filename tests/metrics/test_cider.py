import jax
import numpy as np
import pytest

from jaxvision.metrics import captions, cider


def padded(sets, most, length):
    """Lists of lists of word ids as an array [N, R, L]."""
    array = np.zeros((len(sets), most, length), np.int32)
    for row, texts in enumerate(sets):
        for place, words in enumerate(texts):
            array[row, place, : len(words)] = words
    return array


def texts(sets):
    return [[[str(word) for word in words] for words in texts] for texts in sets]


def random_captions(rng, examples, most, longest, largest):
    """Captions of few distinct words, so that long n-grams repeat within and between them."""

    def caption():
        words = rng.choice(
            [3, 4, 5, largest - 1, largest], rng.integers(1, longest + 1)
        )
        return words.tolist()

    return [
        [caption() for _ in range(rng.integers(1, most + 1))] for _ in range(examples)
    ]


def random_problem(seed, largest=50_000, longest=12):
    """Arrays (training references, candidates, references), and the expected values.

    The training references are the same for every seed.
    """
    training = random_captions(np.random.default_rng(9), 15, 4, longest, largest)
    rng = np.random.default_rng(seed)
    references = random_captions(rng, 10, 4, longest, largest)
    candidates = [texts[0] for texts in random_captions(rng, 10, 1, longest, largest)]
    # No words, a reference, and a word that is in no reference.
    candidates[:3] = [[], references[1][0], [largest + 7]]
    expected = captions.cider_d(
        [texts([[words]])[0][0] for words in candidates],
        texts(references),
        captions.Documents.of(texts(training)),
    )[1]
    arrays = (
        padded(training, 4, longest),
        padded([[c] for c in candidates], 1, longest)[:, 0],
        padded(references, 4, longest),
    )
    return arrays, expected


reward = jax.jit(jax.vmap(cider.cider_d, (None, 0, 0)))


@pytest.mark.parametrize('dtype, tolerance', [(np.float32, 1e-5), (np.float64, 1e-10)])
@pytest.mark.parametrize('seed', range(3))
def test_the_device_computes_the_same_as_the_host(dtype, tolerance, seed):
    (training, *arrays), expected = random_problem(seed)
    with jax.enable_x64(dtype == np.float64):
        got = np.asarray(reward(cider.statistics(training, dtype), *arrays))
    assert got.dtype == dtype and got[0] == 0 and (expected > 0).sum() > 5
    np.testing.assert_allclose(got, expected, atol=tolerance)


def test_padding_does_not_change_the_result():
    (training, candidates, references), expected = random_problem(7)
    longer = np.pad(candidates, ((0, 0), (0, 9)))
    more = np.pad(references, ((0, 0), (0, 3), (0, 9)))
    known = cider.statistics(np.pad(training, ((0, 0), (0, 3), (0, 9))))
    for padded_references in (more, more[:, ::-1]):
        np.testing.assert_allclose(
            reward(known, longer, padded_references), expected, atol=1e-5
        )
    assert (reward(known, longer, 0 * more) == 0).all()


def test_captions_shorter_than_the_longest_n_gram():
    (training, *arrays), expected = random_problem(3, longest=3)
    np.testing.assert_allclose(
        reward(cider.statistics(training), *arrays), expected, atol=1e-5
    )


def test_frequencies_count_examples_not_references():
    known = cider.statistics(
        np.array(
            [[[3, 4, 0], [3, 0, 0]], [[4, 3, 0], [4, 3, 3]], [[9, 0, 0], [0, 0, 0]]],
            np.int32,
        )
    )
    # The last rarity is for n-grams that no reference has.
    rows = zip(
        known.parent.tolist(), known.word.tolist(), known.rarity.tolist(), strict=False
    )
    log = np.log(3)
    expected = [
        (-1, 3, log - np.log(2)),
        (-1, 4, log - np.log(2)),
        (-1, 9, log),
        (0, 3, log),
        (0, 4, log),
        (1, 3, log),
        (5, 3, log),
    ]
    assert [row[:2] for row in expected] == [row[:2] for row in rows]
    np.testing.assert_allclose(
        known.rarity, [row[2] for row in expected] + [log], rtol=1e-6
    )
    assert known.parent.dtype == known.word.dtype == np.int32
