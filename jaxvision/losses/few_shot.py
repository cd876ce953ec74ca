"""How few-shot methods compare a query with the examples of each class."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def prototypes(
    support: Float[Array, 'n k d'], mask: Float[Array, 'n k']
) -> Float[Array, 'n d']:
    """The mean of each class's features, of those whose `mask` is 1 (Snell et al., 2017)."""
    return (support * mask[..., None]).sum(1) / mask.sum(1)[:, None]


def distance_logits(
    query: Float[Array, 'm d'], centres: Float[Array, 'n d']
) -> Float[Array, 'm n']:
    """Minus the squared distance to each centre, but for a number that all of a query share."""
    # About their middle, where the numbers are smallest: they differ by less than they are large.
    middle = centres.mean(0)
    query, centres = query - middle, centres - middle
    return 2 * query @ centres.T - jnp.square(centres).sum(-1)


def cosine_logits(
    query: Float[Array, '*b d'], centres: Float[Array, 'n d'], scale: float
) -> Float[Array, '*b n']:
    """`scale` times the cosine to each centre."""
    return scale * unit(query) @ unit(centres).T


def attention_logits(
    query: Float[Array, 'm d'],
    support: Float[Array, 'n k d'],
    mask: Float[Array, 'n k'],
    scale: float,
) -> Float[Array, 'm n']:
    """Log-probability of each class: its share of the softmax over `scale` times the cosines to all
    examples (Vinyals et al., 2016, equation 1, without full context embeddings)."""
    cosines = jnp.einsum('md,nkd->mnk', unit(query), unit(support))
    logits = jnp.where(mask > 0, scale * cosines, -jnp.inf)
    return jax.nn.logsumexp(logits, 2) - jax.nn.logsumexp(logits, (1, 2))[:, None]


def unit(x: Float[Array, '*b d']) -> Float[Array, '*b d']:
    """Each vector at length 1; one of zeros stays, and has a gradient."""
    return x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(-1, keepdims=True), 1e-12))
