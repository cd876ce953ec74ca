"""Word sequences from a recurrent model, in programs of fixed shapes.

A model is a function `step(carry, word [B]) -> (carry, logits [B, V], extra)`, together with the
carry before the first word, a tree of arrays [B, ...]. A sequence is int32 [B, L]: words, then END
up to the last position. No function sorts, so that all can be exported to TFLite.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Int32, Key

from jaxvision.core.types import Tree

END = 0
BEGIN = 1
UNKNOWN = 2
# Ids of words start here.
SPECIAL = 3

Word = Int32[Array, 'b']
Words = Int[Array, 'b l']
Logits = Float[Array, 'b v']
Step = Callable[[Tree, Word], tuple[Tree, Logits, Tree]]
# Sequences, and the extras of each position.
Generated = tuple[Int32[Array, 'b {length}'], Tree]
# Chooses a word from logits and its position.
Choose = Callable[[Logits, Int32[Array, '']], Int[Array, 'b']]

# A log-probability of zero probability. The difference of infinite ones would be NaN.
_NEVER = -1e30


def forced(
    step: Step,
    carry: Tree,
    words: Words,
) -> tuple[Float[Array, 'b l v'], Tree]:
    """Predict each word of a sequence from the true words before it (teacher forcing).

    Args:
        step: the model, `(carry, word [B]) -> (carry, logits [B, V], extra)`. `word` is the
            previous word, and BEGIN first.
        carry: its carry before the first word, a tree of arrays [B, ...].
        words: ids of the words of true sequences, [B, L].

    Returns:
        Logits [B, L, V] over the vocabulary at each position, and the extras [B, L,
        ...].
    """
    pads = ((0, 0), (1, 0))
    inputs = jnp.pad(words[:, :-1], pads, constant_values=BEGIN)

    def advance(carry, word):
        carry, logits, extra = step(carry, word)
        return carry, (logits, extra)

    _, outputs = lax.scan(advance, carry, inputs.T)
    return _batch_first(outputs)


def within(words: Int[Array, '*b l']) -> Bool[Array, '*b l']:
    """True for the words of a sequence and the first END, id 0. False after it.

    All ids after the first END must be END too.
    """
    pads = [(0, 0)] * (words.ndim - 1) + [(1, 0)]
    previous = jnp.pad(words[..., :-1], pads, constant_values=BEGIN)
    return previous != END


def log_probability(
    logits: Float[Array, 'b l v'],
    words: Words,
) -> Float[Array, 'b l']:
    """Natural log-probability of each word and of the first END. 0 after it.

    Args:
        logits: of each position, [B, L, V].
        words: ids, [B, L]: words, then END (id 0) up to the last position.
    """
    log_probabilities = jax.nn.log_softmax(logits)
    of_words = jnp.take_along_axis(log_probabilities, words[..., None], -1)
    return jnp.where(within(words), of_words[..., 0], 0)


def greedy(
    step: Step,
    carry: Tree,
    length: int,
) -> Generated:
    """Choose the most likely word at each position.

    Args:
        step: the model, `(carry, word [B]) -> (carry, logits [B, V], extra)`. `word` is the
            previous word, and BEGIN first.
        carry: its carry before the first word, a tree of arrays [B, ...].
        length: number of positions L. The model runs at all of them, even after END.

    Returns:
        Sequences [B, L]: words, then END (id 0). And the extras [B, L, ...].
    """

    def most_likely(logits, position):
        return jnp.argmax(logits, -1)

    return _generate(step, carry, length, most_likely)


def sample(
    keys: Key[Array, 'b'],
    step: Step,
    carry: Tree,
    length: int,
    temperature: float = 1.0,
) -> Generated:
    """Sample sequences from the model.

    Args:
        keys: one random key for each example, [B].
        step: the model, `(carry, word [B]) -> (carry, logits [B, V], extra)`. `word` is the
            previous word, and BEGIN first.
        carry: its carry before the first word, a tree of arrays [B, ...].
        length: number of positions L. The model runs at all of them, even after END.
        temperature: divides the logits, above 0.

    Returns:
        Sequences [B, L]: words, then END (id 0). And the extras [B, L, ...].
    """

    def categorical(logits, position):
        position_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, position)
        return jax.vmap(jax.random.categorical)(position_keys, logits / temperature)

    return _generate(step, carry, length, categorical)


def _generate(
    step: Step,
    carry: Tree,
    length: int,
    choose: Choose,
) -> Generated:
    """Generate one word after the other, and END after the first END."""

    def advance(state, position):
        carry, previous = state
        carry, logits, extra = step(carry, previous)
        word = choose(logits, position)
        word = jnp.where(previous == END, END, word).astype(jnp.int32)
        return (carry, word), (word, extra)

    start = (carry, _begin(carry))
    _, outputs = lax.scan(advance, start, jnp.arange(length))
    return _batch_first(outputs)


def _batch_first(outputs: Tree) -> Tree:
    """Exchange the first two axes of arrays [L, B, ...]."""
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), outputs)


def beam(
    step: Step,
    carry: Tree,
    length: int,
    width: int,
) -> tuple[Int32[Array, 'b {width} {length}'], Float[Array, 'b {width}']]:
    """Find likely sequences by beam search.

    At each position, the `width` most likely continuations of all beams are kept. A sequence
    without END ends with its last word.

    Args:
        step: the model, `(carry, word [B]) -> (carry, logits [B, V], extra)`. `word` is the
            previous word, and BEGIN first. `extra` is ignored.
        carry: its carry before the first word, a tree of arrays [B, ...].
        length: number of positions L.
        width: number of beams.

    Returns:
        Sequences [B, width, L], the most likely first: words, then END (id 0). And their natural
        log-probabilities [B, width], sums which are not divided by the length.
    """
    begin = _begin(carry)

    def copy_to_beams(x):
        return jnp.broadcast_to(x, (width, *x.shape))

    # All beams but the first are impossible at first, because they would be equal.
    is_first = jnp.arange(width)[:, None] == 0
    scores = jnp.where(is_first, 0.0, _NEVER) + jnp.zeros(begin.shape)
    words = jnp.zeros((width, *begin.shape, length), jnp.int32)

    def advance(state, position):
        carry, previous, scores, words = state
        carry, logits, _ = jax.vmap(step)(carry, previous)
        vocabulary = logits.shape[-1]
        end_alone = jnp.where(jnp.arange(vocabulary) == END, 0.0, _NEVER)
        has_ended = (previous == END)[..., None]
        next_scores = jnp.where(has_ended, end_alone, jax.nn.log_softmax(logits))
        continuations = _beside(scores[..., None] + next_scores)
        scores, best = largest(continuations, width)
        parent = best // vocabulary
        word = best % vocabulary
        carry = jax.tree.map(lambda x: _of(parent, x), carry)
        words = _of(parent, words)
        is_position = jnp.arange(length) == position
        words = jnp.where(is_position, word[..., None], words)
        return (carry, word, scores, words), None

    carries = jax.tree.map(copy_to_beams, carry)
    start = (carries, copy_to_beams(begin), scores, words)
    (_, _, scores, words), _ = lax.scan(advance, start, jnp.arange(length))
    return jnp.moveaxis(words, 0, 1), scores.T


def largest(
    values: Float[Array, 'b n'],
    count: int,
) -> tuple[Float[Array, '{count} b'], Int32[Array, '{count} b']]:
    """Find the largest values of each row by repeated argmax, without sorting.

    Args:
        values: [B, N].
        count: the number of values to find, at most N.

    Returns:
        The values in descending order [count, B], and their columns. Among equal values
        the first column comes first.
    """

    def take(values, _):
        column = jnp.argmax(values, -1)
        maximum = jnp.max(values, -1)
        is_taken = jnp.arange(values.shape[-1]) == column[:, None]
        rest = jnp.where(is_taken, -jnp.inf, values)
        return rest, (maximum, column.astype(jnp.int32))

    _, maxima = lax.scan(take, values, None, length=count)
    return maxima


def _begin(carry: Tree) -> Word:
    """The word before the first one, for each example."""
    leaf, *_ = jax.tree.leaves(carry)
    return jnp.full(leaf.shape[:1], BEGIN, jnp.int32)


def _beside(values: Float[Array, 'w b v']) -> Float[Array, 'b wv']:
    """The values of all beams of an example in one row."""
    values = jnp.moveaxis(values, 0, 1)
    return values.reshape(values.shape[0], -1)


def _of(parent: Int32[Array, 'w b'], x: Array) -> Array:
    """Row b of beam parent[w, b], at [w, b]."""
    ones = [1] * (x.ndim - 2)
    indices = parent.reshape(*parent.shape, *ones)
    return jnp.take_along_axis(x, indices, 0)
