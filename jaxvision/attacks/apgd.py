"""Auto-PGD, whose steps shrink by the progress of each example (Croce & Hein 2020)."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxvision.attacks import balls, goals, loops, objectives
from jaxvision.attacks.goals import Best, Goal
from jaxvision.attacks.pgd import Problem
from jaxvision.attacks.types import (
    Attacked,
    Counts,
    Flags,
    Images,
    Keys,
    Labels,
    Logits,
    Norm,
    Objective,
    PerExample,
    Scalar,
)

# Weight of the new direction beside the previous one.
_NEW = 0.75
# Fraction of the steps between two checkpoints that must raise the objective.
_RISING = 0.75


def apgd(
    logits: Logits,
    images: Images,
    labels: Labels,
    keys: Keys,
    *,
    eps: Scalar,
    norm: Norm = 'linf',
    steps: int = 100,
    restarts: int = 1,
    targets: Labels | None = None,
    objective: Objective | None = None,
) -> Attacked:
    """Attack by APGD (Croce & Hein 2020, algorithm 1).

    The first step is 2 eps. At a checkpoint the step of an example is halved if too few steps
    raised its objective, or if neither its step nor its best value has changed since the last
    checkpoint. It then goes on from its best image. Arguments that are not listed are those
    of `pgd.pgd`.

    Args:
        steps: the number of steps; each needs one gradient, and the start another.

    Returns:
        The best of the original image and of all iterates.

    Raises:
        ValueError: `steps` or `restarts` is below 1.
    """
    if objective is None:
        objective = objectives.cross_entropy
        if targets is not None:
            objective = objectives.targeted_cross_entropy
    step = _Step(norm=norm, goal='error' if targets is None else 'target')
    problem = Problem.make(logits, images, labels, targets, eps, objective)
    return _run(step, problem, keys, steps, restarts)


def apgd_targeted(
    logits: Logits,
    images: Images,
    labels: Labels,
    keys: Keys,
    *,
    eps: Scalar,
    norm: Norm = 'linf',
    steps: int = 100,
    restarts: int = 1,
    rank: int = 1,
    objective: Objective = objectives.targeted_dlr,
) -> Attacked:
    """Attack by APGD towards one class, where any wrong class is a success (APGD-T).

    AutoAttack runs it for the ranks 1 to 9. Arguments that are not listed are those of `apgd`.

    Args:
        rank: the place of the target among the wrong classes of the original image. 1: the
            most likely one.
        objective: what to maximise. The targeted DLR needs four classes.

    Raises:
        ValueError: `steps` or `restarts` is below 1, or there is no class of this rank.
    """
    logits = loops.as_partial(logits)
    wrong = loops.wrong_classes(loops.outputs_of(logits, images), labels)
    if not 1 <= rank <= len(wrong):
        raise ValueError(f'rank={rank}: expected 1 to {len(wrong)}, a wrong class.')
    problem = Problem.make(logits, images, labels, wrong[rank - 1], eps, objective)
    step = _Step(norm=norm, goal='error')
    return _run(step, problem, keys, steps, restarts)


def checkpoint_windows(steps: int) -> Int[np.ndarray, '{steps}']:
    """The number of steps since the last checkpoint at each checkpoint, and 0 elsewhere.

    The first window has 22 % of the steps. Each next one is shorter by 3 % of the steps, down to
    6 %.
    """
    window = max(int(0.22 * steps), 1)
    least = max(int(0.06 * steps), 1)
    shorter = max(int(0.03 * steps), 1)
    windows = np.zeros(steps, np.int32)
    end = window
    while end <= steps:
        windows[end - 1] = window
        window = max(window - shorter, least)
        end += window
    return windows


class _Problem(NamedTuple):
    """The problem of all attacks, and the windows that end at each step."""

    base: Problem
    windows: Int[Array, 'steps']


class _Top(NamedTuple):
    """The image with the largest objective, its gradient, and its value."""

    images: Images
    gradient: Images
    value: PerExample


class _State(NamedTuple):
    """What a step changes.

    Attributes:
        index: the number of steps taken.
        images: the current images.
        previous: the images one step before.
        gradient: the gradient at the current images.
        value: the objective at the images of the last step.
        top: the images with the largest objective.
        step_size: the norm of the next step.
        rises: steps since the last checkpoint that raised the objective.
        checked: the largest objective at the last checkpoint.
        was_reduced: whether the step was halved at the last checkpoint.
        best: the best images with respect to the goal.
    """

    index: Int[Array, '']
    images: Images
    previous: Images
    gradient: Images
    value: PerExample
    top: _Top
    step_size: PerExample
    rises: Counts
    checked: PerExample
    was_reduced: Flags
    best: Best


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Step:
    """One step of APGD; the fields are options of `apgd`."""

    norm: Norm
    goal: Goal

    def __call__(self, problem: _Problem, state: _State) -> _State:
        images = self._move(problem.base, state)
        gradient, value, best = self._look(problem.base, images, state.best)
        is_top = value > state.top.value
        top = _Top(
            jnp.where(_pixels(is_top), images, state.top.images),
            jnp.where(_pixels(is_top), gradient, state.top.gradient),
            jnp.where(is_top, value, state.top.value),
        )
        rises = state.rises + (value > state.value)
        window = problem.windows[state.index]
        is_checkpoint = window > 0
        oscillates = rises <= _RISING * window
        stalls = ~state.was_reduced & (state.checked >= top.value)
        reduces = is_checkpoint & (oscillates | stalls)
        return _State(
            index=state.index + 1,
            images=jnp.where(_pixels(reduces), top.images, images),
            previous=state.images,
            gradient=jnp.where(_pixels(reduces), top.gradient, gradient),
            value=value,
            top=top,
            step_size=jnp.where(reduces, state.step_size / 2, state.step_size),
            rises=jnp.where(is_checkpoint, 0, rises),
            checked=jnp.where(is_checkpoint, top.value, state.checked),
            was_reduced=jnp.where(is_checkpoint, reduces, state.was_reduced),
            best=best,
        )

    def _move(self, problem: Problem, state: _State) -> Images:
        """Go along the gradient and the previous direction, within the ball."""
        move = _pixels(state.step_size) * balls.steepest(state.gradient, self.norm)
        ahead = balls.project(
            state.images + move, problem.images, problem.eps, self.norm
        )
        new = jnp.where(state.index > 0, _NEW, 1.0).astype(ahead.dtype)
        inertia = (1 - new) * (state.images - state.previous)
        images = state.images + new * (ahead - state.images) + inertia
        return balls.project(images, problem.images, problem.eps, self.norm)

    def _look(
        self, problem: Problem, images: Images, best: Best
    ) -> tuple[Images, PerExample, Best]:
        """Compute (gradient, objective, best images) at images."""
        gradient, value, outputs = objectives.differentiate(
            problem.logits, problem.objective, images, problem.labels, problem.targets
        )
        current = goals.measure(
            self.goal, images, outputs, problem.labels, problem.targets
        )
        return gradient, value, goals.better(best, current)

    def begin(self, problem: Problem, keys: Keys) -> _State:
        """Start at a random image in the ball."""
        best = problem.measure(self.goal, problem.images)
        images = balls.random_start(keys, problem.images, problem.eps, self.norm)
        gradient, value, best = self._look(problem, images, best)
        count = len(value)
        return _State(
            index=jnp.int32(0),
            images=images,
            previous=images,
            gradient=gradient,
            value=value,
            top=_Top(images, gradient, value),
            step_size=jnp.full(count, 2 * problem.eps),
            rises=jnp.zeros(count, jnp.int32),
            checked=value,
            was_reduced=jnp.ones(count, bool),
            best=best,
        )


def _run(
    step: _Step, problem: Problem, keys: Keys, steps: int, restarts: int
) -> Attacked:
    loops.require_positive(steps=steps, restarts=restarts)
    windows = jnp.asarray(checkpoint_windows(steps))
    best = None
    for restart in range(restarts):
        state = _begin(step, problem, loops.restart_keys(keys, restart))
        state = loops.repeat(step, _Problem(problem, windows), state, steps)
        best = state.best if best is None else goals.first(best, state.best)
        if not loops.needs_restart(restart, restarts, best.success):
            break
    return best.attacked()


@functools.partial(jax.jit, static_argnums=0)
def _begin(step: _Step, problem: Problem, keys: Keys) -> _State:
    return step.begin(problem, keys)


def _pixels(values: jax.Array) -> jax.Array:
    """Give values of each example the axes of images."""
    return values[:, None, None, None]
