"""Attacks that look for the smallest perturbation: DeepFool and FAB."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxvision.attacks import balls, hyperplanes, loops, nearest, objectives
from jaxvision.attacks.nearest import Nearest
from jaxvision.attacks.pgd import Problem
from jaxvision.attacks.types import (
    Attacked,
    Flags,
    Images,
    Keys,
    Labels,
    Logits,
    Norm,
    PerExample,
    Scalar,
)


def deepfool(
    logits: Logits,
    images: Images,
    labels: Labels,
    keys: Keys,
    *,
    eps: Scalar = jnp.inf,
    norm: Norm = 'l2',
    steps: int = 50,
    classes: int = 9,
    overshoot: float = 0.02,
) -> Attacked:
    """Cross the nearest boundary of the linearised classifier, repeatedly (DeepFool).

    Moosavi-Dezfooli et al. 2016, with the rule for other norms in their section 3.4. A search along
    the line to the original image then removes the overshoot. Steps do not take the range [0, 1] of
    pixels into account. `fab` does, and breaks more images with many black or white pixels.
    Arguments that are not listed are those of `fab`.

    Args:
        keys: not used; all attacks take the same arguments.
        steps: the most linear steps.
        overshoot: the fraction by which a step goes beyond the boundary.

    Returns:
        The nearest misclassified images, and the original images without success.

    Raises:
        ValueError: `steps` is below 1.
    """
    del keys
    loops.require_positive(steps=steps)
    step = _DeepFoolStep(norm=norm, overshoot=overshoot)
    problem = _problem(logits, images, labels, eps, range(1, classes + 1))
    state = loops.repeat(step, problem, _begin(problem.base), steps)
    return nearest.finish(state.nearest, problem.base, state.images, norm)


def fab(
    logits: Logits,
    images: Images,
    labels: Labels,
    keys: Keys,
    *,
    eps: Scalar = jnp.inf,
    norm: Norm = 'linf',
    steps: int = 100,
    restarts: int = 1,
    classes: int = 9,
) -> Attacked:
    """Attack by FAB, the Fast Adaptive Boundary attack (Croce & Hein 2020).

    Each step projects the image onto the nearest boundary of the linearised classifier within
    [0, 1], with a pull towards the original. It needs a gradient for each of the classes.
    Arguments that are not listed are those of `pgd.pgd`.

    Args:
        keys: one key for each example, for the starts after the first one.
        eps: the largest norm of a perturbation that counts as a success.
        norm: the norm that is to be small.
        steps: the number of steps.
        restarts: the number of starts. The first one is the original image.
        classes: the number of wrong classes to consider, the most likely ones first.

    Returns:
        The nearest misclassified images, and the original images without success.

    Raises:
        ValueError: `steps` or `restarts` is below 1.
    """
    problem = _problem(logits, images, labels, eps, range(1, classes + 1))
    return _run_fab(problem, keys, norm, steps, restarts)


def fab_targeted(
    logits: Logits,
    images: Images,
    labels: Labels,
    keys: Keys,
    *,
    eps: Scalar = jnp.inf,
    norm: Norm = 'linf',
    steps: int = 100,
    restarts: int = 1,
    rank: int = 1,
) -> Attacked:
    """Attack by FAB towards one class, where any wrong class is a success (FAB-T).

    A step needs one gradient. AutoAttack runs it for the ranks 1 to 9. Arguments that are not
    listed are those of `fab`.

    Args:
        rank: the place of the target among the wrong classes of the original image.

    Raises:
        ValueError: `steps` or `restarts` is below 1, or there is no class of this rank.
    """
    problem = _problem(logits, images, labels, eps, [rank])
    return _run_fab(problem, keys, norm, steps, restarts)


class _Problem(NamedTuple):
    """The problem of all attacks, and the wrong classes that are considered, [N, B]."""

    base: Problem
    classes: Int[Array, 'n b']


class _State(NamedTuple):
    """What a step changes.

    Attributes:
        images: the current images.
        nearest: the nearest misclassified images so far.
    """

    images: Images
    nearest: Nearest


def _problem(
    logits: Logits, images: Images, labels: Labels, eps: Scalar, ranks: Sequence[int]
) -> _Problem:
    base = Problem.make(logits, images, labels, None, eps)
    outputs = loops.outputs_of(base.logits, images)
    wrong = loops.wrong_classes(outputs, labels)
    chosen = [wrong[rank - 1] for rank in ranks if rank <= len(wrong)]
    if not chosen:
        raise ValueError(f'rank={ranks[0]}: expected 1 to {len(wrong)}, a wrong class.')
    return _Problem(base, jnp.stack(chosen))


def _nearest_boundary(
    problem: _Problem, images: Images, norm: Norm
) -> tuple[PerExample, Images, Flags]:
    """Linearise the classifier, and choose the wrong class whose boundary is nearest.

    Returns:
        (logit of that class minus that of the label, its gradient, whether the
        prediction is wrong).
    """
    labels = problem.base.labels
    outputs, pull_back = jax.vjp(problem.base.logits, images)
    one_hot = functools.partial(
        jax.nn.one_hot, num_classes=outputs.shape[-1], dtype=outputs.dtype
    )
    directions = one_hot(problem.classes) - one_hot(labels)
    values = (directions * outputs).sum(-1)
    gradients = jax.vmap(lambda direction: pull_back(direction)[0])(directions)
    gradients = jnp.where(jnp.isfinite(gradients), gradients, 0)
    slopes = jax.vmap(functools.partial(balls.dual_norm, norm=norm))(gradients)
    distances = jnp.where(slopes > 0, jnp.abs(values) / slopes, jnp.inf)
    first = jnp.argmin(distances, axis=0)
    rows = jnp.arange(len(labels))
    is_wrong = objectives.is_wrong(outputs, labels)
    return values[first, rows], gradients[first, rows], is_wrong


@dataclasses.dataclass(frozen=True, kw_only=True)
class _DeepFoolStep:
    """One step of DeepFool; the fields are options of `deepfool`."""

    norm: Norm
    overshoot: float

    def __call__(self, problem: _Problem, state: _State) -> _State:
        values, gradients, is_wrong = _nearest_boundary(
            problem, state.images, self.norm
        )
        move = hyperplanes.free_step_to_hyperplane(gradients, values, self.norm)
        moved = jnp.clip(state.images + (1 + self.overshoot) * move, 0, 1)
        images = jnp.where(_pixels(is_wrong), state.images, moved)
        return state._replace(images=images)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _FabStep:
    """One step of FAB; the constants are those of the paper.

    Attributes:
        norm: the norm that is to be small.
        overshoot: the factor of a step to a boundary (eta).
        pull: the largest weight of the step from the original image (alpha_max).
        retreat: the fraction of a misclassified image's perturbation that is kept (beta).
    """

    norm: Norm
    overshoot: float = 1.05
    pull: float = 0.1
    retreat: float = 0.9

    def __call__(self, problem: _Problem, state: _State) -> _State:
        originals = problem.base.images
        images = state.images
        values, gradients, _ = _nearest_boundary(problem, images, self.norm)
        rise = (gradients * (originals - images)).sum((1, 2, 3))
        step = hyperplanes.step_to_hyperplane(images, gradients, values, self.norm)
        from_original = hyperplanes.step_to_hyperplane(
            originals, gradients, values + rise, self.norm
        )
        length = jnp.maximum(_norm(step, self.norm), 1e-8)
        other = jnp.maximum(_norm(from_original, self.norm), 1e-8)
        pull = _pixels(jnp.minimum(length / (length + other), self.pull))
        moved = (images + self.overshoot * step) * (1 - pull)
        moved += (originals + self.overshoot * from_original) * pull
        moved = jnp.clip(moved, 0, 1)
        return self._look(problem.base, moved, state)

    def _look(self, problem: Problem, moved: Images, state: _State) -> _State:
        """Keep nearer misclassified images, and retreat from all misclassified ones."""
        originals = problem.images
        is_wrong = objectives.is_wrong(problem.logits(moved), problem.labels)
        closest = nearest.nearer(state.nearest, problem, moved, is_wrong, self.norm)
        retreated = originals + self.retreat * (moved - originals)
        return _State(jnp.where(_pixels(is_wrong), retreated, moved), closest)


def _run_fab(
    problem: _Problem, keys: Keys, norm: Norm, steps: int, restarts: int
) -> Attacked:
    loops.require_positive(steps=steps)
    loops.require_positive(restarts=restarts)
    step = _FabStep(norm=norm)
    state = _begin(problem.base)
    for restart in range(restarts):
        if restart:
            start = _random_start(
                step, problem, state, loops.restart_keys(keys, restart)
            )
            state = state._replace(images=start)
        state = loops.repeat(step, problem, state, steps)
    return nearest.finish(state.nearest, problem.base, state.images, norm)


@jax.jit
def _begin(problem: Problem) -> _State:
    return _State(problem.images, nearest.begin(problem))


@functools.partial(jax.jit, static_argnums=0)
def _random_start(
    step: _FabStep, problem: _Problem, state: _State, keys: Keys
) -> Images:
    """Start within half of the distance that is to be improved."""
    base = problem.base
    radius = jnp.minimum(state.nearest.length, base.eps)
    # Without a success and a limit, any image is as good.
    radius = jnp.where(jnp.isfinite(radius), radius / 2, 0.5)
    return balls.random_start(keys, base.images, _pixels(radius), step.norm)


def _norm(step: Images, norm: Norm) -> PerExample:
    return balls.distance(step, jnp.zeros_like(step), norm)


def _pixels(values: PerExample | Flags) -> Float[Array, 'b 1 1 1'] | Array:
    """Give values of each example the axes of images."""
    return values[:, None, None, None]
