"""Sequences of words out of a recurrent model, in programs of fixed shapes.

A model is a function `step(carry, word [B]) -> (carry, logits [B, V], extra)` and the carry before
the first word, a tree of [B, ...]. A sequence is int32 [B, L]: words, then END to the last place.
Nothing here sorts, so that everything can be exported to TFLite.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Int32, Key

from jaxvision.core.types import Tree

END, BEGIN, UNKNOWN = 0, 1, 2
SPECIAL = 3  # words are from here on

Step = Callable[[Tree, Int32[Array, 'b']], tuple[Tree, Float[Array, 'b v'], Tree]]

_NEVER = -1e30  # as a log probability; infinite ones would make NaN of a difference


def forced(
    step: Step, carry: Tree, words: Int[Array, 'b l']
) -> tuple[Float[Array, 'b l v'], Tree]:
    """Teacher forcing: of each word its logits, given the true ones before it; and the extras
    [B, L, ...]."""
    given = jnp.pad(words[:, :-1], ((0, 0), (1, 0)), constant_values=BEGIN)

    def advance(carry, word):
        carry, *said = step(carry, word)
        return carry, said

    _, said = lax.scan(advance, carry, given.T)
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), tuple(said))


def within(words: Int[Array, '*b l']) -> Bool[Array, '*b l']:
    """Which places belong to the sequence: its words, and the END after them."""
    before = jnp.pad(
        words[..., :-1], [(0, 0)] * (words.ndim - 1) + [(1, 0)], constant_values=BEGIN
    )
    return before != END


def log_probability(
    logits: Float[Array, 'b l v'], words: Int[Array, 'b l']
) -> Float[Array, 'b l']:
    """Of each word, and of the END; 0 after it."""
    found = jnp.take_along_axis(jax.nn.log_softmax(logits), words[..., None], -1)[
        ..., 0
    ]
    return jnp.where(within(words), found, 0)


def greedy(
    step: Step, carry: Tree, length: int
) -> tuple[Int32[Array, 'b {length}'], Tree]:
    """The likeliest word at each place, and the extras [B, L, ...]."""
    return _one_by_one(
        step, carry, length, lambda logits, place: jnp.argmax(logits, -1)
    )


def sample(
    keys: Key[Array, 'b'],
    step: Step,
    carry: Tree,
    length: int,
    temperature: float = 1.0,
) -> tuple[Int32[Array, 'b {length}'], Tree]:
    """Words drawn from the model, each example's under its own key."""

    def draw(logits, place):
        at_place = jax.vmap(jax.random.fold_in, (0, None))(keys, place)
        return jax.vmap(jax.random.categorical)(at_place, logits / temperature)

    return _one_by_one(step, carry, length, draw)


def _one_by_one(step: Step, carry: Tree, length: int, choose: Callable):
    def advance(state, place):
        carry, last = state
        carry, logits, extra = step(carry, last)
        word = jnp.where(last == END, END, choose(logits, place)).astype(jnp.int32)
        return (carry, word), (word, extra)

    _, said = lax.scan(advance, (carry, _begin(carry)), jnp.arange(length))
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), said)


def beam(
    step: Step, carry: Tree, length: int, width: int
) -> tuple[Int32[Array, 'b {width} {length}'], Float[Array, 'b {width}']]:
    """Beam search: the `width` likeliest sequences found, the best first, and their log
    probabilities.

    At each place the likeliest `width` continuations of all beams go on. A sequence without END
    ends with its last word.
    """
    begin = _begin(carry)

    def copies(x):
        return jnp.broadcast_to(x, (width, *x.shape))

    # All beams but one are impossible at first, since they would say the same.
    scores = jnp.where(jnp.arange(width)[:, None] == 0, 0.0, _NEVER) + jnp.zeros(
        begin.shape
    )
    words = jnp.zeros((width, *begin.shape, length), jnp.int32)

    def advance(state, place):
        carry, last, scores, words = state
        carry, logits, _ = jax.vmap(step)(carry, last)
        end_alone = jnp.where(jnp.arange(logits.shape[-1]) == END, 0.0, _NEVER)
        likely = jnp.where(
            (last == END)[..., None], end_alone, jax.nn.log_softmax(logits)
        )
        scores, chosen = largest(_beside(scores[..., None] + likely), width)
        parent, last = chosen // logits.shape[-1], chosen % logits.shape[-1]
        carry, words = jax.tree.map(lambda x: _of(parent, x), (carry, words))
        words = jnp.where(jnp.arange(length) == place, last[..., None], words)
        return (carry, last, scores, words), None

    start = jax.tree.map(copies, carry), copies(begin), scores, words
    (_, _, scores, words), _ = lax.scan(advance, start, jnp.arange(length))
    return jnp.moveaxis(words, 0, 1), scores.T


def largest(
    values: Float[Array, 'b n'], count: int
) -> tuple[Float[Array, '{count} b'], Int32[Array, '{count} b']]:
    """The largest values and their places, the first of equals first, by one argmax each."""

    def take(values, _):
        place = jnp.argmax(values, -1)
        found = jnp.max(values, -1)
        left = jnp.where(
            jnp.arange(values.shape[-1]) == place[:, None], -jnp.inf, values
        )
        return left, (found, place.astype(jnp.int32))

    return lax.scan(take, values, None, length=count)[1]


def _begin(carry: Tree) -> Int32[Array, 'b']:
    return jnp.full(jax.tree.leaves(carry)[0].shape[:1], BEGIN, jnp.int32)


def _beside(values: Float[Array, 'w b v']) -> Float[Array, 'b wv']:
    values = jnp.moveaxis(values, 0, 1)
    return values.reshape(values.shape[0], -1)


def _of(parent: Int32[Array, 'w b'], x: Array) -> Array:
    """Row b of beam parent[w, b], at [w, b]."""
    return jnp.take_along_axis(x, parent.reshape(*parent.shape, *[1] * (x.ndim - 2)), 0)
