"""The linear classifier of least loss for given features: a linear probe."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxvision.losses import classification

_MOST_STEPS, _FLAT = 1000, 1e-5


def fit(
    features: Float[Array, 'n d'],
    targets: Float[Array, 'n k'],
    penalty: float | Float[Array, ''],
    multi_label: bool = False,
) -> tuple[Float[Array, 'd k'], Float[Array, 'k'], Float[Array, '']]:
    """(kernel, bias, loss) of the logits `features @ kernel + bias`.

    The loss is the examples' mean cross-entropy, of a softmax or, of several labels, the mean of
    sigmoids', and penalty / 2 times the squared norm of the kernel, of features less their means
    and divided by the root of their mean variance: scikit-learn's LogisticRegression of
    C = 1 / (n penalty) of those. (Divided each by its own, features that few examples show would
    count most.) It is convex, and L-BFGS (Liu and Nocedal, 1989) goes down to a gradient of 1e-5.

    Args:
        targets: shares of the classes, in [0, 1].
        penalty: above 0.
    """
    mean, scale = features.mean(0), jnp.sqrt(features.var(0).mean())
    scale = jnp.where(scale > 0, scale, 1)
    standard = (features - mean) / scale
    entropy = (
        classification.sigmoid_cross_entropy
        if multi_label
        else classification.softmax_cross_entropy
    )

    def objective(parameters):
        kernel, bias = parameters
        return entropy(
            standard @ kernel + bias, targets
        ).mean() + penalty / 2 * jnp.sum(jnp.square(kernel))

    zeros = jnp.zeros((features.shape[1], targets.shape[1]), features.dtype)
    (kernel, bias), loss = _least(objective, (zeros, zeros[0]))
    kernel = kernel / scale
    return kernel, bias - mean @ kernel, loss


def _least(objective, start):
    """Where a smooth objective is least, and its value there."""
    solver = optax.lbfgs()
    measure = optax.value_and_grad_from_state(objective)

    def step(carry):
        at, state, count, _ = carry
        value, slope = measure(at, state=state)
        move, state = solver.update(
            slope, state, at, value=value, grad=slope, value_fn=objective
        )
        return optax.apply_updates(at, move), state, count + 1, optax.tree.norm(slope)

    def steep(carry):
        _, _, count, slope = carry
        return (count < _MOST_STEPS) & (slope > _FLAT)

    at, *_ = jax.lax.while_loop(steep, step, (start, solver.init(start), 0, jnp.inf))
    return at, objective(at)
