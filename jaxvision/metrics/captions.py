"""Similarity of captions to references: BLEU, ROUGE-L and CIDEr-D as in the COCO evaluation.

All functions run on the host, on the tokenized captions of a whole dataset. An example has one
candidate, a list of words, and one or more references, each a list of words.
"""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from jaxvision.core.types import MetricValues

Words = Sequence[str]
References = Sequence[Words]
Candidates = Sequence[Words]
ReferenceSets = Sequence[References]
Ngram = tuple[str, ...]
Weights = Mapping[Ngram, float]

# The longest n-grams, in words.
LONGEST = 4
# Std of CIDEr-D's Gaussian penalty for a difference in length, in words.
SIGMA = 6.0
# Weight of recall in ROUGE-L.
_BETA = 1.2

# The replacements of the Penn Treebank tokenizer, as in the COCO evaluation.
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
# Contractions without an apostrophe between their two words.
_CONTRACTIONS = {
    'cannot': ['can', 'not'],
    'gimme': ['gim', 'me'],
    'gonna': ['gon', 'na'],
    'gotta': ['got', 'ta'],
    'lemme': ['lem', 'me'],
    'wanna': ['wan', 'na'],
    "'tis": ["'t", 'is'],
    "'twas": ["'t", 'was'],
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
    """Split a caption into lower-case words as the COCO evaluation does (Penn Treebank).

    Punctuation between words is dropped, except signs such as % or & and a repeated
    '!!'. Marks in words, numbers and known abbreviations stay, as in 'x-ray', '1,000'
    and 'mr.'. Brackets become -lrb- and the like. A contraction becomes two words:
    "man's" gives "man" "'s", and "isn't" gives "is" "n't".
    """
    plain = text.lower().translate(_PLAIN)
    words = []
    for token in _TOKEN.findall(plain):
        words += _CONTRACTIONS.get(token, [token])
    return words


def summarize(candidates: Candidates, references: ReferenceSets) -> MetricValues:
    """Compute all caption metrics: 'bleu_1' to 'bleu_4', 'rouge_l' and 'cider_d'.

    Captions have to be tokenized. CIDEr-D is in [0, 10], the others are in [0, 1].

    Raises:
        ValueError: There are no candidates, not one for each example, or an example
            without references.
    """
    metrics = {}
    for n, value in enumerate(bleu(candidates, references), start=1):
        metrics[f'bleu_{n}'] = value
    metrics['rouge_l'] = rouge_l(candidates, references)
    metrics['cider_d'], _ = cider_d(candidates, references)
    return metrics


def bleu(candidates: Candidates, references: ReferenceSets) -> tuple[float, ...]:
    """(BLEU-1, ..., BLEU-4) of the whole dataset, in [0, 1] (Papineni et al. 2002).

    BLEU-n is the geometric mean of the clipped precisions of 1-grams to n-grams. A brevity penalty
    lowers it if the candidates together are shorter than their references nearest in length.

    Raises:
        ValueError: There are no candidates, not one for each example, or an example
            without references.
    """
    _check(candidates, references)
    matches = np.zeros(LONGEST)
    totals = np.zeros(LONGEST)
    candidate_length = 0
    reference_length = 0
    for candidate, example_references in zip(candidates, references, strict=True):
        # The most often that any single reference has each n-gram.
        limits = Counter()
        for reference in example_references:
            limits |= _counts(reference)
        for ngram, count in _counts(candidate).items():
            matches[len(ngram) - 1] += min(count, limits[ngram])
            totals[len(ngram) - 1] += count
        candidate_length += len(candidate)
        reference_length += _nearest_length(candidate, example_references)
    # The small numbers are the COCO evaluation's guards against 0 / 0. They decide the result if no
    # n-gram of some length matches.
    precision = (matches + 1e-15) / (totals + 1e-9)
    ratio = (candidate_length + 1e-15) / (reference_length + 1e-9)
    penalty = math.exp(min(0.0, 1 - 1 / ratio))
    means = np.cumprod(precision) ** (1 / np.arange(1, LONGEST + 1))
    return tuple((penalty * means).tolist())


def _nearest_length(candidate: Words, references: References) -> int:
    """Length of the reference nearest in length. The shorter of two equally near ones counts."""
    distances = []
    for reference in references:
        distance = abs(len(reference) - len(candidate))
        distances.append((distance, len(reference)))
    _, length = min(distances)
    return length


def rouge_l(candidates: Candidates, references: ReferenceSets) -> float:
    """Mean ROUGE-L, in [0, 1]: an F-measure of the longest common subsequence (Lin 2004).

    An example counts with its best precision and its best recall, even if they come from two
    different references.

    Raises:
        ValueError: There are no candidates, not one for each example, or an example
            without references.
    """
    _check(candidates, references)
    values = map(_rouge_l, candidates, references)
    return float(np.mean(list(values)))


def _rouge_l(candidate: Words, references: References) -> float:
    # An empty caption counts as one empty word.
    candidate = candidate or ['']
    precisions = []
    recalls = []
    for reference in references:
        common = _common_length(candidate, reference or [''])
        precisions.append(common / len(candidate))
        recalls.append(common / max(1, len(reference)))
    precision = max(precisions)
    recall = max(recalls)
    if not precision:
        return 0.0
    numerator = (1 + _BETA**2) * precision * recall
    denominator = recall + _BETA**2 * precision
    return numerator / denominator


def _common_length(a: Words, b: Words) -> int:
    """Length of the longest common subsequence, by dynamic programming."""
    above = [0] * (len(b) + 1)
    for a_word in a:
        row = [0]
        for i, b_word in enumerate(b):
            if a_word == b_word:
                length = above[i] + 1
            else:
                length = max(row[i], above[i + 1])
            row.append(length)
        above = row
    return above[-1]


@dataclasses.dataclass(frozen=True)
class Documents:
    """Document frequencies of n-grams, a document being all references of one example.

    Attributes:
        number: the number of examples.
        frequency: for each n-gram, the number of examples with it in any reference.
    """

    number: int
    frequency: Mapping[Ngram, int]

    @classmethod
    def of(cls, references: ReferenceSets) -> 'Documents':
        """Count the document frequencies of a dataset's references."""
        frequency = Counter()
        for example_references in references:
            ngrams = set()
            for reference in example_references:
                ngrams.update(_ngrams(reference))
            frequency.update(ngrams)
        return cls(len(references), frequency)

    def weight(self, ngram: Ngram) -> float:
        """Inverse document frequency: log(examples / examples with the n-gram).

        An unseen n-gram counts as one seen in one example.
        """
        frequency = max(1, self.frequency.get(ngram, 0))
        return math.log(self.number) - math.log(frequency)


def cider_d(
    candidates: Candidates,
    references: ReferenceSets,
    documents: Documents | None = None,
) -> tuple[float, Float[np.ndarray, 'n']]:
    """CIDEr-D: clipped cosine similarity of rarity-weighted n-grams (Vedantam et al. 2015).

    The cosines are averaged over n-grams of 1 to 4 words and over the references of an example. A
    penalty lowers them if the lengths differ.

    Args:
        candidates: one caption for each example, as words.
        references: one or more captions for each example, as words.
        documents: the document frequencies that define rarity; None: those of `references`. In
            the references of a single example nothing is rare, so CIDEr-D would be 0.

    Returns:
        (the mean, the value of each example [N]). All are in [0, 10], higher for more
        similar captions.

    Raises:
        ValueError: There are no candidates, not one for each example, or an example
            without references.
    """
    _check(candidates, references)
    documents = documents or Documents.of(references)
    values = []
    for candidate, example_references in zip(candidates, references, strict=True):
        values.append(_cider_d(candidate, example_references, documents))
    values = np.array(values)
    return float(values.mean()), values


def _cider_d(
    candidate: Words,
    references: References,
    documents: Documents,
) -> float:
    """CIDEr-D of one example, in [0, 10]."""
    candidate_weights = _weighted(candidate, documents)
    similarities = []
    for reference in references:
        cosine = _clipped_cosine(candidate_weights, _weighted(reference, documents))
        similarities.append(cosine * _length_penalty(candidate, reference))
    return 10 * float(np.mean(similarities))


def _clipped_cosine(candidate: Weights, reference: Weights) -> float:
    """Cosine similarity of two captions' weighted n-grams, averaged over n.

    A candidate's n-gram counts no more often than the reference has it.
    """
    products = np.zeros(LONGEST)
    candidate_squares = np.zeros(LONGEST)
    reference_squares = np.zeros(LONGEST)
    for ngram, weight in candidate.items():
        reference_weight = reference.get(ngram, 0.0)
        products[len(ngram) - 1] += min(weight, reference_weight) * reference_weight
        candidate_squares[len(ngram) - 1] += weight**2
    for ngram, weight in reference.items():
        reference_squares[len(ngram) - 1] += weight**2
    norms = np.sqrt(candidate_squares * reference_squares)
    cosines = products / np.where(norms > 0, norms, 1)
    return float(np.mean(cosines))


def _length_penalty(candidate: Words, reference: Words) -> float:
    """Gaussian penalty for a difference in length."""
    # The COCO evaluation counts pairs of words: captions of no word and of one are equally long.
    difference = max(1, len(candidate)) - max(1, len(reference))
    return math.exp(-(difference**2) / (2 * SIGMA**2))


def _weighted(words: Words, documents: Documents) -> Weights:
    """The count of each n-gram times its rarity."""
    weights = {}
    for ngram, count in _counts(words).items():
        weights[ngram] = count * documents.weight(ngram)
    return weights


def _counts(words: Words) -> Counter[Ngram]:
    return Counter(_ngrams(words))


def _ngrams(words: Words) -> Iterator[Ngram]:
    """All n-grams of a caption, for n from 1."""
    for n in range(1, LONGEST + 1):
        for start in range(len(words) - n + 1):
            yield tuple(words[start : start + n])


def _check(candidates: Candidates, references: ReferenceSets) -> None:
    if not candidates:
        raise ValueError('candidates=[]: expected one or more captions.')
    if len(candidates) != len(references):
        raise ValueError(
            f'len(candidates)={len(candidates)}: expected one candidate for each of the '
            f'{len(references)} examples in references.'
        )
    for row, example_references in enumerate(references):
        if not example_references:
            raise ValueError(
                f'references[{row}]=[]: expected one or more captions. '
                'Leave out examples without a reference.'
            )
