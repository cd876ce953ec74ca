"""Shot noise and impulse noise. Gaussian noise is in `image.degrade`."""

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from jaxvision.image.types import Image


def shot_noise(key: PRNGKeyArray, image: Image, photons: float) -> Image:
    """Replace each value by a Poisson number of photons, and clip to [0, 1].

    Args:
        key: random key.
        image: [H, W, C] in [0, 1].
        photons: mean number of photons at the value 1. Fewer photons give more noise.
    """
    counts = jax.random.poisson(key, image.astype(jnp.float32) * photons)
    return jnp.clip(counts.astype(image.dtype) / photons, 0, 1)


def impulse_noise(key: PRNGKeyArray, image: Image, fraction: float) -> Image:
    """Set random values to 0 or 1 (`skimage.util.random_noise(mode='s&p')`).

    Args:
        key: random key.
        image: [H, W, C] in [0, 1].
        fraction: of all values, each channel on its own. Half of them become 1.
    """
    changed_key, white_key = jax.random.split(key)
    is_changed = jax.random.uniform(changed_key, image.shape, jnp.float32) < fraction
    is_white = jax.random.uniform(white_key, image.shape, jnp.float32) < 0.5
    impulses = is_white.astype(image.dtype)
    return jnp.where(is_changed, impulses, image)
