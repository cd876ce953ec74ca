"""Repetition of the steps of an attack.

XLA computes the gradients of convolutions on one thread inside of a rolled loop on a CPU, which
takes 6 times as long. Under `jit` the steps are therefore unrolled there. Outside of `jit` blocks
of steps are compiled once, and the host repeats them.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxvision.attacks.types import Flags, Images, Keys, Labels, Logits, Outputs
from jaxvision.core.types import Tree

State = TypeVar('State')
# A classifier or an objective.
Function = TypeVar('Function')
# `(problem, state) -> state`. It is hashable, so that its compiled form is found again.
Step = Callable[[Tree, State], State]

# Steps that are compiled together.
BLOCK = 10


def require_positive(**counts: int) -> None:
    """Check numbers of steps or restarts, given by their names.

    Raises:
        ValueError: A number is below 1.
    """
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f'{name}={count}: expected a whole number above 0.')


def restart_keys(keys: Keys, restart: int) -> Keys:
    """The keys of one restart."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, restart)


def needs_restart(restart: int, restarts: int, success: Flags) -> bool:
    """Whether to go on after a restart: it was not the last, and an example stands.

    Without a further restart the host does not wait for the result.

    Args:
        restart: the number of the restart, from 0.
        restarts: the most restarts.
        success: whether the attack on each example has succeeded. If it is traced, all
            restarts are needed.
    """
    if restart == restarts - 1:
        return False
    return is_traced(success) or not bool(success.all())


def unrolls() -> bool:
    """Whether loops of gradient steps are unrolled: on a CPU."""
    return jax.default_backend() == 'cpu'


def is_traced(*trees: Tree) -> bool:
    """Whether a leaf of the trees belongs to a function that JAX is tracing."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees))


def repeat(
    step: Step[State],
    problem: Tree,
    state: State,
    steps: int,
    unroll: bool | None = None,
) -> State:
    """Apply a step again and again.

    Args:
        step: `(problem, state) -> state`, hashable.
        problem: arrays that stay the same. Functions in it are `jax.tree_util.Partial`.
        state: arrays that the step changes.
        steps: the number of steps.
        unroll: whether compiled loops are unrolled; None: on a CPU.
    """
    if unroll is None:
        unroll = unrolls()
    if is_traced(problem, state):
        return _steps(step, steps, unroll, problem, state)
    blocks, rest = divmod(steps, BLOCK)
    for _ in range(blocks):
        state = _compiled(step, BLOCK, unroll, problem, state)
    if rest:
        state = _compiled(step, rest, unroll, problem, state)
    return state


def _steps(
    step: Step[State], steps: int, unroll: bool, problem: Tree, state: State
) -> State:
    if not unroll:
        return jax.lax.fori_loop(0, steps, lambda _, state: step(problem, state), state)
    for _ in range(steps):
        state = step(problem, state)
    return state


_compiled = jax.jit(_steps, static_argnums=(0, 1, 2))


def as_partial(function: Function) -> Function:
    """Make a function that may be an argument of a compiled function.

    A function that is no `jax.tree_util.Partial` is compiled with its variables as
    constants, again for each new function.

    Args:
        function: a classifier or an objective.
    """
    if isinstance(function, jax.tree_util.Partial):
        return function
    return jax.tree_util.Partial(function)


@jax.jit
def outputs_of(logits: Logits, images: Images) -> Outputs:
    """The logits of images, compiled."""
    return logits(images)


@jax.jit
def wrong_classes(outputs: Outputs, labels: Labels) -> Int[Array, 'n b']:
    """The classes that are not the label, the largest logit first.

    Args:
        outputs: logits [B, K].
        labels: the true classes, [B].

    Returns:
        Classes, [K - 1, B].
    """
    is_label = jnp.arange(outputs.shape[-1]) == labels[:, None]
    # The label is the last, even behind a logit of minus infinity.
    order = jnp.lexsort((-outputs, is_label), axis=-1)
    return order[:, :-1].T.astype(jnp.int32)
