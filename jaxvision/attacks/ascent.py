"""PGD on any loss of an image, such as that of a detector or a segmenter."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from jaxvision.attacks import balls, loops
from jaxvision.attacks.pgd import default_step_size
from jaxvision.attacks.types import Flags, Images, Keys, Norm, PerExample, Scalar

# `(images in [0, 1]) -> loss` of each image, in inference mode.
Loss = Callable[[Images], PerExample]
# True for the pixels that an attack may change.
Free = Bool[Array, 'b h w 1']


class Ascended(NamedTuple):
    """The result of an attack on a loss.

    Attributes:
        images: the images with the largest loss, in [0, 1].
        losses: their losses.
    """

    images: Images
    losses: PerExample


def ascend(
    loss: Loss,
    images: Images,
    keys: Keys,
    *,
    eps: Scalar,
    norm: Norm = 'linf',
    steps: int = 20,
    step_size: Scalar | None = None,
    restarts: int = 1,
    free: Free | None = None,
) -> Ascended:
    """Raise the loss of each image in small steps within the ball (PGD, Madry et al. 2018).

    The host repeats one compiled step, because the loss of a detector compiles slowly.
    Arguments that are not listed are those of `pgd.pgd`.

    Args:
        loss: the loss. A `jax.tree_util.Partial` of a function, its variables and its
            targets is compiled once for all of the same shapes.
        free: the pixels that may change, such as those that are no padding; None: all.

    Returns:
        The best of the original image and of all iterates. Each image depends on its
        own targets and key alone.

    Raises:
        ValueError: `steps` or `restarts` is below 1.
    """
    loops.require_positive(steps=steps, restarts=restarts)
    if step_size is None:
        step_size = default_step_size(eps, steps)
    if free is None:
        free = jnp.ones((*images.shape[:3], 1), bool)
    problem = _Problem(
        loops.as_partial(loss),
        images,
        free,
        jnp.asarray(eps, images.dtype),
        jnp.asarray(step_size, images.dtype),
    )
    best = Ascended(images, losses_of(problem.loss, images))
    for restart in range(restarts):
        images = _start(problem, loops.restart_keys(keys, restart), norm)
        for _ in range(steps):
            images, best = _step(problem, images, best, norm)
        best = _better(best, images, losses_of(problem.loss, images))
    return best


@jax.jit
def losses_of(loss: Loss, images: Images) -> PerExample:
    """The losses of images, compiled. `loss` is a `jax.tree_util.Partial`."""
    return loss(images)


class _Problem(NamedTuple):
    """The constants of an attack; see the arguments of `ascend`."""

    loss: Loss
    images: Images
    free: Free
    eps: Scalar
    step_size: Scalar


@functools.partial(jax.jit, static_argnums=2)
def _start(problem: _Problem, keys: Keys, norm: Norm) -> Images:
    images = balls.random_start(keys, problem.images, problem.eps, norm)
    return jnp.where(problem.free, images, problem.images)


@functools.partial(jax.jit, static_argnums=3)
def _step(
    problem: _Problem, images: Images, best: Ascended, norm: Norm
) -> tuple[Images, Ascended]:
    """Take one step; return the next images and the best ones before them."""

    def total(images: Images) -> tuple[Array, PerExample]:
        losses = problem.loss(images)
        return losses.sum(), losses

    gradient, losses = jax.grad(total, has_aux=True)(images)
    # A NaN pixel would count as a large loss.
    gradient = jnp.where(jnp.isfinite(gradient) & problem.free, gradient, 0)
    best = _better(best, images, losses)
    move = problem.step_size * balls.steepest(gradient, norm)
    images = balls.project(images + move, problem.images, problem.eps, norm)
    return images, best


@jax.jit
def _better(best: Ascended, images: Images, losses: PerExample) -> Ascended:
    """Choose the image with the larger loss; a NaN is no larger loss."""
    is_larger: Flags = losses > best.losses
    return Ascended(
        jnp.where(is_larger[:, None, None, None], images, best.images),
        jnp.where(is_larger, losses, best.losses),
    )
