"""Adversarial losses of a GAN, and gradient penalties on the discriminator.

A discriminator's score is a raw logit, without a sigmoid. Real images should score high. A patch
discriminator gives a map of scores for each image, and the losses then are maps too.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax
from jax.nn import relu, softplus
from jaxtyping import Array, Float

from jaxvision.core import errors

Scores = Float[Array, '*b']
Images = Float[Array, 'b ...']
PerImage = Float[Array, 'b']

# A discriminator as a function: images -> one score for each image.
Score = Callable[[Images], PerImage]
# The scores of real and of generated images -> losses.
Loss = Callable[[Scores, Scores], Scores]

_DISCRIMINATOR = {
    # Goodfellow et al. 2014.
    'non_saturating': lambda real, fake: softplus(-real) + softplus(fake),
    # Lim and Ye 2017.
    'hinge': lambda real, fake: relu(1 - real) + relu(1 + fake),
    # Arjovsky et al. 2017.
    'wasserstein': lambda real, fake: fake - real,
    # Jolicoeur-Martineau 2018; R3GAN, Huang et al. 2024.
    'relativistic': lambda real, fake: softplus(fake - real),
}
_GENERATOR = {
    # Goodfellow et al. 2014, section 3.
    'non_saturating': lambda real, fake: softplus(-fake),
    # Lim and Ye 2017.
    'hinge': lambda real, fake: -fake,
    # Arjovsky et al. 2017.
    'wasserstein': lambda real, fake: -fake,
    # Jolicoeur-Martineau 2018; R3GAN, Huang et al. 2024.
    'relativistic': lambda real, fake: softplus(real - fake),
}
KINDS = tuple(_DISCRIMINATOR)


def discriminator(
    kind: str,
    real: Scores,
    fake: Scores,
) -> Scores:
    """Compute the loss of the discriminator.

    It is small if real images score high and generated ones low.

    Args:
        kind: 'non_saturating', 'hinge', 'wasserstein' or 'relativistic'. The relativistic loss
            compares the i-th real image with the i-th generated one.
        real: the discriminator's scores of real images, of any shape.
        fake: its scores of generated images, of the same shape.

    Returns:
        One loss for each pair of scores, in float32 at least.

    Raises:
        UserError: `kind` is unknown.
    """
    return _loss(_DISCRIMINATOR, kind, real, fake)


def generator(
    kind: str,
    real: Scores,
    fake: Scores,
) -> Scores:
    """Compute the loss of the generator, which is small if generated images score high.

    Args:
        kind: 'non_saturating', 'hinge', 'wasserstein' or 'relativistic'.
        real: the discriminator's scores of real images, of any shape. Only
            'relativistic' depends on them: it compares the i-th real image with the
            i-th generated one.
        fake: its scores of generated images, of the same shape.

    Returns:
        One loss for each pair of scores, in float32 at least.

    Raises:
        UserError: `kind` is unknown.
    """
    return _loss(_GENERATOR, kind, real, fake)


def _loss(
    losses: Mapping[str, Loss],
    kind: str,
    real: Scores,
    fake: Scores,
) -> Scores:
    if kind not in losses:
        raise errors.unknown('adversarial loss', kind, KINDS)
    loss = losses[kind]
    real = _at_least_float32(real)
    fake = _at_least_float32(fake)
    return loss(real, fake)


def squared_gradient(score: Score, images: Images) -> PerImage:
    """Squared norm of the gradient of each image's score: ||d score_i / d image_i||^2.

    This is the penalty R1 on real images, and R2 on generated ones. The loss adds gamma / 2 times
    its mean (Mescheder et al. 2018), which this function does not.

    `score` must give one score for each image and treat images independently. Batch
    normalisation, for example, would mix their gradients.
    """
    gradients = _flat_gradients(score, images)
    return jnp.square(gradients).sum(-1)


def interpolation_penalty(
    score: Score,
    real: Images,
    fake: Images,
    fraction: PerImage,
) -> PerImage:
    """Gradient penalty of WGAN-GP: (||d score_i / d x_i|| - 1)^2 (Gulrajani et al. 2017, eq. 3).

    It is measured at the interpolated images x = fraction * real + (1 - fraction) * fake. The
    paper's loss adds 10 times its mean.

    Args:
        score: the discriminator, as a function from images to one score for each. It
            must treat images independently.
        real: real images, [B, ...].
        fake: generated images, of the same shape.
        fraction: the fraction of the real image in each mixture, [B], usually from U(0, 1).

    Returns:
        One penalty for each image, [B].
    """
    ones = [1] * (real.ndim - 1)
    fraction = fraction.astype(real.dtype)
    fraction = fraction.reshape(-1, *ones)
    interpolated = fraction * real + (1 - fraction) * fake
    gradients = _flat_gradients(score, interpolated)
    # A norm has no gradient at 0, for example under a last layer of zeros. `safe_norm` takes 0.
    norms = optax.safe_norm(gradients, 0.0, axis=-1)
    return jnp.square(norms - 1)


def _flat_gradients(score: Score, images: Images) -> Float[Array, 'b d']:
    """Gradients of the scores with respect to the pixels, one row for each image."""

    def total_score(images: Images) -> Float[Array, '']:
        return score(images).sum()

    gradients = jax.grad(total_score)(images)
    gradients = _at_least_float32(gradients)
    return gradients.reshape(len(images), -1)


def _at_least_float32(x: Float[Array, '...']) -> Float[Array, '...']:
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    return x.astype(dtype)
