"""Colour operations on one image [H, W, C] in [0, 1]: pure, for jit and vmap, results in [0, 1].

The adjust_* functions are those of Pillow's ImageEnhance, which define AutoAugment, RandAugment
and torchvision, without its rounding to 8 bits. A factor of 1 changes nothing. (tf.image and
dm_pix have other functions under these names.)
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Int, Num, PRNGKeyArray

Scalar = float | int | Float[Array, '']


def to_float(
    image: Num[Array, '*shape'], dtype: DTypeLike = jnp.float32
) -> Float[Array, '*shape']:
    """Scale intensities from [0, 255], uint8 or float, to [0, 1]."""
    return image.astype(dtype) / 255


def normalize(
    image: Float[Array, '*shape c'], mean: Sequence[float], std: Sequence[float]
) -> Float[Array, '*shape c']:
    """Subtract the mean and divide by the std of each channel.

    Args:
        image: [..., C].
        mean: one number for each channel.
        std: one number for each channel.

    Raises:
        ValueError: `mean` or `std` does not hold one number for each channel.
    """
    channels = image.shape[-1]
    if len(mean) != channels or len(std) != channels:
        raise ValueError(
            f'normalize: the image has {channels} channels, but mean has {len(mean)} numbers '
            f'and std has {len(std)}; give one for each channel.'
        )
    return (image - jnp.array(mean, image.dtype)) / jnp.array(std, image.dtype)


def grayscale(image: Float[Array, 'h w c']) -> Float[Array, 'h w 1']:
    """Luma of an RGB image (ITU-R 601-2, Pillow's mode 'L'). One channel stays as it is.

    Raises:
        ValueError: The image has neither 1 nor 3 channels.
    """
    channels = image.shape[-1]
    if channels == 1:
        return image
    if channels == 3:
        weights = jnp.array([0.299, 0.587, 0.114], image.dtype)
        return jnp.sum(image * weights, -1, keepdims=True)
    raise ValueError(
        f'grayscale: luma is of 1 or 3 channels, but the image has {channels}.'
    )


def invert(image: Float[Array, 'h w c']) -> Float[Array, 'h w c']:
    """The negative, 1 - image."""
    return 1 - image


def _blend(
    degenerate: Float[Array, '...'], image: Float[Array, 'h w c'], factor: Scalar
) -> Float[Array, 'h w c']:
    """Interpolate from a degenerate image (factor 0) to the image (1) and beyond, clipped."""
    factor = jnp.asarray(factor, image.dtype)
    return jnp.clip(degenerate + factor * (image - degenerate), 0, 1)


def adjust_brightness(
    image: Float[Array, 'h w c'], factor: Scalar
) -> Float[Array, 'h w c']:
    """Multiply by a factor and clip (`ImageEnhance.Brightness`)."""
    return _blend(jnp.zeros_like(image), image, factor)


def adjust_contrast(
    image: Float[Array, 'h w c'], factor: Scalar
) -> Float[Array, 'h w c']:
    """Scale the difference to the mean luma by a factor (`ImageEnhance.Contrast`)."""
    return _blend(jnp.mean(grayscale(image)), image, factor)


def adjust_saturation(
    image: Float[Array, 'h w c'], factor: Scalar
) -> Float[Array, 'h w c']:
    """Scale the difference to each pixel's luma by a factor (`ImageEnhance.Color`)."""
    return _blend(grayscale(image), image, factor)


def adjust_sharpness(
    image: Float[Array, 'h w c'], factor: Scalar
) -> Float[Array, 'h w c']:
    """Scale the difference to a 3x3 smoothed image by a factor (`ImageEnhance.Sharpness`)."""
    rows = image[:-2] + image[1:-1] + image[2:]
    box = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    smooth = (box + 4 * image[1:-1, 1:-1]) / 13
    return _blend(image.at[1:-1, 1:-1].set(smooth), image, factor)


def adjust_hue(image: Float[Array, 'h w c'], delta: Scalar) -> Float[Array, 'h w c']:
    """Rotate the hue, as `tf.image.adjust_hue` does. One channel stays as it is.

    Args:
        image: [H, W, 1 or 3].
        delta: the rotation, as a fraction of the colour circle.
    """
    if image.shape[-1] == 1:
        return image
    red, green, blue = jnp.moveaxis(image, -1, 0)
    least = image.min(-1)
    chroma = image.max(-1) - least
    divisor = jnp.where(chroma > 0, chroma, 1)
    # The cases agree where channels are equal. To ask which channel equals the greatest, as dm_pix
    # does, is not safe: a compiler may compute a channel twice, rounded differently.
    is_red = (red >= green) & (red >= blue)
    red_sixths = (green - blue) / divisor
    is_green = green >= blue
    green_sixths = 2 + (blue - red) / divisor
    blue_sixths = 4 + (red - green) / divisor
    sixths = jnp.where(
        is_red, red_sixths, jnp.where(is_green, green_sixths, blue_sixths)
    )
    turned = sixths + 6 * jnp.asarray(delta % 1, image.dtype)
    turned = turned - 6 * jnp.floor(turned / 6)  # On a CPU, this is faster than %.
    new_red = jnp.abs(turned - 3) - 1
    new_green = 2 - jnp.abs(turned - 2)
    new_blue = 2 - jnp.abs(turned - 4)
    relative = jnp.clip(jnp.stack([new_red, new_green, new_blue], -1), 0, 1)
    return jnp.clip(least[..., None] + chroma[..., None] * relative, 0, 1)


def random_color_jitter(
    key: PRNGKeyArray,
    image: Float[Array, 'h w c'],
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
) -> Float[Array, 'h w c']:
    """Change brightness, contrast, saturation and hue at random, in this order.

    torchvision shuffles the four. A factor is uniform in [max(0, 1 - strength), 1 + strength].

    Args:
        key: draws the changes.
        image: [H, W, C] in [0, 1].
        brightness: strength, at least 0.
        contrast: strength, at least 0.
        saturation: strength, at least 0.
        hue: the largest rotation, as a fraction of the colour circle. It is uniform in
            [-hue, hue].
    """
    strength = jnp.array([brightness, contrast, saturation], jnp.float32)
    uniform = jax.random.uniform(key, (4,), jnp.float32)
    low = jnp.maximum(1 - strength, 0)
    factors = low + uniform[:3] * (1 + strength - low)
    image = adjust_brightness(image, factors[0])
    image = adjust_contrast(image, factors[1])
    image = adjust_saturation(image, factors[2])
    return adjust_hue(image, hue * (2 * uniform[3] - 1))


def solarize(image: Float[Array, 'h w c'], threshold: Scalar) -> Float[Array, 'h w c']:
    """Invert the values at or above a threshold (`ImageOps.solarize`)."""
    return jnp.where(image < jnp.asarray(threshold, image.dtype), image, 1 - image)


def autocontrast(image: Float[Array, 'h w c']) -> Float[Array, 'h w c']:
    """Stretch each channel to [0, 1] (`ImageOps.autocontrast`). A constant one stays as it is."""
    low = image.min((0, 1))
    high = image.max((0, 1))
    is_constant = high == low
    stretched = (image - low) / jnp.where(is_constant, 1, high - low)
    return jnp.where(is_constant, image, stretched)


def _levels(image: Float[Array, 'h w c']) -> Int[Array, 'h w c']:
    """The nearest 8-bit intensities."""
    return jnp.round(image * 255).astype(jnp.int32)


def posterize(
    image: Float[Array, 'h w c'], bits: int | Int[Array, '']
) -> Float[Array, 'h w c']:
    """Keep the upper `bits` (0 to 8) of the nearest 8-bit intensities (`ImageOps.posterize`)."""
    dropped = 8 - bits
    return to_float((_levels(image) >> dropped) << dropped, image.dtype)


def equalize(image: Float[Array, 'h w c']) -> Float[Array, 'h w c']:
    """Flatten the 8-bit histogram of each channel (`ImageOps.equalize`)."""
    levels = _levels(image)
    table = jax.vmap(_equalizing_table, -1, -1)(levels)
    return to_float(jnp.take_along_axis(table[:, None], levels, 0), image.dtype)


def _equalizing_table(levels: Int[Array, 'h w']) -> Int[Array, '256']:
    """Pillow's look-up table: the number of darker pixels in steps of 1/255 of all pixels."""
    counts = jnp.zeros(256, jnp.int32).at[levels.ravel()].add(1)
    # Pillow does not count the pixels of the brightest level, so that it maps to 255.
    step = (levels.size - counts[levels.max()]) // 255
    darker = jnp.cumsum(counts) - counts
    table = jnp.clip((darker + step // 2) // jnp.maximum(step, 1), 0, 255)
    return jnp.where(step == 0, jnp.arange(256), table).astype(jnp.int32)
