"""The classes that a classifier predicts for an image with Gaussian noise.

`metrics.certified` makes certificates of these counts (Cohen et al. 2019).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxvision.attacks import loops
from jaxvision.attacks.types import Images, Logits, Scalar

Image = Float[Array, 'h w c']
# How often each of K classes was predicted.
Counts = Int[np.ndarray, 'k']
# The number of a noisy image, from 0.
Number = int | Int[Array, '']


def noisy(
    key: PRNGKeyArray, image: Image, sigma: Scalar, numbers: Int[Array, 'b']
) -> Images:
    """Add independent Gaussian noise to copies of an image. Nothing is clipped.

    Args:
        key: key of the image.
        image: in [0, 1].
        sigma: std of the noise, in pixels of [0, 1].
        numbers: number of each copy, on which its noise depends.

    Returns:
        Copies [B, H, W, C], which leave [0, 1].
    """

    def noise(number):
        return jax.random.normal(
            jax.random.fold_in(key, number), image.shape, image.dtype
        )

    return image + sigma * jax.vmap(noise)(numbers)


def count(
    logits: Logits,
    image: Image,
    key: PRNGKeyArray,
    *,
    sigma: float,
    samples: int,
    batch_size: int,
) -> Counts:
    """Count the classes of an image with noise.

    Args:
        logits: the classifier of images in [0, 1]. It normalises the noisy pixels.
        image: in [0, 1].
        key: key of the image. Another key gives independent noise.
        sigma: std of the noise, in pixels of [0, 1].
        samples: number of noisy images.
        batch_size: noisy images that are classified together. It does not change the
            result, but for rounding.

    Returns:
        Counts [K]. A noisy image whose logits are no numbers counts for no class.
    """
    logits = loops.as_partial(logits)
    parts = [
        _counted(logits, image, key, sigma, start, samples, batch_size)
        for start in range(0, samples, batch_size)
    ]
    return np.sum(jax.device_get(parts), axis=0)


def _count_batch(
    logits: Logits,
    image: Image,
    key: PRNGKeyArray,
    sigma: Scalar,
    start: Number,
    samples: Number,
    batch_size: int,
) -> Int[Array, 'k']:
    """Count the classes of noisy images start, start + 1, ..., below `samples`."""
    numbers = start + jnp.arange(batch_size)
    outputs = logits(noisy(key, image, sigma, numbers))
    is_counted = (numbers < samples) & ~jnp.isnan(outputs).any(-1)
    predicted = jax.nn.one_hot(outputs.argmax(-1), outputs.shape[-1], dtype=jnp.int32)
    return (predicted * is_counted[:, None]).sum(0)


_counted: Callable[..., Array] = jax.jit(_count_batch, static_argnums=6)
