"""The attack of Carlini & Wagner 2017 for the smallest perturbation in L2."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from jaxvision.attacks import loops, nearest, objectives
from jaxvision.attacks.nearest import Nearest
from jaxvision.attacks.pgd import Problem
from jaxvision.attacks.types import (
    Attacked,
    Flags,
    Images,
    Keys,
    Labels,
    Logits,
    PerExample,
    Scalar,
)

# Pixels of 0 and 1 have no finite inverse of tanh. Nearer to 1 tanh is so flat that they would not
# move within a few hundred steps.
_LARGEST = 0.999
# The factor of a weight while no image is misclassified.
_GROWTH = 4.0


def carlini_wagner(
    logits: Logits,
    images: Images,
    labels: Labels,
    keys: Keys,
    *,
    eps: Scalar = jnp.inf,
    steps: int = 200,
    searches: int = 4,
    classes: int = 3,
    learning_rate: float = 0.02,
) -> Attacked:
    """Minimise the squared length plus a weight times the lead of the label, by Adam.

    Carlini & Wagner, "Towards Evaluating the Robustness of Neural Networks", 2017, in L2: their
    best case over several wrong classes. Pixels are tanh of free variables. The lead of
    the label over a wrong class counts above 0. Its weight is searched for each example:
    success makes it smaller, failure larger. The nearest image then moves to the boundary
    along the line to the original. Arguments that are not listed are those of `pgd.pgd`.

    Args:
        keys: not used; all attacks take the same arguments.
        eps: the largest length of a perturbation that counts as a success.
        steps: steps of Adam for each weight.
        searches: the number of weights.
        classes: the number of wrong classes to consider, the most likely ones first.
        learning_rate: of Adam. Its steps shrink to 0 along a cosine.

    Returns:
        The nearest misclassified images, and the original images without success.

    Raises:
        ValueError: `steps`, `searches` or `classes` is below 1.
    """
    del keys
    loops.require_positive(steps=steps, searches=searches, classes=classes)
    step = _Step(learning_rate=learning_rate, steps=steps)
    base = Problem.make(logits, images, labels, None, eps)
    wrong = loops.wrong_classes(loops.outputs_of(base.logits, images), labels)
    closest = _begin(base)
    for other in wrong[:classes]:
        weights = _first_weights(base, other)
        for _ in range(searches):
            problem = _Problem(base, other, weights.current)
            state = loops.repeat(step, problem, step.begin(base, closest), steps)
            closest = state.nearest
            weights = _next_weights(weights, state.is_broken)
    return nearest.finish(closest, base, closest.images, 'l2')


class _Weights(NamedTuple):
    """The search for the weight of each example.

    Attributes:
        current: the weight to try.
        least: the largest weight without success, or 0.
        most: the smallest weight with success, or infinity.
    """

    current: PerExample
    least: PerExample
    most: PerExample


@jax.jit
def _first_weights(problem: Problem, others: Labels) -> _Weights:
    """Twice the weight at which a linear classifier ends on the boundary."""
    gradient, rise, _ = objectives.differentiate(
        problem.logits, objectives.rise, problem.images, problem.labels, others
    )
    squared = jnp.square(gradient).sum((1, 2, 3))
    exact = 2 * jnp.maximum(-rise, 0) / jnp.where(squared > 0, squared, 1)
    zeros = jnp.zeros_like(rise)
    return _Weights(jnp.where(squared > 0, 2 * exact, 1), zeros, zeros + jnp.inf)


@jax.jit
def _next_weights(weights: _Weights, is_broken: Flags) -> _Weights:
    """Halve the interval, or multiply the weight while there is no success."""
    most = jnp.where(is_broken, weights.current, weights.most)
    least = jnp.where(is_broken, weights.least, weights.current)
    is_bounded = jnp.isfinite(most)
    middle = (least + jnp.where(is_bounded, most, 0)) / 2
    return _Weights(
        jnp.where(is_bounded, middle, weights.current * _GROWTH), least, most
    )


class _Problem(NamedTuple):
    """The problem of all attacks, a wrong class, and the weight of the label's lead over it."""

    base: Problem
    others: Labels
    weights: PerExample


class _State(NamedTuple):
    """The variables of a step.

    Attributes:
        free: the variables whose tanh the pixels are.
        adam: the state of the optimizer.
        is_broken: whether an image was misclassified with the current weight.
        nearest: the nearest misclassified images of all weights.
    """

    free: Images
    adam: optax.OptState
    is_broken: Flags
    nearest: Nearest


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Step:
    """One step of Adam; the fields are options of `carlini_wagner`."""

    learning_rate: float
    steps: int

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, whose steps shrink to 0."""
        return optax.adam(optax.cosine_decay_schedule(self.learning_rate, self.steps))

    def begin(self, problem: Problem, closest: Nearest) -> _State:
        """Start at the original images, within 0.0005."""
        free = jnp.arctanh((2 * problem.images - 1) * _LARGEST)
        is_broken = jnp.zeros(len(free), bool)
        return _State(free, self.optimizer.init(free), is_broken, closest)

    def __call__(self, problem: _Problem, state: _State) -> _State:
        base = problem.base

        def total(free: Images) -> tuple[Array, tuple[Images, Flags]]:
            images = (jnp.tanh(free) + 1) / 2
            outputs = base.logits(images)
            lead = -objectives.rise(outputs, base.labels, problem.others)
            lengths = jnp.square(images - base.images).sum((1, 2, 3))
            values = lengths + problem.weights * jnp.maximum(lead, 0)
            is_wrong = objectives.is_wrong(outputs, base.labels)
            return values.sum(), (images, is_wrong)

        gradient, (images, is_wrong) = jax.grad(total, has_aux=True)(state.free)
        gradient = jnp.where(jnp.isfinite(gradient), gradient, 0)
        updates, adam = self.optimizer.update(gradient, state.adam)
        return _State(
            optax.apply_updates(state.free, updates),
            adam,
            state.is_broken | is_wrong,
            nearest.nearer(state.nearest, base, images, is_wrong, 'l2'),
        )


_begin = jax.jit(nearest.begin)
