"""How close captions are to people's own: BLEU, ROUGE-L and CIDEr-D as the COCO evaluation counts.

All run on the host, over whole sets of tokenized captions: of each example one candidate, a list
of words, and its references, one list of words or more.
"""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

Words = Sequence[str]
References = Sequence[Words]
Ngram = tuple[str, ...]

LONGEST = 4  # n-grams of 1 to 4 words
SIGMA = 6.0  # of CIDEr-D's penalty for a candidate's length, in words
_BETA = 1.2  # the weight of recall in ROUGE-L

_PLAIN = str.maketrans(
    {
        '’': "'",
        '‘': "'",
        '“': '"',
        '”': '"',
        '–': '--',
        '—': '--',
        '…': '...',
        '(': ' -lrb- ',
        ')': ' -rrb- ',
        '[': ' -lsb- ',
        ']': ' -rsb- ',
        '{': ' -lcb- ',
        '}': ' -rcb- ',
    }
)
_IN_TWO = {
    word.replace(' ', ''): word.split()
    for word in (
        'can not',
        'gim me',
        'gon na',
        'got ta',
        'lem me',
        'wan na',
        "'t is",
        "'t was",
    )
}
_TOKEN = re.compile(
    r"""
      -[lr][rsc]b-
    | (?: [a-z]\. )+ (?!\w) | (?: [a-z]\. )+ [a-z]\b                        # u.s.a., p.m
    | (?: mr|mrs|ms|dr|st|ave|blvd|rd|jr|sr|mt|ft|vs|etc|inc|co|corp|ltd ) \. (?!\w)
    | no\. (?=\s*\d)
    | ' (?: s|m|d|ll|re|ve|tis|twas|em|n'|\d0s ) (?!\w) | n't\b | y' (?=all)
    | \d+:\d+
    | (?: (?<!\S)[-.] )? \d+ (?: [.,/-]\d+ )* (?! [.,:/-]?\w )            # 1,000 and -1.5
    | \w (?: (?! n't\b ) \w | (?! '(?: s|m|d|ll|re|ve )\b ) [-/.'&@] (?=\w) )*
    | [?!]{2,}
    | [^\w\s.?!,:;'"`-]
    """,
    re.VERBOSE,
)


def tokenize(text: str) -> list[str]:
    """A caption's words as the COCO evaluation splits it: the Penn Treebank's way, lower case.

    Punctuation is dropped, but hyphens within words and signs such as % or & stay, brackets become
    -lrb- and the like; "man's" and "isn't" are two words each, "man" "'s" and "is" "n't".
    """
    words = _TOKEN.findall(text.lower().translate(_PLAIN))
    return [part for word in words for part in _IN_TWO.get(word, [word])]


def summarize(
    candidates: Sequence[Words], references: Sequence[References]
) -> dict[str, float]:
    """'bleu_1' to 'bleu_4', 'rouge_l' and 'cider_d' of a set of tokenized captions."""
    bleus = {
        f'bleu_{n}': value
        for n, value in enumerate(bleu(candidates, references), start=1)
    }
    return {
        **bleus,
        'rouge_l': rouge_l(candidates, references),
        'cider_d': cider_d(candidates, references)[0],
    }


def bleu(
    candidates: Sequence[Words], references: Sequence[References]
) -> tuple[float, ...]:
    """BLEU-1 to BLEU-4 of the whole set, in [0, 1] (Papineni et al. 2002).

    The geometric mean of the clipped precisions of n-grams, less for a set of candidates shorter
    than, each, the reference nearest to it in length.
    """
    _check(candidates, references)
    found, number = np.zeros(LONGEST), np.zeros(LONGEST)
    length = wanted = 0
    for candidate, theirs in zip(candidates, references, strict=True):
        most = Counter()
        for reference in theirs:
            most |= _counts(reference)
        for ngram, count in _counts(candidate).items():
            found[len(ngram) - 1] += min(count, most[ngram])
            number[len(ngram) - 1] += count
        length += len(candidate)
        wanted += min(
            (abs(len(words) - len(candidate)), len(words)) for words in theirs
        )[1]
    # The COCO evaluation's own guards against nothing divided by nothing; where no n-gram of some
    # length is found they are what is left of the figure.
    precision = (found + 1e-15) / (number + 1e-9)
    ratio = (length + 1e-15) / (wanted + 1e-9)
    penalty = math.exp(min(0.0, 1 - 1 / ratio))
    means = np.cumprod(precision) ** (1 / np.arange(1, LONGEST + 1))
    return tuple((penalty * means).tolist())


def rouge_l(candidates: Sequence[Words], references: Sequence[References]) -> float:
    """The mean ROUGE-L, in [0, 1] (Lin 2004): an F-measure of the longest common subsequence.

    Of an example's references the best precision and the best recall count, even of two of them.
    """
    _check(candidates, references)
    return float(
        np.mean([_rouge_l(*pair) for pair in zip(candidates, references, strict=True)])
    )


def _rouge_l(candidate: Words, references: References) -> float:
    # An empty caption counts as one empty word.
    candidate = candidate or ['']
    common = [
        (_common(candidate, words or ['']), max(1, len(words))) for words in references
    ]
    precision = max(same for same, _ in common) / len(candidate)
    recall = max(same / length for same, length in common)
    if not precision:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def _common(a: Words, b: Words) -> int:
    """The length of the longest common subsequence."""
    above = [0] * (len(b) + 1)
    for word in a:
        row = [0]
        for i, other in enumerate(b):
            row.append(above[i] + 1 if word == other else max(row[i], above[i + 1]))
        above = row
    return above[-1]


@dataclasses.dataclass(frozen=True)
class Documents:
    """Of how many examples each n-gram is in some reference, and how many examples there are."""

    number: int
    frequency: Mapping[Ngram, int]

    @classmethod
    def of(cls, references: Sequence[References]) -> 'Documents':
        frequency = Counter()
        for theirs in references:
            frequency.update({ngram for words in theirs for ngram in _ngrams(words)})
        return cls(len(references), frequency)

    def weight(self, ngram: Ngram) -> float:
        """The n-gram's inverse document frequency, of one never seen as of one seen once."""
        return math.log(self.number) - math.log(max(1, self.frequency.get(ngram, 0)))


def cider_d(
    candidates: Sequence[Words],
    references: Sequence[References],
    documents: Documents | None = None,
) -> tuple[float, Float[np.ndarray, 'n']]:
    """The mean CIDEr-D and that of each example, in [0, 10] (Vedantam et al. 2015).

    The cosine, clipped, of two captions' n-grams weighted by their rarity, less for a difference
    in length; the mean over n of 1 to 4 and over an example's references. `documents` are those of
    the references themselves, unless given: of one example alone nothing is rare, and all is 0.
    """
    _check(candidates, references)
    documents = documents or Documents.of(references)
    each = np.array(
        [
            _cider_d(*pair, documents)
            for pair in zip(candidates, references, strict=True)
        ]
    )
    return float(each.mean()), each


def _cider_d(candidate: Words, references: References, documents: Documents) -> float:
    ours = _weighted(candidate, documents)
    return 10 * float(
        np.mean(
            [
                _alike(ours, _weighted(words, documents))
                * _length_penalty(candidate, words)
                for words in references
            ]
        )
    )


def _alike(ours: dict[Ngram, float], theirs: dict[Ngram, float]) -> float:
    """The mean over n of the cosine, a candidate's n-gram counting no more than a reference's."""
    common, squares, their_squares = np.zeros((3, LONGEST))
    for ngram, weight in ours.items():
        other = theirs.get(ngram, 0.0)
        common[len(ngram) - 1] += min(weight, other) * other
        squares[len(ngram) - 1] += weight**2
    for ngram, weight in theirs.items():
        their_squares[len(ngram) - 1] += weight**2
    norms = np.sqrt(squares * their_squares)
    return float(np.mean(common / np.where(norms > 0, norms, 1)))


def _length_penalty(candidate: Words, reference: Words) -> float:
    # The COCO evaluation counts pairs of words: captions of no word and of one are equally long.
    difference = max(1, len(candidate)) - max(1, len(reference))
    return math.exp(-(difference**2) / (2 * SIGMA**2))


def _weighted(words: Words, documents: Documents) -> dict[Ngram, float]:
    return {
        ngram: count * documents.weight(ngram)
        for ngram, count in _counts(words).items()
    }


def _counts(words: Words) -> Counter[Ngram]:
    return Counter(_ngrams(words))


def _ngrams(words: Words) -> Iterator[Ngram]:
    return (
        tuple(words[start : start + n])
        for n in range(1, LONGEST + 1)
        for start in range(len(words) - n + 1)
    )


def _check(candidates: Sequence[Words], references: Sequence[References]) -> None:
    if not candidates or len(candidates) != len(references):
        raise ValueError(f'{len(candidates)} candidates for {len(references)} examples')
    if not all(references):
        raise ValueError('every example needs a reference')
