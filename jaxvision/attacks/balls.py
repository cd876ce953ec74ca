"""The set of allowed perturbations: an Linf or L2 ball around an image, within [0, 1]."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvision.attacks.types import Images, Keys, Norm, PerExample, Radius

_PIXELS = (1, 2, 3)


def project(images: Images, originals: Images, eps: Radius, norm: Norm) -> Images:
    """Move images to the ball around their originals, and to [0, 1].

    With 'linf' this is the nearest allowed image. With 'l2' pixels are first limited to [0, 1].
    Then the remaining perturbation is scaled down to the length eps. It is not scaled first: a
    change that [0, 1] forbids would use up a part of eps.

    Args:
        images: any real pixels.
        originals: the centres of the balls, in [0, 1].
        eps: the radius, in pixels of [0, 1].
        norm: the norm of the ball.
    """
    images = jnp.clip(images, 0, 1)
    if norm == 'linf':
        return jnp.clip(images, originals - eps, originals + eps)
    delta = images - originals
    length = l2_norm(delta)
    scale = jnp.where(length > eps, eps / jnp.where(length > 0, length, 1), 1)
    # Rounding may leave [0, 1] by one unit in the last place.
    return jnp.clip(originals + scale * delta, 0, 1)


def steepest(gradient: Images, norm: Norm) -> Images:
    """The direction of norm 1 along which a linear function rises most.

    It is the sign of the gradient for 'linf', and the gradient divided by its length for
    'l2'. A gradient of 0 gives 0.
    """
    if norm == 'linf':
        return jnp.sign(gradient)
    # Squares of gradients below 1e-19 would vanish in float32.
    largest = jnp.abs(gradient).max(_PIXELS, keepdims=True)
    scaled = gradient / jnp.where(largest > 0, largest, 1)
    length = l2_norm(scaled)
    return scaled / jnp.where(length > 0, length, 1)


def random_start(keys: Keys, originals: Images, eps: Radius, norm: Norm) -> Images:
    """Draw an image uniformly from the ball around each original, and limit it to [0, 1].

    Args:
        keys: one key for each example.
        originals: the centres of the balls, in [0, 1].
        eps: the radius, in pixels of [0, 1].
        norm: the norm of the ball.
    """
    shape = originals.shape[1:]
    dtype = originals.dtype
    if norm == 'linf':

        def draw(key):
            return jax.random.uniform(key, shape, dtype, -1, 1)
    else:

        def draw(key):
            # The last two of n + 2 normal numbers leave the first n uniform in the ball.
            normal = jax.random.normal(key, (originals[0].size + 2,), dtype)
            return (normal[:-2] / jnp.linalg.norm(normal)).reshape(shape)

    return project(originals + eps * jax.vmap(draw)(keys), originals, eps, norm)


def distance(images: Images, originals: Images, norm: Norm) -> PerExample:
    """The norm of each perturbation, in pixels of [0, 1]."""
    delta = images - originals
    if norm == 'linf':
        return jnp.abs(delta).max(_PIXELS)
    return l2_norm(delta)[:, 0, 0, 0]


def l2_norm(delta: Images) -> Float[Array, 'b 1 1 1']:
    """The Euclidean length of each perturbation."""
    return jnp.sqrt(jnp.square(delta).sum(_PIXELS, keepdims=True))


def dual_norm(gradient: Images, norm: Norm) -> PerExample:
    """The largest rise of a linear function in a ball of radius 1.

    It is the sum of absolute values for 'linf', and the length for 'l2'.
    """
    if norm == 'linf':
        return jnp.abs(gradient).sum(_PIXELS)
    return l2_norm(gradient)[:, 0, 0, 0]


def to_8_bits(images: Images, originals: Images, eps: Radius, norm: Norm) -> Images:
    """Round perturbed images to the values k / 255 of an image file, within the ball.

    With 'linf' each pixel goes to the nearest value that is at most eps from the original. With
    'l2' each goes to the nearest value between itself and its original. The originals must
    be multiples of 1/255 themselves.

    Args:
        images: perturbed images, in [0, 1].
        originals: the images before, in [0, 1].
        eps: the radius, in pixels of [0, 1].
        norm: the norm of the ball.
    """
    steps = (images - originals) * 255
    # 8/255 is a whole number of steps but for rounding.
    slack = 1e-3
    if norm == 'linf':
        most = jnp.floor(eps * 255 + slack)
        steps = jnp.clip(jnp.round(steps), -most, most)
    else:
        steps = jnp.trunc(steps + slack * jnp.sign(steps))
    return jnp.round(jnp.clip(originals * 255 + steps, 0, 255)) / 255
