"""Gradients of a score with respect to pixels.

Every function here is pure. Give it a score that is compiled inside, such as a closure over
`jax.jit(apply)`, or compile the call as a whole.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxvision.attribution.types import Activations, Images, Keys, Score
from jaxvision.core.errors import UserError


class Integrated(NamedTuple):
    """Integrated gradients and their error.

    Attributes:
        attribution: contribution of each value of the images to the difference between their
            score and that of the baselines, [B, H, W, C].
        gap: |sum of the attribution - difference of the scores| / |difference of the scores|, [B].
            It is 0 in the limit of many steps, and infinite if the scores are equal but
            the sum is not 0.
        steps: number of gradients that were averaged, [B].
    """

    attribution: Images
    gap: Float[Array, 'b']
    steps: Int[Array, 'b']


def gradient(score: Score, images: Images) -> Images:
    """Gradient of the score with respect to each value of the images.

    Simonyan et al., "Deep Inside Convolutional Networks", 2013.

    Args:
        score: `(images) -> scores [B]`, such as a logit.
        images: in [0, 1].

    Returns:
        The signed gradient, [B, H, W, C]. It is NaN for an image whose gradient is zero everywhere,
        if the call is traced, since an error cannot be raised then.

    Raises:
        UserError: The gradient of an image is zero everywhere.
    """
    return refuse_zero(_gradient(score, images), 'image')


def input_x_gradient(score: Score, images: Images) -> Images:
    """Product of each value of the images and its gradient.

    Of a linear score without a constant, the products sum to the score.

    Args:
        score: `(images) -> scores [B]`, such as a logit.
        images: in [0, 1].

    Raises:
        UserError: The gradient of an image is zero everywhere.
    """
    return images * gradient(score, images)


def smooth_grad(
    score: Score,
    images: Images,
    keys: Keys,
    *,
    samples: int = 16,
    noise: float = 0.15,
) -> Images:
    """Mean gradient over copies of the images with Gaussian noise.

    Smilkov et al., "SmoothGrad", 2017.

    Args:
        score: `(images) -> scores [B]`, such as a logit.
        images: in [0, 1]. Noisy copies may leave this range.
        keys: one for each image.
        samples: number of noisy copies, at least 1.
        noise: std of the noise, as a fraction of the range of each image's values.

    Raises:
        UserError: The mean gradient of an image is zero everywhere.
    """
    axes = (1, 2, 3)
    value_range = jnp.ptp(images, axis=axes, keepdims=True)

    def sample_noise(key: jax.Array, number: int) -> Array:
        key = jax.random.fold_in(key, number)
        return jax.random.normal(key, images.shape[1:], images.dtype)

    total = jnp.zeros_like(images)
    # A loop in Python: a rolled one is several times slower on a CPU.
    for number in range(samples):
        sampled = jax.vmap(sample_noise, (0, None))(keys, number)
        noisy = images + noise * value_range * sampled
        total += _gradient(score, noisy)
    return refuse_zero(total / samples, 'image')


def integrated_gradients(
    score: Score, images: Images, baselines: Images, steps: int
) -> Integrated:
    """Integrate the gradient along the line from a baseline to each image.

    Sundararajan et al., "Axiomatic Attribution for Deep Networks", 2017, by the midpoint
    rule. Values that are equal in image and baseline get exactly 0, whatever they mean. So a black
    baseline cannot explain dark pixels. Average over several baselines if that matters.

    Args:
        score: `(images) -> scores [B]`, such as a logit.
        images: in [0, 1].
        baselines: images without information, [B, H, W, C].
        steps: number of gradients, at least 1.

    Raises:
        UserError: The attribution of an image is zero everywhere.
    """
    result = _integrate(score, images, baselines, steps)
    return result._replace(attribution=refuse_zero(result.attribution, 'image'))


def converged_integrated_gradients(
    score: Score,
    images: Images,
    baselines: Images,
    *,
    tolerance: float = 0.01,
    first_steps: int = 16,
    most_steps: int = 1024,
) -> Integrated:
    """Integrated gradients, with twice the steps until the attributions sum to the score.

    The steps of an image do not depend on the other images. The loop runs on the host, so the call
    cannot be compiled as a whole.

    Args:
        score: `(images) -> scores [B]`, such as a logit.
        images: in [0, 1].
        baselines: images without information, [B, H, W, C].
        tolerance: largest gap of an image that is done.
        first_steps: steps of the first attempt.
        most_steps: no attempt has more steps. An image may then have a larger gap than
            `tolerance`, so read it.

    Raises:
        UserError: The attribution of an image is zero everywhere.
    """
    # A coarse line may miss the part where the gradient is not zero.
    result = _integrate(score, images, baselines, first_steps)
    steps = 2 * first_steps
    while steps <= most_steps and not bool((result.gap <= tolerance).all()):
        finer = _integrate(score, images, baselines, steps)
        is_done = result.gap <= tolerance
        result = Integrated(*map(_choose(is_done), result, finer))
        steps *= 2
    refuse_zero(result.attribution, 'image')
    return result


def refuse_zero(gradients: Activations, layer: str) -> Activations:
    """Return gradients, unless those of an example are zero everywhere.

    A blank map looks like an answer, but it says that the layer does not reach the score.

    Args:
        gradients: [B, ...].
        layer: name of the array with respect to which they were computed.

    Returns:
        `gradients`. In a traced call, NaN for examples whose gradients are all zero.

    Raises:
        UserError: The gradients of an example are zero everywhere, and the call is not traced.
    """
    axes = tuple(range(1, gradients.ndim))
    is_zero = jnp.all(gradients == 0, axis=axes, keepdims=True)
    if isinstance(is_zero, jax.core.Tracer):
        return jnp.where(is_zero, jnp.nan, gradients)
    if bool(is_zero.any()):
        raise zero_gradient(layer)
    return gradients


def zero_gradient(layer: str) -> UserError:
    """Make, but do not raise, the error for a layer without influence on the score."""
    return UserError(
        f'layer={layer}: expected a gradient of the score, but it is zero everywhere. The score '
        'does not depend on this layer, or only on a saturated unit. Choose another layer or '
        'target.'
    )


def _integrate(
    score: Score, images: Images, baselines: Images, steps: int
) -> Integrated:
    """Integrated gradients, which may be zero everywhere."""
    total = jnp.zeros_like(images)
    way = images - baselines
    for step in range(steps):
        fraction = (step + 0.5) / steps
        point = baselines + fraction * way
        total += _gradient(score, point)
    attribution = total / steps * way
    difference = score(images) - score(baselines)
    sums = attribution.sum(axis=(1, 2, 3))
    residual = jnp.abs(sums - difference)
    relative = residual / jnp.abs(difference)
    gap = jnp.where(residual == 0, 0.0, relative)
    return Integrated(attribution, gap, jnp.full(len(images), steps))


def _gradient(score: Score, images: Images) -> Images:
    def total(images: Images) -> Array:
        # The sum, not the mean: a gradient must not depend on the batch size.
        return score(images).sum()

    return jax.grad(total)(images)


def _choose(is_first: Bool[Array, 'b']):
    """Make a function that chooses rows of a first array, or else of a second."""

    def choose(first: Array, second: Array) -> Array:
        shape = (-1, *[1] * (first.ndim - 1))
        return jnp.where(is_first.reshape(shape), first, second)

    return choose
