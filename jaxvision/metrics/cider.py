"""CIDEr-D on the device, the reward of self-critical training (arXiv:1612.00563).

The result equals `metrics.captions.cider_d`: n-grams are neither hashed nor truncated. A caption
is an int32 array [L] with the ids of its words, padded with 0.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int32

from jaxvision.metrics.captions import LONGEST, SIGMA

Caption = Int32[Array, 'l']
Reference = Int32[Array, 'k']
References = Int32[Array, 'r k']
Rarities = Float[Array, '_']
Matches = Bool[Array, '_ _']
Scalar = Float[Array, '']


class Statistics(NamedTuple):
    """Rarity of each n-gram of the training references, as a trie sorted by (parent, word).

    A node stands for an n-gram: the n-gram of its parent node, followed by its word. A single word
    has the parent -1.

    Attributes:
        parent: the node of the n-gram without its last word, [M].
        word: the last word of the n-gram, [M].
        rarity: log(examples / examples with this n-gram), [M + 1]. The last entry is for n-grams
            that no example has.
    """

    parent: Int32[Array | np.ndarray, 'm']
    word: Int32[Array | np.ndarray, 'm']
    rarity: Float[Array | np.ndarray, 'm+1']


def statistics(
    references: Int[np.ndarray, 'n r l'], dtype: type = np.float32
) -> Statistics:
    """Compute the rarities of the n-grams of N examples, on the host.

    An example has an n-gram if any of its references has it, and counts once.

    Args:
        references: up to R references of each example, as word ids from 1, padded with 0 at
            the end, [N, R, L]. A reference of zeros is ignored.
        dtype: of the rarities in the result.
    """
    examples, _, longest = references.shape
    parents = []
    words = []
    frequencies = []
    vocabulary = int(references.max(initial=0)) + 1
    # The node of the (n-1)-gram that begins at each position, and the number of all nodes.
    nodes = np.full(references.shape, -1, np.int64)
    number = 0
    for n in range(1, min(LONGEST, longest) + 1):
        last_words = references[..., n - 1 :]
        is_ngram = last_words > 0
        pairs = (nodes[is_ngram] + 1) * vocabulary + last_words[is_ngram]
        ngrams, row = np.unique(pairs, return_inverse=True)
        example, *_ = np.nonzero(is_ngram)
        occurrences = np.unique(row * examples + example)
        counts = np.bincount(occurrences // examples, minlength=len(ngrams))
        parents.append(ngrams // vocabulary - 1)
        words.append(ngrams % vocabulary)
        frequencies.append(counts)
        nodes = np.full(last_words.shape, -1, np.int64)
        nodes[is_ngram] = number + row
        nodes = nodes[..., :-1]
        number = number + len(ngrams)
    # Subtracted in float64 and rounded afterwards, because common n-grams have small rarities.
    frequency = np.append(np.concatenate(frequencies), 1)
    rarity = np.log(examples) - np.log(frequency)
    return Statistics(
        np.concatenate(parents).astype(np.int32),
        np.concatenate(words).astype(np.int32),
        rarity.astype(dtype),
    )


def cider_d(
    statistics: Statistics,
    candidate: Caption,
    references: References,
) -> Scalar:
    """CIDEr-D of one candidate, averaged over its references (Vedantam et al. 2015).

    Args:
        statistics: rarities of n-grams, from the function `statistics`.
        candidate: word ids from 1, padded with 0 at the end, [L].
        references: word ids from 1, padded with 0 at the end, [R, K]. References
            without words are padding.

    Returns:
        A number in [0, 10], higher for a more similar caption; 0 without any reference.
    """
    compare = jax.vmap(_similarity, (None, None, 0))
    similarities = compare(statistics, candidate, references)
    is_reference = references[:, 0] > 0
    total = jnp.where(is_reference, similarities, 0).sum()
    return 10 * total / jnp.maximum(is_reference.sum(), 1)


def _similarity(
    statistics: Statistics,
    candidate: Caption,
    reference: Reference,
) -> Scalar:
    """Clipped cosines of two captions' n-grams, averaged over n, with a length penalty."""
    candidate_rarities = _rarities(statistics, candidate)
    reference_rarities = _rarities(statistics, reference)
    within_candidate = _matches(candidate, candidate)
    within_reference = _matches(reference, reference)
    between = _matches(candidate, reference)
    cosines = [
        _cosine(
            candidate_rarities[i],
            reference_rarities[i],
            within_candidate[i],
            within_reference[i],
            between[i],
        )
        for i in range(LONGEST)
    ]
    # Captions of no word and of one are equally long: see metrics.captions.
    candidate_length = jnp.maximum((candidate > 0).sum(), 1)
    reference_length = jnp.maximum((reference > 0).sum(), 1)
    difference = candidate_length - reference_length
    difference = difference.astype(cosines[0].dtype)
    penalty = jnp.exp(-(difference**2) / (2 * SIGMA**2))
    return sum(cosines) / LONGEST * penalty


def _cosine(
    candidate_rarity: Float[Array, 'a'],
    reference_rarity: Float[Array, 'b'],
    within_candidate: Bool[Array, 'a a'],
    within_reference: Bool[Array, 'b b'],
    between: Bool[Array, 'a b'],
) -> Scalar:
    """Clipped cosine similarity of two captions, for n-grams of one length.

    A caption's vector has the entry count * rarity for each distinct n-gram. The candidate's counts
    are clipped to those of the reference.

    Args:
        candidate_rarity: rarity of the n-gram at each position of the candidate.
        reference_rarity: rarity of the n-gram at each position of the reference.
        within_candidate: True where two positions of the candidate have the same n-gram.
        within_reference: True where two positions of the reference have the same n-gram.
        between: True where a position of the candidate and one of the reference have the same one.
    """
    candidate_count = within_candidate.sum(1)
    reference_count = within_reference.sum(1)
    common_count = between.sum(1)
    # Sums run over positions. An n-gram that occurs `count` times has as many terms, so the product
    # is divided by its count, and a square has one factor `count` less.
    clipped_count = jnp.minimum(candidate_count, common_count)
    terms = (
        clipped_count
        * common_count
        * candidate_rarity**2
        / jnp.maximum(candidate_count, 1)
    )
    product = terms.sum()
    candidate_squares = candidate_count * candidate_rarity**2
    reference_squares = reference_count * reference_rarity**2
    squares = candidate_squares.sum() * reference_squares.sum()
    norms = jnp.sqrt(jnp.where(squares > 0, squares, 1))
    return product / norms


def _matches(a: Int32[Array, 'a'], b: Int32[Array, 'b']) -> list[Matches]:
    """For each n from 1: True at [i, j] if the n words from a[i] equal the n words from b[j]."""
    is_same_word = a[:, None] == b
    matches = is_same_word
    all_matches = [matches]
    for n in range(1, LONGEST):
        shorter_matches = matches[:-1, :-1]
        matches = shorter_matches & is_same_word[n:, n:]
        all_matches.append(matches)
    return all_matches


def _rarities(statistics: Statistics, words: Caption) -> list[Rarities]:
    """For each n from 1: the rarity of the n-gram at each position, 0 after the caption's end."""
    nodes = jnp.full(len(words), -1, jnp.int32)
    rarities = []
    for n in range(LONGEST):
        last_words = words[n:]
        nodes = _child(statistics, nodes, last_words)
        is_ngram = last_words > 0
        rarities.append(jnp.where(is_ngram, statistics.rarity[nodes], 0))
        nodes = nodes[:-1]
    return rarities


def _child(
    statistics: Statistics,
    parent: Caption,
    word: Caption,
) -> Caption:
    """Find the nodes with these parents and words, M where there is none.

    The search is a bisection on (parent, word), because one key for both needs more than 32 bits.

    Args:
        statistics: a trie of M sorted nodes.
        parent: nodes, [L].
        word: word ids, [L].
    """
    number = len(statistics.parent)
    bits = number.bit_length()

    def bisect(step, before):
        # At least `before` nodes precede the key. Test if a power of two more do so.
        more = before + (1 << (bits - 1 - step))
        last = jnp.minimum(more, number) - 1
        last_parent = statistics.parent[last]
        last_word = statistics.word[last]
        precedes = (last_parent < parent) | (
            (last_parent == parent) & (last_word < word)
        )
        return jnp.where((more <= number) & precedes, more, before)

    before = jax.lax.fori_loop(0, bits, bisect, jnp.zeros_like(parent))
    node = jnp.minimum(before, number - 1)
    is_parent = statistics.parent[node] == parent
    is_word = statistics.word[node] == word
    return jnp.where(is_parent & is_word, before, number)
