"""What the two players of a GAN minimise, and the gradient penalties on the discriminator.

Scores are raw, without a sigmoid, and higher for what looks real. A patch discriminator's map of
scores gives a map of losses.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.nn import relu, softplus
from jaxtyping import Array, Float

from jaxvision.core import errors

Score = Callable[[Float[Array, 'b ...']], Float[Array, 'b']]

_DISCRIMINATOR = {
    'non_saturating': lambda r, f: softplus(-r) + softplus(f),  # Goodfellow et al. 2014
    'hinge': lambda r, f: relu(1 - r) + relu(1 + f),  # Lim and Ye 2017
    'wasserstein': lambda r, f: f - r,  # Arjovsky et al. 2017
    'relativistic': lambda r, f: softplus(f - r),  # Jolicoeur-Martineau 2018; R3GAN
}
_GENERATOR = {
    'non_saturating': lambda r, f: softplus(-f),  # Goodfellow et al. 2014, section 3
    'hinge': lambda r, f: -f,  # Lim and Ye 2017
    'wasserstein': lambda r, f: -f,  # Arjovsky et al. 2017
    'relativistic': lambda r, f: softplus(r - f),  # Jolicoeur-Martineau 2018; R3GAN
}
KINDS = tuple(_DISCRIMINATOR)


def discriminator(
    kind: str, real: Float[Array, '*b'], fake: Float[Array, '*b']
) -> Float[Array, '*b']:
    """The discriminator's loss, given its scores of real and of generated images.

    `kind`: 'non_saturating', 'hinge', 'wasserstein' or 'relativistic', which pairs the i-th real
    with the i-th fake (R3GAN, Huang et al. 2024); another raises a ValueError that lists them.
    """
    return _loss(_DISCRIMINATOR, kind, real, fake)


def generator(
    kind: str, real: Float[Array, '*b'], fake: Float[Array, '*b']
) -> Float[Array, '*b']:
    """The generator's loss, given the same scores; only 'relativistic' looks at the real ones."""
    return _loss(_GENERATOR, kind, real, fake)


def _loss(table, kind, real, fake):
    if kind not in table:
        raise errors.unknown('adversarial loss', kind, KINDS)
    return table[kind](_at_least_float32(real), _at_least_float32(fake))


def squared_gradient(score: Score, images: Float[Array, 'b ...']) -> Float[Array, 'b']:
    """||d score_i / d image_i||^2, exact: R1 on real images, R2 on fake ones.

    The loss takes gamma / 2 of it (Mescheder et al. 2018). `score` gives each image a score of
    its own: a batch norm that mixes the images would mix their gradients.
    """
    return jnp.square(_flat_gradients(score, images)).sum(-1)


def interpolation_penalty(
    score: Score,
    real: Float[Array, 'b ...'],
    fake: Float[Array, 'b ...'],
    share: Float[Array, 'b'],
) -> Float[Array, 'b']:
    """(||d score_i / d x_i|| - 1)^2 at x = share * real + (1 - share) * fake, share ~ U(0, 1).

    WGAN-GP (Gulrajani et al. 2017, equation 3), whose loss takes 10 of it; `score` as above.
    """
    share = share.astype(real.dtype).reshape(-1, *[1] * (real.ndim - 1))
    gradients = _flat_gradients(score, share * real + (1 - share) * fake)
    # A norm has no gradient at 0, where a last layer of zeros starts: there it is taken as 0.
    return jnp.square(optax.safe_norm(gradients, 0.0, axis=-1) - 1)


def _flat_gradients(score: Score, images: Float[Array, 'b ...']) -> Float[Array, 'b d']:
    gradients = jax.grad(lambda x: score(x).sum())(images)
    return _at_least_float32(gradients).reshape(len(images), -1)


def _at_least_float32(x: Float[Array, '...']) -> Float[Array, '...']:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
