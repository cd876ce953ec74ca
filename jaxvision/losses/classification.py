"""Losses of a classifier: cross-entropies, and label smoothing for their targets."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, DTypeLike, Float, Integer

Logits = Float[Array, 'b k']
Targets = Float[Array, 'b k']
PerExample = Float[Array, 'b']


def softmax_cross_entropy(logits: Logits, targets: Targets) -> PerExample:
    """Cross-entropy in nats of each example: -sum_k targets_k log softmax(logits)_k.

    `targets` are probabilities that sum to 1 over the classes. The result is float32 at
    least.
    """
    logits = _at_least_float32(logits)
    return optax.softmax_cross_entropy(logits, targets)


def sigmoid_cross_entropy(logits: Logits, targets: Targets) -> PerExample:
    """Binary cross-entropy in nats of each example, averaged over the classes.

    `targets` are in [0, 1]. With a mean instead of a sum, one learning rate serves any
    number of classes. The result is float32 at least.
    """
    logits = _at_least_float32(logits)
    entropies = optax.sigmoid_binary_cross_entropy(logits, targets)
    return entropies.mean(-1)


def one_hot_targets(
    labels: Integer[Array, 'b'],
    classes: int,
    smoothing: float = 0.0,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, 'b {classes}']:
    """One-hot targets with label smoothing (Szegedy et al. 2016, section 7).

    Args:
        labels: the class of each example, [B], from 0.
        classes: the number of classes K.
        smoothing: the probability that is spread evenly over all classes, in [0, 1).
        dtype: the dtype of the result.

    Returns:
        (1 - smoothing) * one_hot(label) + smoothing / K, [B, K]. For a label outside
        [0, K), `one_hot` is zero.

    Raises:
        ValueError: `smoothing` is not in [0, 1).
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f'smoothing={smoothing}: expected a number in [0, 1).')
    one_hot = jax.nn.one_hot(labels, classes, dtype=dtype)
    return optax.smooth_labels(one_hot, smoothing)


def _at_least_float32(logits: Logits) -> Logits:
    # bfloat16 rounds a log-sum-exp near 7 by up to 0.03, as much as a good model's loss.
    dtype = jnp.promote_types(logits.dtype, jnp.float32)
    return logits.astype(dtype)
