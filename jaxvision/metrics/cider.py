"""What self-critical training rewards in a caption (Rennie et al. 2017, arXiv:1612.00563): CIDEr-D.

On the device and exact: n-grams are neither hashed nor cut off. A caption is int32 [L], the ids of
its words and then 0s. The same figure as `metrics.captions.cider_d`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int32

from jaxvision.metrics.captions import LONGEST, SIGMA


class Statistics(NamedTuple):
    """How rare each n-gram of the training references is: a trie, its nodes by (parent, word).

    A node is an n-gram, that of its parent and one word more; a word alone has the parent -1.
    `rarity` is log(examples / examples that have the n-gram), its last entry of those never seen.
    """

    parent: Int32[Array | np.ndarray, 'm']
    word: Int32[Array | np.ndarray, 'm']
    rarity: Float[Array | np.ndarray, 'm+1']


def statistics(
    references: Int[np.ndarray, 'n r l'], dtype: type = np.float32
) -> Statistics:
    """Those of N examples with up to R references each; on the host, once.

    An example has an n-gram if any of its references has, and counts once.
    """
    parents, words, frequencies = [], [], []
    size = int(references.max(initial=0)) + 1
    node, nodes = np.full(references.shape, -1, np.int64), 0
    for n in range(1, min(LONGEST, references.shape[2]) + 1):
        last = references[..., n - 1 :]  # word of the n-gram that begins at each place
        there = last > 0
        pairs, row = np.unique(
            (node[there] + 1) * size + last[there], return_inverse=True
        )
        of_examples = np.unique(row * len(references) + np.nonzero(there)[0])
        parents.append(pairs // size - 1)
        words.append(pairs % size)
        frequencies.append(
            np.bincount(of_examples // len(references), minlength=len(pairs))
        )
        node = np.full(last.shape, -1, np.int64)
        node[there] = nodes + row
        node, nodes = node[..., :-1], nodes + len(pairs)
    # The difference is taken before it is rounded: of a common n-gram it is small.
    seen = np.append(np.concatenate(frequencies), 1)
    rarity = np.log(len(references)) - np.log(seen)
    return Statistics(
        np.concatenate(parents).astype(np.int32),
        np.concatenate(words).astype(np.int32),
        rarity.astype(dtype),
    )


def cider_d(
    statistics: Statistics,
    candidate: Int32[Array, 'l'],
    references: Int32[Array, 'r k'],
) -> Float[Array, '']:
    """A candidate's CIDEr-D, in [0, 10] (Vedantam et al. 2015): the mean over its references.

    References of no words are padding and left out; without any it is 0.
    """
    each = jax.vmap(_similarity, (None, None, 0))(statistics, candidate, references)
    there = references[:, 0] > 0
    return 10 * jnp.where(there, each, 0).sum() / jnp.maximum(there.sum(), 1)


def _similarity(
    statistics: Statistics, candidate: Int32[Array, 'l'], reference: Int32[Array, 'k']
) -> Float[Array, '']:
    """The mean over n of the n-grams' clipped cosine, less for a difference in length."""
    cosines = [
        _cosine(*parts)
        for parts in zip(
            _rarities(statistics, candidate),
            _rarities(statistics, reference),
            _same(candidate, candidate),
            _same(reference, reference),
            _same(candidate, reference),
            strict=True,
        )
    ]
    # No word and one word are equally long: see metrics.captions.
    length, other = (
        jnp.maximum((words > 0).sum(), 1) for words in (candidate, reference)
    )
    difference = (length - other).astype(cosines[0].dtype)
    return sum(cosines) / LONGEST * jnp.exp(-(difference**2) / (2 * SIGMA**2))


def _cosine(
    ours: Float[Array, 'a'],
    theirs: Float[Array, 'b'],
    own: Bool[Array, 'a a'],
    their_own: Bool[Array, 'b b'],
    common: Bool[Array, 'a b'],
) -> Float[Array, '']:
    """Of the vectors with an entry, count * rarity, for each different n-gram; of the candidate's
    entries no more than the reference's counts."""
    count, their_count, found = own.sum(1), their_own.sum(1), common.sum(1)
    # Sums over places: an n-gram that is there `count` times has as many terms.
    product = (
        jnp.minimum(count, found) * found * ours**2 / jnp.maximum(count, 1)
    ).sum()
    squares = (count * ours**2).sum() * (their_count * theirs**2).sum()
    return product / jnp.sqrt(jnp.where(squares > 0, squares, 1))


def _same(a: Int32[Array, 'a'], b: Int32[Array, 'b']) -> list[Bool[Array, '_ _']]:
    """For n from 1, whether the n words from place i of one are those from place j of the other."""
    words = a[:, None] == b
    found = [words]
    for n in range(1, LONGEST):
        found.append(found[-1][:-1, :-1] & words[n:, n:])
    return found


def _rarities(
    statistics: Statistics, words: Int32[Array, 'l']
) -> list[Float[Array, '_']]:
    """For n from 1, the rarity of the n-gram at each place; 0 where the caption has ended."""
    node, found = jnp.full(len(words), -1, jnp.int32), []
    for n in range(LONGEST):
        node = _child(statistics, node, words[n:])
        found.append(jnp.where(words[n:] > 0, statistics.rarity[node], 0))
        node = node[:-1]
    return found


def _child(
    statistics: Statistics, parent: Int32[Array, 'l'], word: Int32[Array, 'l']
) -> Int32[Array, 'l']:
    """The nodes of these parents and words, M where there is none; by bisection, as a key of both
    would not go into 32 bits."""
    number = len(statistics.parent)

    def bisect(step, before):
        """`before` are nodes known to come before; could there be a power of two more?"""
        more = before + (1 << (number.bit_length() - 1 - step))
        last = jnp.minimum(more, number) - 1
        its_parent, its_word = statistics.parent[last], statistics.word[last]
        smaller = (its_parent < parent) | ((its_parent == parent) & (its_word < word))
        return jnp.where((more <= number) & smaller, more, before)

    row = jax.lax.fori_loop(0, number.bit_length(), bisect, jnp.zeros_like(parent))
    there = jnp.minimum(row, number - 1)
    found = (statistics.parent[there] == parent) & (statistics.word[there] == word)
    return jnp.where(found, row, number)
