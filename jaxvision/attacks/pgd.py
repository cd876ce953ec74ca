"""Attacks that follow the gradient with steps of one size: FGSM, PGD and momentum PGD."""

import dataclasses
import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxvision.attacks import balls, goals, loops, objectives
from jaxvision.attacks.goals import Best, Goal
from jaxvision.attacks.types import (
    Attacked,
    Images,
    Keys,
    Labels,
    Logits,
    Norm,
    Objective,
    Scalar,
)

# The iterate that is returned.
Keep = Literal['best', 'last']


def fgsm(
    logits: Logits,
    images: Images,
    labels: Labels,
    keys: Keys,
    *,
    eps: Scalar,
    norm: Norm = 'linf',
    targets: Labels | None = None,
    objective: Objective | None = None,
    keep: Keep = 'best',
) -> Attacked:
    """Take one step of size eps along the gradient (FGSM, Goodfellow et al. 2015).

    With a random start and a step of another size, it is `pgd` with one step. Arguments that
    are not listed are those of `pgd`.

    Args:
        keys: not used; all attacks take the same arguments.
        keep: 'best': the original image if the step made it no better. 'last': the step.
    """
    return pgd(
        logits,
        images,
        labels,
        keys,
        eps=eps,
        norm=norm,
        steps=1,
        step_size=eps,
        targets=targets,
        objective=objective,
        start='original',
        keep=keep,
    )


def pgd(
    logits: Logits,
    images: Images,
    labels: Labels,
    keys: Keys,
    *,
    eps: Scalar,
    norm: Norm = 'linf',
    steps: int = 10,
    step_size: Scalar | None = None,
    momentum: float = 0.0,
    restarts: int = 1,
    targets: Labels | None = None,
    objective: Objective | None = None,
    start: Literal['random', 'original'] = 'random',
    keep: Keep = 'best',
) -> Attacked:
    """Follow the gradient in small steps within the ball (PGD, Madry et al. 2018).

    With momentum it is MI-FGSM (Dong et al. 2018). An example keeps the image of the first restart
    that succeeds.

    Args:
        logits: the classifier of images in [0, 1].
        images: in [0, 1], [B, H, W, C].
        labels: the true classes, [B].
        keys: one key for each example, for the random starts.
        eps: the largest norm of a perturbation, in pixels of [0, 1].
        norm: the norm of a perturbation.
        steps: the number of gradients.
        step_size: the norm of a step; None: 2.5 eps / steps, but at most eps.
        momentum: decay of the sum of earlier gradients, each divided by its L1 norm; 0:
            none.
        restarts: the number of random starts.
        targets: the classes to reach; None: any wrong class.
        objective: what to maximise; None: the cross-entropy, or that of the targets. One that
            needs further arrays is a `jax.tree_util.Partial`.
        start: a random image in the ball, or the original image.
        keep: 'best': the best of the original image and of all iterates. 'last': the
            last iterate, as in adversarial training, which computes nothing else.

    Returns:
        The perturbed images. Each depends on its own image, label and key alone.

    Raises:
        ValueError: `steps` or `restarts` is below 1.
    """
    loops.require_positive(steps=steps, restarts=restarts)
    if step_size is None:
        step_size = default_step_size(eps, steps)
    if objective is None:
        objective = _default_objective(targets)
    problem = Problem.make(logits, images, labels, targets, eps, objective, step_size)
    step = _Step(
        norm=norm,
        momentum=momentum,
        goal='error' if targets is None else 'target',
        keep=keep,
    )
    best = None
    for restart in range(restarts):
        state = _begin(step, start, problem, loops.restart_keys(keys, restart))
        state = loops.repeat(step, problem, state, steps)
        finished = _finish(step, problem, state)
        best = finished if best is None else goals.first(best, finished)
        if not loops.needs_restart(restart, restarts, best.success):
            break
    return best.attacked()


def default_step_size(eps: Scalar, steps: int) -> Scalar:
    """The norm of a step that reaches each point of the ball: 2.5 eps / steps, at most eps."""
    return eps * min(2.5 / steps, 1.0)


def _default_objective(targets: Labels | None) -> Objective:
    if targets is None:
        return objectives.cross_entropy
    return objectives.targeted_cross_entropy


class Problem(NamedTuple):
    """What stays the same during an attack.

    Attributes:
        logits: the classifier, as a `jax.tree_util.Partial`.
        objective: what to maximise, as a `jax.tree_util.Partial`.
        images: the original images.
        labels: the true classes.
        targets: the classes that a targeted objective wants, else the labels.
        eps: the radius of the ball.
        step_size: the norm of a step.
    """

    logits: Logits
    objective: Objective
    images: Images
    labels: Labels
    targets: Labels
    eps: Scalar
    step_size: Scalar

    @classmethod
    def make(
        cls,
        logits: Logits,
        images: Images,
        labels: Labels,
        targets: Labels | None,
        eps: Scalar,
        objective: Objective = objectives.cross_entropy,
        step_size: Scalar = 0.0,
    ) -> 'Problem':
        """Make the problem, with numbers of the images' dtype."""
        return cls(
            loops.as_partial(logits),
            loops.as_partial(objective),
            images,
            labels,
            labels if targets is None else targets,
            jnp.asarray(eps, images.dtype),
            jnp.asarray(step_size, images.dtype),
        )

    def measure(self, goal: Goal, images: Images) -> Best:
        """Measure images against a goal by the classifier."""
        outputs = self.logits(images)
        return goals.measure(goal, images, outputs, self.labels, self.targets)


class _State(NamedTuple):
    """What a step changes.

    Attributes:
        images: the current images.
        velocity: the sum of gradients.
        best: the best images before the current ones; None: the last are kept.
    """

    images: Images
    velocity: Images
    best: Best | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Step:
    """One step of PGD; the fields are options of `pgd`."""

    norm: Norm
    momentum: float
    goal: Goal
    keep: Keep

    def __call__(self, problem: Problem, state: _State) -> _State:
        gradient, _, outputs = objectives.differentiate(
            problem.logits,
            problem.objective,
            state.images,
            problem.labels,
            problem.targets,
        )
        best = state.best
        if best is not None:
            current = goals.measure(
                self.goal, state.images, outputs, problem.labels, problem.targets
            )
            best = goals.better(best, current)
        velocity = gradient
        if self.momentum:
            length = balls.dual_norm(gradient, 'linf')[:, None, None, None]
            gradient = gradient / jnp.where(length > 0, length, 1)
            velocity = self.momentum * state.velocity + gradient
        move = problem.step_size * balls.steepest(velocity, self.norm)
        images = balls.project(
            state.images + move, problem.images, problem.eps, self.norm
        )
        return _State(images, velocity, best)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _begin(step: _Step, start: str, problem: Problem, keys: Keys) -> _State:
    images = problem.images
    best = None
    if step.keep == 'best':
        best = problem.measure(step.goal, images)
    if start == 'random':
        images = balls.random_start(keys, images, problem.eps, step.norm)
    return _State(images, jnp.zeros_like(images), best)


@functools.partial(jax.jit, static_argnums=0)
def _finish(step: _Step, problem: Problem, state: _State) -> Best:
    last = problem.measure(step.goal, state.images)
    if state.best is None:
        return last
    return goals.better(state.best, last)
