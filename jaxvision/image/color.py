"""Colour operations on one image [H, W, C] in [0, 1]: pure, for jit and vmap, results in [0, 1].

The adjust_* functions equal Pillow's ImageEnhance, as used by AutoAugment, RandAugment and
torchvision, but without rounding to 8 bits. A factor of 1 changes nothing. The functions of these
names in tf.image and dm_pix differ.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Int, Num, PRNGKeyArray

from jaxvision.image.types import Image, Index, Scalar

Levels = Int[Array, 'h w c']
# Means and stds, one number for each channel.
PerChannel = Sequence[float]


def to_float(
    image: Num[Array, '*shape'],
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, '*shape']:
    """Scale intensities from [0, 255], uint8 or float, to [0, 1]: divide by 255."""
    return image.astype(dtype) / 255


def normalize(
    image: Float[Array, '*shape c'],
    mean: PerChannel,
    std: PerChannel,
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
            f'normalize: expected one number for each of {channels} channels, but mean has '
            f'{len(mean)} numbers and std has {len(std)}.'
        )
    mean = jnp.array(mean, image.dtype)
    std = jnp.array(std, image.dtype)
    return (image - mean) / std


def grayscale(image: Image) -> Float[Array, 'h w 1']:
    """Convert an RGB image to luma (ITU-R 601-2, Pillow's mode 'L').

    An image with one channel is returned unchanged.

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
        f'grayscale: expected 1 or 3 channels, but the image has {channels}.'
    )


def invert(image: Image) -> Image:
    """Invert all values: 1 - image."""
    return 1 - image


def _blend(
    degenerate: Float[Array, '...'],
    image: Image,
    factor: Scalar,
) -> Image:
    """Interpolate from a degenerate image (factor 0) to the image (1) and beyond, and clip."""
    factor = jnp.asarray(factor, image.dtype)
    blended = degenerate + factor * (image - degenerate)
    return jnp.clip(blended, 0, 1)


def adjust_brightness(
    image: Image,
    factor: Scalar,
) -> Image:
    """Multiply by a factor and clip to [0, 1] (`ImageEnhance.Brightness`)."""
    black = jnp.zeros_like(image)
    return _blend(black, image, factor)


def adjust_contrast(
    image: Image,
    factor: Scalar,
) -> Image:
    """Scale the difference from the mean luma by a factor (`ImageEnhance.Contrast`).

    Factor 0 gives uniform grey, the image's mean luma. Factor 1 changes nothing. The
    result is clipped to [0, 1]. The image has 1 or 3 channels, or `ValueError` is
    raised.
    """
    mean_luma = jnp.mean(grayscale(image))
    return _blend(mean_luma, image, factor)


def adjust_saturation(
    image: Image,
    factor: Scalar,
) -> Image:
    """Scale the difference from each pixel's luma by a factor (`ImageEnhance.Color`).

    Factor 0 gives a grey image of as many channels, 1 changes nothing. The result is
    clipped to [0, 1]. The image has 1 or 3 channels, or `ValueError` is raised.
    """
    return _blend(grayscale(image), image, factor)


def adjust_sharpness(
    image: Image,
    factor: Scalar,
) -> Image:
    """Scale the difference from a smooth image by a factor (`ImageEnhance.Sharpness`).

    Factor 0 gives the image smoothed over 3x3 pixels, 1 the image itself, and more than
    1 sharpens. The result is clipped to [0, 1]. Pixels at the border do not change.
    """
    inside = image[1:-1, 1:-1]
    rows = image[:-2] + image[1:-1] + image[2:]
    box = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    smooth_inside = (box + 4 * inside) / 13
    # As in Pillow, the border is not smoothed.
    smooth = image.at[1:-1, 1:-1].set(smooth_inside)
    return _blend(smooth, image, factor)


def adjust_hue(
    image: Image,
    delta: Scalar,
) -> Image:
    """Rotate the hue, as `tf.image.adjust_hue` does.

    An image with one channel is returned unchanged.

    Args:
        image: [H, W, 1 or 3] in [0, 1].
        delta: the rotation, as a fraction of the colour circle: 1/3 turns red into
            green. Whole numbers change nothing, and negative values are allowed.
    """
    if image.shape[-1] == 1:
        return image
    red, green, blue = jnp.moveaxis(image, -1, 0)
    least = image.min(-1)
    chroma = image.max(-1) - least
    divisor = jnp.where(chroma > 0, chroma, 1)
    # Where channels are equal, the cases agree. dm_pix tests which channel equals the maximum. This
    # is not safe, because a compiler may compute a channel twice with different rounding.
    is_red = (red >= green) & (red >= blue)
    red_sixths = (green - blue) / divisor
    is_green = green >= blue
    green_sixths = 2 + (blue - red) / divisor
    blue_sixths = 4 + (red - green) / divisor
    not_red_sixths = jnp.where(is_green, green_sixths, blue_sixths)
    sixths = jnp.where(is_red, red_sixths, not_red_sixths)
    turned = sixths + 6 * jnp.asarray(delta % 1, image.dtype)
    # On a CPU, this is faster than %.
    turned = turned - 6 * jnp.floor(turned / 6)
    new_red = jnp.abs(turned - 3) - 1
    new_green = 2 - jnp.abs(turned - 2)
    new_blue = 2 - jnp.abs(turned - 4)
    channels = jnp.stack([new_red, new_green, new_blue], -1)
    relative = jnp.clip(channels, 0, 1)
    rotated = least[..., None] + chroma[..., None] * relative
    return jnp.clip(rotated, 0, 1)


def random_color_jitter(
    key: PRNGKeyArray,
    image: Image,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
) -> Image:
    """Change brightness, contrast, saturation and hue at random, in this order.

    torchvision has a random order instead. Factors are uniform in
    [max(0, 1 - strength), 1 + strength].

    Args:
        key: random key of the changes.
        image: [H, W, 1 or 3] in [0, 1].
        brightness: strength, at least 0.
        contrast: strength, at least 0.
        saturation: strength, at least 0.
        hue: the largest rotation, as a fraction of the colour circle. The rotation is uniform in
            [-hue, hue].
    """
    strength = jnp.array([brightness, contrast, saturation], jnp.float32)
    uniform = jax.random.uniform(key, (4,), jnp.float32)
    low = jnp.maximum(1 - strength, 0)
    factors = low + uniform[:3] * (1 + strength - low)
    image = adjust_brightness(image, factors[0])
    image = adjust_contrast(image, factors[1])
    image = adjust_saturation(image, factors[2])
    delta = hue * (2 * uniform[3] - 1)
    return adjust_hue(image, delta)


def solarize(
    image: Image,
    threshold: Scalar,
) -> Image:
    """Replace values x at or above a threshold by 1 - x (`ImageOps.solarize`)."""
    threshold = jnp.asarray(threshold, image.dtype)
    return jnp.where(image < threshold, image, 1 - image)


def autocontrast(image: Image) -> Image:
    """Stretch each channel to [0, 1] (`ImageOps.autocontrast`). Constant channels do not change."""
    low = image.min((0, 1))
    high = image.max((0, 1))
    is_constant = high == low
    span = jnp.where(is_constant, 1, high - low)
    stretched = (image - low) / span
    return jnp.where(is_constant, image, stretched)


def _levels(image: Image) -> Levels:
    """Round to 8-bit intensities."""
    return jnp.round(image * 255).astype(jnp.int32)


def posterize(
    image: Image,
    bits: int | Index,
) -> Image:
    """Keep the upper `bits` (0 to 8) of 8-bit intensities (`ImageOps.posterize`).

    Values are rounded to 8 bits first. The result is in [0, 1] again; with 0 bits it is
    black.
    """
    dropped = 8 - bits
    kept = (_levels(image) >> dropped) << dropped
    return to_float(kept, image.dtype)


def equalize(image: Image) -> Image:
    """Flatten the 8-bit histogram of each channel (`ImageOps.equalize`).

    Values are rounded to 8 bits, and the result is in [0, 1] again.
    """
    levels = _levels(image)
    table = jax.vmap(_equalizing_table, -1, -1)(levels)
    equalized = jnp.take_along_axis(table[:, None], levels, 0)
    return to_float(equalized, image.dtype)


def _equalizing_table(levels: Int[Array, 'h w']) -> Int[Array, '256']:
    """Pillow's look-up table: the number of darker pixels, in units of 1/255 of all pixels."""
    counts = jnp.zeros(256, jnp.int32).at[levels.ravel()].add(1)
    # Pillow does not count the pixels of the brightest level, so that it maps to 255.
    step = (levels.size - counts[levels.max()]) // 255
    darker = jnp.cumsum(counts) - counts
    rounded = (darker + step // 2) // jnp.maximum(step, 1)
    table = jnp.clip(rounded, 0, 255)
    table = jnp.where(step == 0, jnp.arange(256), table)
    return table.astype(jnp.int32)


def random_jitter(key: PRNGKeyArray, image: Image, strength: float) -> Image:
    """Change colours at random by `random_color_jitter`, with one strength.

    Args:
        key: random key of the changes.
        image: [H, W, 1 or 3] in [0, 1].
        strength: of brightness, contrast and saturation, at least 0. The hue has a
            quarter of it.
    """
    return random_color_jitter(key, image, strength, strength, strength, strength / 4)
