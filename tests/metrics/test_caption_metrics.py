import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.metrics import captions

# Results of the public COCO caption evaluation, from tests/bench/coco_captions_reference.py.
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
def test_every_metric_equals_the_coco_evaluation(name):
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
def test_tokens_equal_the_coco_evaluation(text):
    assert captions.tokenize(text) == STORED['tokens'][text].split()


@settings(max_examples=25, deadline=None)
@given(examples, st.randoms())
def test_the_order_of_examples_and_references_does_not_matter(examples, random):
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
    candidates = [example_references[-1] for example_references in references]
    assert captions.bleu(candidates, references) == pytest.approx([1] * 4, abs=1e-8)
    assert captions.rouge_l(candidates, references) == 1
    own_references = [[words] for words in candidates]
    _, each = captions.cider_d(candidates, own_references, captions.Documents(9, {}))
    np.testing.assert_allclose(each, 10)
    assert (captions.cider_d(candidates, references)[1] <= 10 + 1e-9).all()


def test_documents_of_another_dataset_define_the_rarity_of_words():
    documents = captions.Documents.of(
        [[['a', 'b'], ['a']], [['a']], [['c']], [['c', 'd']]]
    )
    assert (
        documents.number == 4
        and documents.frequency[('a',)] == 2
        and documents.frequency[('a', 'b')] == 1
    )
    mean, each = captions.cider_d([['a', 'z']], [[['a', 'b']]], documents)
    # Of all n-grams only the unigram a (log 2) is common. b and z have the weight log 4.
    cosine = np.log(2) ** 2 / (np.log(2) ** 2 + np.log(4) ** 2)
    assert mean == pytest.approx(10 * cosine / 4) and each.shape == (1,)


@pytest.mark.parametrize('measure', [captions.bleu, captions.rouge_l, captions.cider_d])
@pytest.mark.parametrize(
    'candidates, references, message',
    [
        (
            [['a']],
            [],
            r'len\(candidates\)=1: expected one candidate for each of the 0 examples',
        ),
        ([], [], r'candidates=\[\]: expected one or more'),
        ([['a'], ['b']], [[['a']], []], r'references\[1\]=\[\]: expected one or more'),
    ],
)
def test_missing_candidates_or_references_are_an_error(
    measure, candidates, references, message
):
    with pytest.raises(ValueError, match=message):
        measure(candidates, references)
