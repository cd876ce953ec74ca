"""Logits of few-shot methods: how similar a query is to the support examples of each class."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Embeddings of examples.
Embeddings = Float[Array, '*b d']

Queries = Float[Array, 'm d']
Support = Float[Array, 'n k d']
SupportMask = Float[Array, 'n k']
Centres = Float[Array, 'n d']
Logits = Float[Array, 'm n']


def prototypes(support: Support, mask: SupportMask) -> Centres:
    """Mean feature vector of each class (prototypical networks, Snell et al. 2017).

    `support` [N, K, D] holds features of K examples of each of N classes. `mask` [N, K]
    is 1 for an example and 0 for padding. A class without any example becomes NaN, but
    episodes and `predict --support` have at least one of each class.
    """
    features = support * mask[..., None]
    totals = features.sum(1)
    counts = mask.sum(1)
    return totals / counts[:, None]


def distance_logits(query: Queries, centres: Centres) -> Logits:
    """Negative squared distance of M queries to the centres of N classes, [M, N].

    A constant for each query is added, so only differences between the classes of a query
    have a meaning. Softmax depends on nothing else.
    """
    # The differences of features are smaller than the features: centred, they keep more digits.
    middle = centres.mean(0)
    query = query - middle
    centres = centres - middle
    twice_product = 2 * query @ centres.T
    squares = jnp.square(centres)
    squared_norms = squares.sum(-1)
    return twice_product - squared_norms


def cosine_logits(
    query: Embeddings,
    centres: Centres,
    scale: float,
) -> Float[Array, '*b n']:
    """Scaled cosine similarity to the centre of each class.

    Args:
        query: features of the queries, [..., D].
        centres: one feature vector for each class, [N, D].
        scale: the factor, an inverse temperature.

    Returns:
        Logits, [..., N].
    """
    query = scale * unit(query)
    centres = unit(centres)
    return query @ centres.T


def attention_logits(
    query: Queries,
    support: Support,
    mask: SupportMask,
    scale: float,
) -> Logits:
    """Log-probabilities of the classes by attention over all support examples.

    The attention is a softmax over scaled cosines. A class has the sum of its examples' weights
    (matching networks, Vinyals et al. 2016, equation 1, without full context embeddings).

    Args:
        query: features of M queries, [M, D].
        support: features of K examples of each of N classes, [N, K, D].
        mask: 1 for an example and 0 for padding, [N, K].
        scale: the factor of the cosines, an inverse temperature.

    Returns:
        Log-probabilities, [M, N]; -inf for a class without any example.
    """
    query = unit(query)
    support = unit(support)
    cosines = jnp.einsum('md,nkd->mnk', query, support)
    is_example = mask > 0
    scores = jnp.where(is_example, scale * cosines, -jnp.inf)
    class_scores = jax.nn.logsumexp(scores, 2)
    all_scores = jax.nn.logsumexp(scores, (1, 2))
    all_scores = all_scores[:, None]
    return class_scores - all_scores


def unit(x: Embeddings) -> Embeddings:
    """Scale each vector to length 1. A zero vector stays zero and has a finite gradient."""
    squared_norms = jnp.square(x).sum(-1, keepdims=True)
    inverse_norms = jax.lax.rsqrt(jnp.maximum(squared_norms, 1e-12))
    return x * inverse_norms
