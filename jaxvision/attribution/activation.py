"""Activation maximisation: images that a unit of a network answers to most."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Complex, Float, Int, PRNGKeyArray

from jaxvision.attribution.types import Images, Score, Scores
from jaxvision.image.types import Size


class Maximised(NamedTuple):
    """Images of high scores.

    Attributes:
        images: in (0, 1), [B, H, W, C].
        scores: their scores, without shifts, [B].
    """

    images: Images
    scores: Scores


def maximise(
    score: Score,
    key: PRNGKeyArray,
    shape: tuple[int, int, int, int],
    *,
    steps: int = 256,
    rate: float = 0.05,
    shift: int = 4,
) -> Maximised:
    """Find images with a high score by gradient ascent from noise.

    Olah et al., "Feature Visualization", 2017. Adam changes the Fourier coefficients of an image,
    scaled by the inverse frequency as in photographs, and each step sees a randomly shifted image.
    The loop runs on the host.

    Args:
        score: `(images) -> scores [B]`, such as a logit or the mean of a channel. A
            `jax.tree_util.Partial` is compiled once for all of its arrays.
        key: of the first images and the shifts.
        shape: (batch, height, width, channels) of the images.
        steps: of Adam.
        rate: its learning rate.
        shift: largest shift along each axis, pixels. Pixels that leave the image return on
            the other side.
    """
    _, height, width, _ = shape
    scale = inverse_frequencies((height, width))
    batch, _, _, channels = shape
    start_key, shift_key = jax.random.split(key)
    noise = jax.random.normal(start_key, (2, batch, *scale.shape, channels))
    parts = 0.01 * noise
    optimizer_state = optax.adam(rate).init(parts)
    if not isinstance(score, jax.tree_util.Partial):
        score = jax.tree_util.Partial(score)
    for step in range(steps):
        step_key = jax.random.fold_in(shift_key, step)
        shifts = jax.random.randint(step_key, (2,), -shift, shift + 1)
        parts, optimizer_state = _step(
            score, parts, optimizer_state, shifts, rate, (height, width)
        )
    images = to_images(parts, scale, (height, width))
    return Maximised(images, score(images))


@functools.partial(jax.jit, static_argnums=(4, 5))
def _step(
    score: Score,
    parts: Float[Array, '2 b h f c'],
    optimizer_state: optax.OptState,
    shifts: Int[Array, '2'],
    rate: float,
    size: Size,
) -> tuple[Float[Array, '2 b h f c'], optax.OptState]:
    """Take a step of Adam towards a higher score of shifted images."""
    scale = inverse_frequencies(size)

    def loss(parts: Array) -> Array:
        images = to_images(parts, scale, size)
        return -score(jnp.roll(images, shifts, axis=(1, 2))).sum()

    gradient = jax.grad(loss)(parts)
    updates, optimizer_state = optax.adam(rate).update(gradient, optimizer_state)
    return optax.apply_updates(parts, updates), optimizer_state


def inverse_frequencies(size: Size) -> Float[np.ndarray, 'h f']:
    """Scale of each Fourier coefficient of a real image: its wavelength in pixels, and unit energy.

    Args:
        size: (height, width) of the image, pixels. A coefficient has the wavelength of its
            frequency, and the constant one the longer side.
    """
    height, width = size
    rows = np.fft.fftfreq(height)[:, None]
    columns = np.fft.rfftfreq(width)[None]
    frequencies = np.hypot(rows, columns)
    wavelengths = 1 / np.maximum(frequencies, 1 / max(height, width))
    return wavelengths * np.sqrt(height * width)


def to_images(
    parts: Float[Array, '2 b h f c'], scale: Float[np.ndarray, 'h f'], size: Size
) -> Images:
    """Make images in (0, 1) from the real and imaginary parts of scaled coefficients.

    Args:
        parts: real and imaginary parts.
        scale: of the coefficients, see `inverse_frequencies`.
        size: (height, width) of the images, pixels.
    """
    real, imaginary = parts
    coefficients: Complex[Array, 'b h f c'] = real + 1j * imaginary
    spectrum = coefficients * scale[:, :, None]
    pixels = jnp.fft.irfft2(spectrum, s=size, axes=(1, 2))
    return jax.nn.sigmoid(pixels)
