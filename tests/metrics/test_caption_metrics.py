import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.metrics import captions

# Of the public COCO caption evaluation; tests/bench/coco_captions_reference.py made them.
STORED = json.loads((Path(__file__).parent / 'captions_reference.json').read_text())

words = st.lists(st.sampled_from('abcde'), max_size=9)
example = st.tuples(words, st.lists(words, min_size=1, max_size=4))
examples = st.lists(example, min_size=2, max_size=5)


def split(examples):
    return (
        [example[0].split() for example in examples],
        [[reference.split() for reference in example[1:]] for example in examples],
    )


@pytest.mark.parametrize('name', STORED['sets'])
def test_every_figure_is_the_coco_evaluations(name):
    stored = STORED['sets'][name]
    candidates, references = split(stored['examples'])
    assert captions.bleu(candidates, references) == pytest.approx(
        stored['bleu'], abs=1e-9
    )
    assert captions.rouge_l(candidates, references) == pytest.approx(
        stored['rouge_l'], abs=1e-9
    )
    mean, each = captions.cider_d(candidates, references)
    np.testing.assert_allclose(each, stored['each'], atol=1e-9)
    assert mean == pytest.approx(stored['cider_d'], abs=1e-9)
    assert captions.summarize(candidates, references) == {
        **{
            f'bleu_{n}': figure
            for n, figure in enumerate(captions.bleu(candidates, references), 1)
        },
        'rouge_l': captions.rouge_l(candidates, references),
        'cider_d': mean,
    }


@pytest.mark.parametrize('text', STORED['tokens'])
def test_words_are_the_coco_evaluations(text):
    assert captions.tokenize(text) == STORED['tokens'][text].split()


@settings(max_examples=25, deadline=None)
@given(examples, st.randoms())
def test_an_order_changes_nothing(examples, random):
    before = captions.summarize(*zip(*examples, strict=True))
    for _, references in examples:
        random.shuffle(references)
    random.shuffle(examples)
    assert captions.summarize(*zip(*examples, strict=True)) == pytest.approx(
        before, abs=1e-12
    )


@settings(max_examples=25, deadline=None)
@given(examples)
def test_a_reference_itself_is_the_best_candidate(examples):
    references = [[*others, [*candidate, *'abcd']] for candidate, others in examples]
    said = [theirs[-1] for theirs in references]
    assert captions.bleu(said, references) == pytest.approx([1] * 4, abs=1e-8)
    assert captions.rouge_l(said, references) == 1
    alone = [[words] for words in said]
    _, each = captions.cider_d(said, alone, captions.Documents(9, {}))
    np.testing.assert_allclose(each, 10)
    assert (captions.cider_d(said, references)[1] <= 10 + 1e-9).all()


def test_documents_of_another_set_weigh_words_by_their_rarity_there():
    seen = captions.Documents.of([[['a', 'b'], ['a']], [['a']], [['c']], [['c', 'd']]])
    assert (
        seen.number == 4
        and seen.frequency[('a',)] == 2
        and seen.frequency[('a', 'b')] == 1
    )
    mean, each = captions.cider_d([['a', 'z']], [[['a', 'b']]], seen)
    # Of the unigrams a (log 2) is common to both, b and z (log 4) are not; no pair is.
    cosine = np.log(2) ** 2 / (np.log(2) ** 2 + np.log(4) ** 2)
    assert mean == pytest.approx(10 * cosine / 4) and each.shape == (1,)


@pytest.mark.parametrize('measure', [captions.bleu, captions.rouge_l, captions.cider_d])
@pytest.mark.parametrize(
    'candidates, references, message',
    [
        ([['a']], [], '1 candidates for 0 examples'),
        ([], [], '0 candidates'),
        ([['a'], ['b']], [[['a']], []], 'every example needs a reference'),
    ],
)
def test_what_cannot_be_compared(measure, candidates, references, message):
    with pytest.raises(ValueError, match=message):
        measure(candidates, references)
