"""Linear probe: the linear classifier with the least loss on fixed features."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxvision.core.types import Tree
from jaxvision.losses import classification

Scalar = Float[Array, '']
Kernel = Float[Array, 'd k']
Bias = Float[Array, 'k']
Objective = Callable[[Tree], Scalar]

_MAX_STEPS = 1000
# Norm of the gradient at which the optimisation stops.
_TOLERANCE = 1e-5


def fit(
    features: Float[Array, 'n d'],
    targets: Float[Array, 'n k'],
    penalty: float | Scalar,
    multi_label: bool = False,
) -> tuple[Kernel, Bias, Scalar]:
    """Fit a linear classifier with logits `features @ kernel + bias`.

    The loss is the mean cross-entropy plus penalty / 2 times the squared norm of the kernel. The
    penalised kernel applies to standardised features: less their means, and divided by one number,
    the root of their mean variance. With one divisor for each feature, features that rarely vary
    would count most.

    The result equals scikit-learn's `LogisticRegression(C=1 / (n * penalty))` on the standardised
    features. The loss is convex. L-BFGS (Liu and Nocedal 1989) minimises it until the norm of the
    gradient is at most 1e-5, in at most 1,000 steps.

    Args:
        features: [N, D].
        targets: the probability of each class, [N, K], in [0, 1].
        penalty: weight of the squared norm, above 0.
        multi_label: True for the mean of sigmoid cross-entropies, False for softmax.

    Returns:
        (the kernel [D, K] and the bias [K] for features as they are, not standardised;
        the loss with the penalty).
    """
    mean = features.mean(0)
    scale = jnp.sqrt(features.var(0).mean())
    scale = jnp.where(scale > 0, scale, 1)
    centred = features - mean
    standardised = centred / scale
    if multi_label:
        cross_entropy = classification.sigmoid_cross_entropy
    else:
        cross_entropy = classification.softmax_cross_entropy

    def objective(parameters: Tree) -> Scalar:
        kernel, bias = parameters
        logits = standardised @ kernel + bias
        loss = cross_entropy(logits, targets).mean()
        squared_norm = jnp.sum(jnp.square(kernel))
        return loss + penalty / 2 * squared_norm

    _, dimensions = features.shape
    _, classes = targets.shape
    zeros = jnp.zeros((dimensions, classes), features.dtype)
    start = (zeros, zeros[0])
    (kernel, bias), loss = _minimise(objective, start)
    kernel = kernel / scale
    bias = bias - mean @ kernel
    return kernel, bias, loss


def _minimise(objective: Objective, start: Tree) -> tuple[Tree, Scalar]:
    """Minimise a smooth function by L-BFGS, and return the minimiser and the minimum."""
    solver = optax.lbfgs()
    value_and_gradient = optax.value_and_grad_from_state(objective)

    def step(carry):
        parameters, state, count, _ = carry
        value, gradient = value_and_gradient(parameters, state=state)
        change, state = solver.update(
            gradient,
            state,
            parameters,
            value=value,
            grad=gradient,
            value_fn=objective,
        )
        parameters = optax.apply_updates(parameters, change)
        return parameters, state, count + 1, optax.tree.norm(gradient)

    def is_steep(carry):
        _, _, count, gradient_norm = carry
        return (count < _MAX_STEPS) & (gradient_norm > _TOLERANCE)

    initial = (start, solver.init(start), 0, jnp.inf)
    parameters, *_ = jax.lax.while_loop(is_steep, step, initial)
    return parameters, objective(parameters)
