"""What training a classifier minimises: cross-entropies, and the targets that they take."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, DTypeLike, Float, Integer


def softmax_cross_entropy(
    logits: Float[Array, 'b k'], targets: Float[Array, 'b k']
) -> Float[Array, 'b']:
    """-sum_k targets_k log softmax(logits)_k in nats; targets: probabilities that sum to 1."""
    return optax.softmax_cross_entropy(_at_least_float32(logits), targets)


def sigmoid_cross_entropy(
    logits: Float[Array, 'b k'], targets: Float[Array, 'b k']
) -> Float[Array, 'b']:
    """Mean over the classes of the binary cross-entropy in nats; targets in [0, 1].

    The mean, not the sum, so that a learning rate serves any number of classes.
    """
    return optax.sigmoid_binary_cross_entropy(_at_least_float32(logits), targets).mean(
        -1
    )


def one_hot_targets(
    labels: Integer[Array, 'b'],
    classes: int,
    smoothing: float = 0.0,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, 'b {classes}']:
    """(1 - smoothing) one_hot(label) + smoothing / classes (Szegedy et al. 2016, section 7).

    Raises ValueError where `smoothing` is not in [0, 1).
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f'label smoothing must be in [0, 1), got {smoothing}')
    return optax.smooth_labels(jax.nn.one_hot(labels, classes, dtype=dtype), smoothing)


def _at_least_float32(logits: Float[Array, 'b k']) -> Float[Array, 'b k']:
    # In bfloat16 a log-sum-exp near 7 is known only to 0.03, as much as a good model's loss.
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
