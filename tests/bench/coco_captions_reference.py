"""Figures of the public COCO caption evaluation, as references for tests/metrics.

To write tests/metrics/captions_reference.json anew, with a Python that has pycocoevalcap 1.2
(pip install --no-deps pycocoevalcap==1.2 numpy) and a Java on the path, for its tokenizer:

    python tests/bench/coco_captions_reference.py
"""

import json
from pathlib import Path

import numpy as np
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

STORED = Path(__file__).parents[1] / 'metrics' / 'captions_reference.json'

# A candidate and then its references.
CAPTIONS = [
    [
        'A man riding a wave on top of a surfboard.',
        'A surfer rides a large wave in the ocean.',
        'A man in a wetsuit is surfing on a wave.',
        'Man surfing on his surfboard; a big wave behind',
    ],
    [
        'A cat is sitting on a chair.',
        "A black-and-white cat sits on its owner's chair.",
        'The cat is sitting on a chair',
        "A cat that isn't asleep, on a chair!",
    ],
    [
        'a group of people standing around a kitchen',
        'Several people are cooking in a kitchen',
        'Four people (two of them children) stand around a kitchen counter.',
    ],
    ['a a a a a', 'A dog runs on a beach with a ball.', 'A dog with a ball at a beach'],
    ['', 'Two giraffes eat from a tall tree.', 'Giraffes eating leaves'],
    ['bus', 'A red double-decker bus drives down the street.', 'bus', 'The bus stops.'],
    [
        "It's 5:30 p.m. at St. Mary's church",
        "The church's clock shows 5:30 p.m.",
        "St. Mary's church, its clock tower & a bird",
    ],
]
TEXTS = [
    "Can't we? They're here; he'd say I'll come, won't you!",
    'It costs $5.50 or 20% of 1,000...',
    'cannot gonna wanna',
    "the dogs' bowls and the boss's cup",
    'a t-shirt -- a half-eaten hot-dog',
    'A "STOP" sign, \'left\' \u201cturn\u201d \u2018only\u2019 \u2014 here',
    'A [small] {red} (toy) car',
    'wow!! what?!',
    "a 4x4 truck on 3rd Ave. at 10 o'clock, 7-11",
    'U.S. flag, a t.v. and No. 5',
    'man/woman and/or me@x.com',
    "tv's, the 1960's car in the '90s",
    "'Tis y'all's rock 'n' roll",
    'caf\u00e9 na\u00efve children\u2019s',
    '...',
    'no. Yes.',
    '3:00pm at -5 degrees',
    'a   b\tc\nd',
]


def soups(words, examples, longest, most_references, seed):
    """Random captions of few words, so that many n-grams are shared; some are empty."""
    rng = np.random.default_rng(seed)

    def caption(shortest):
        return ' '.join(rng.choice(list(words), rng.integers(shortest, longest + 1)))

    return [
        [caption(0)] + [caption(1) for _ in range(rng.integers(1, most_references + 1))]
        for _ in range(examples)
    ]


def tokenized(texts):
    return [
        line
        for [line] in PTBTokenizer()
        .tokenize({i: [{'caption': text}] for i, text in enumerate(texts)})
        .values()
    ]


def figures(examples):
    references = {i: example[1:] for i, example in enumerate(examples)}
    candidates = {i: example[:1] for i, example in enumerate(examples)}
    cider, each = Cider().compute_score(references, candidates)
    return {
        'examples': examples,
        'bleu': Bleu().compute_score(references, candidates, 0)[0],
        'rouge_l': float(Rouge().compute_score(references, candidates)[0]),
        'cider_d': float(cider),
        'each': [float(value) for value in each],
    }


def main():
    texts = TEXTS + [text for example in CAPTIONS for text in example]
    sets = {
        'captions': [tokenized(example) for example in CAPTIONS],
        'few_words': soups('abcde', 20, 12, 5, seed=0),
        'many_words': soups('abcdefghijklmnopqrst', 20, 25, 3, seed=1),
        'short': soups('abc', 12, 3, 4, seed=2),
        'single_words': [['a', 'b', 'a c'], ['b', 'b'], ['c', 'a b', 'c']],
        'nothing_said': [['', 'a b', ''], ['', 'a b c d e']],
        'alone': [['a b c d e', 'a b c d']],
    }
    stored = {
        'tokens': dict(zip(texts, tokenized(texts), strict=True)),
        'sets': {name: figures(examples) for name, examples in sets.items()},
    }
    STORED.write_text(json.dumps(stored, indent=0) + '\n')


if __name__ == '__main__':
    main()
