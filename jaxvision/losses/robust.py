"""Losses of adversarial training, from the logits of images and of their perturbed forms."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

Logits = Float[Array, 'b k']
Labels = Integer[Array, 'b']
PerExample = Float[Array, 'b']


def divergence(logits: Logits, perturbed: Logits) -> PerExample:
    """Kullback-Leibler divergence of predictions from those of the original images.

    It is sum_k p_k log(p_k / q_k) in nats, with p for the originals and q for the perturbed
    images: the regulariser of TRADES (Zhang et al. 2019, equation 5).
    """
    log_original = jax.nn.log_softmax(logits)
    log_perturbed = jax.nn.log_softmax(perturbed)
    return (jnp.exp(log_original) * (log_original - log_perturbed)).sum(-1)


def boosted_cross_entropy(perturbed: Logits, labels: Labels) -> PerExample:
    """Cross-entropy with a margin (MART, Wang et al. 2020, equation 9).

    It is -log q_y - log(1 - max_{k != y} q_k) for the probabilities q of perturbed images.
    """
    log_probabilities = jax.nn.log_softmax(perturbed)
    is_label = jnp.arange(perturbed.shape[-1]) == labels[:, None]
    log_true = jnp.where(is_label, log_probabilities, 0).sum(-1)
    log_other = jnp.where(is_label, -jnp.inf, log_probabilities).max(-1)
    # Below 1, so that the logarithm of the rest is finite.
    log_other = jnp.minimum(log_other, -1e-6)
    return -log_true - jnp.log1p(-jnp.exp(log_other))


def misclassification_weights(logits: Logits, labels: Labels) -> PerExample:
    """1 - p_y of the original images, the weights of MART's divergence (equation 10)."""
    probabilities = jax.nn.softmax(logits)
    is_label = jnp.arange(logits.shape[-1]) == labels[:, None]
    return 1 - jnp.where(is_label, probabilities, 0).sum(-1)
