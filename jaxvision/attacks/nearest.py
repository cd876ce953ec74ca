"""The nearest misclassified image, which attacks without a fixed ball look for."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvision.attacks import balls, objectives
from jaxvision.attacks.pgd import Problem
from jaxvision.attacks.types import (
    Attacked,
    Flags,
    Images,
    Labels,
    Logits,
    Norm,
    PerExample,
)

# Bisections between the original image and an adversarial one.
_BISECTIONS = 16


class Nearest(NamedTuple):
    """The nearest misclassified images so far.

    Attributes:
        images: in [0, 1]; the originals where there is none.
        length: the distance of the images; infinite: there is none so far.
    """

    images: Images
    length: PerExample


def begin(problem: Problem) -> Nearest:
    """Start with the original images, which count if they are misclassified."""
    is_wrong = objectives.is_wrong(problem.logits(problem.images), problem.labels)
    length = jnp.where(is_wrong, 0, jnp.inf).astype(problem.images.dtype)
    return Nearest(problem.images, length)


def nearer(
    nearest: Nearest, problem: Problem, images: Images, is_wrong: Flags, norm: Norm
) -> Nearest:
    """Replace the nearest misclassified images by nearer ones.

    Args:
        nearest: the nearest ones so far.
        problem: with the original images.
        images: candidates.
        is_wrong: whether each candidate is misclassified.
        norm: the norm of the distance.
    """
    length = balls.distance(images, problem.images, norm)
    is_nearer = is_wrong & (length < nearest.length)
    return Nearest(
        jnp.where(is_nearer[:, None, None, None], images, nearest.images),
        jnp.where(is_nearer, length, nearest.length),
    )


@functools.partial(jax.jit, static_argnums=3)
def finish(nearest: Nearest, problem: Problem, images: Images, norm: Norm) -> Attacked:
    """Move the nearest images to the boundary, and compare their distance with the limit.

    Args:
        nearest: the nearest misclassified images.
        problem: with the largest norm that counts as a success.
        images: further candidates, such as those of the last step.
        norm: the norm of the distance.

    Returns:
        The nearest misclassified images, and the original images without success.
    """
    crossed = nearest
    for candidates in (images, nearest.images):
        edge = to_boundary(problem.logits, candidates, problem.images, problem.labels)
        is_wrong = objectives.is_wrong(problem.logits(edge), problem.labels)
        nearest = nearer(nearest, problem, edge, is_wrong, norm)
    # With a limit, an image beyond the boundary is better than one on it: the same network in
    # another program may round differently.
    is_enough = jnp.isfinite(problem.eps) & (crossed.length <= problem.eps)
    chosen = jnp.where(_pixels(is_enough), crossed.images, nearest.images)
    success = jnp.isfinite(nearest.length) & (nearest.length <= problem.eps)
    return Attacked(jnp.where(_pixels(success), chosen, problem.images), success)


def to_boundary(
    logits: Logits, images: Images, originals: Images, labels: Labels
) -> Images:
    """Move misclassified images towards their originals, as far as they stay misclassified.

    The boundary is found by bisection, to 1.5e-5 of the distance. Correct images stay.
    """
    is_wrong = objectives.is_wrong(logits(images), labels)
    none = jnp.zeros(len(images), images.dtype)

    def between(fraction):
        return originals + _pixels(fraction) * (images - originals)

    def halve(_, limits):
        near, far = limits
        middle = (near + far) / 2
        is_beyond = objectives.is_wrong(logits(between(middle)), labels)
        return jnp.where(is_beyond, near, middle), jnp.where(is_beyond, middle, far)

    # Without gradients a rolled loop is as fast on a CPU.
    _, far = jax.lax.fori_loop(0, _BISECTIONS, halve, (none, none + 1))
    return jnp.where(_pixels(is_wrong & (far < 1)), between(far), images)


def _pixels(values: PerExample | Flags) -> jax.Array:
    """Give values of each example the axes of images."""
    return values[:, None, None, None]
