"""Colour of one image [H, W, C], float in [0, 1]: pure, for jit and vmap; [0, 1] stays [0, 1].

The adjust_* functions are those of Pillow's ImageEnhance, which AutoAugment, RandAugment and
torchvision are defined by, without its rounding to 8 bits: a factor of 1 changes nothing. (The
functions of these names in tf.image and dm_pix compute other things.)
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Int, Num, PRNGKeyArray

Scalar = float | int | Float[Array, '']


def to_float(
    image: Num[Array, '*shape'], dtype: DTypeLike = jnp.float32
) -> Float[Array, '*shape']:
    """Intensities in [0, 255], uint8 or float, to [0, 1]."""
    return image.astype(dtype) / 255


def normalize(
    image: Float[Array, '*shape c'], mean: Sequence[float], std: Sequence[float]
) -> Float[Array, '*shape c']:
    """(image - mean) / std, a mean and a standard deviation for each channel.

    Raises ValueError unless both hold one number for each channel.
    """
    channels = image.shape[-1]
    if len(mean) != channels or len(std) != channels:
        raise ValueError(
            f'normalize: the image has {channels} channels, but mean has {len(mean)} numbers '
            f'and std has {len(std)}; give one for each channel.'
        )
    return (image - jnp.array(mean, image.dtype)) / jnp.array(std, image.dtype)


def grayscale(image: Float[Array, 'h w c']) -> Float[Array, 'h w 1']:
    """Luma of an RGB image (ITU-R 601-2, Pillow's mode 'L'); a one-channel image as it is.

    Raises ValueError for any other number of channels.
    """
    channels = image.shape[-1]
    if channels == 1:
        return image
    if channels == 3:
        return jnp.sum(
            image * jnp.array([0.299, 0.587, 0.114], image.dtype), -1, keepdims=True
        )
    raise ValueError(
        f'grayscale: luma is of 1 or 3 channels, but the image has {channels}.'
    )


def invert(image: Float[Array, 'h w c']) -> Float[Array, 'h w c']:
    """1 - image."""
    return 1 - image


def _blend(
    degenerate: Float[Array, '...'], image: Float[Array, 'h w c'], factor: Scalar
) -> Float[Array, 'h w c']:
    """From the degenerate image at factor 0 to the image at 1, and beyond it above 1."""
    factor = jnp.asarray(factor, image.dtype)
    return jnp.clip(degenerate + factor * (image - degenerate), 0, 1)


def adjust_brightness(
    image: Float[Array, 'h w c'], factor: Scalar
) -> Float[Array, 'h w c']:
    """`ImageEnhance.Brightness`: factor * image, clipped."""
    return _blend(jnp.zeros_like(image), image, factor)


def adjust_contrast(
    image: Float[Array, 'h w c'], factor: Scalar
) -> Float[Array, 'h w c']:
    """`ImageEnhance.Contrast`: away from the mean luma (factor > 1) or towards it."""
    return _blend(jnp.mean(grayscale(image)), image, factor)


def adjust_saturation(
    image: Float[Array, 'h w c'], factor: Scalar
) -> Float[Array, 'h w c']:
    """`ImageEnhance.Color`: away from the image's luma, or towards it; one channel unchanged."""
    return _blend(grayscale(image), image, factor)


def adjust_sharpness(
    image: Float[Array, 'h w c'], factor: Scalar
) -> Float[Array, 'h w c']:
    """`ImageEnhance.Sharpness`: away from the image smoothed 3x3, or towards it."""
    rows = image[:-2] + image[1:-1] + image[2:]
    box = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    smooth = (box + 4 * image[1:-1, 1:-1]) / 13
    return _blend(image.at[1:-1, 1:-1].set(smooth), image, factor)


def adjust_hue(image: Float[Array, 'h w c'], delta: Scalar) -> Float[Array, 'h w c']:
    """Hue turned by `delta` of the colour circle (1 is once round); one channel unchanged.

    Equal to `tf.image.adjust_hue`.
    """
    if image.shape[-1] == 1:
        return image
    red, green, blue = jnp.moveaxis(image, -1, 0)
    least = image.min(-1)
    chroma = image.max(-1) - least
    divisor = jnp.where(chroma > 0, chroma, 1)
    # The cases meet where channels are equal. To ask which one equals the greatest, as dm_pix does,
    # is not safe: a compiler may compute a channel twice, rounded differently.
    sixths = jnp.where(
        (red >= green) & (red >= blue),
        (green - blue) / divisor,
        jnp.where(
            green >= blue, 2 + (blue - red) / divisor, 4 + (red - green) / divisor
        ),
    )
    turned = sixths + 6 * jnp.asarray(delta % 1, image.dtype)
    turned = turned - 6 * jnp.floor(turned / 6)  # on a CPU faster than %
    shares = [jnp.abs(turned - 3) - 1, 2 - jnp.abs(turned - 2), 2 - jnp.abs(turned - 4)]
    shares = jnp.clip(jnp.stack(shares, -1), 0, 1)
    return jnp.clip(least[..., None] + chroma[..., None] * shares, 0, 1)


def random_color_jitter(
    key: PRNGKeyArray,
    image: Float[Array, 'h w c'],
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
) -> Float[Array, 'h w c']:
    """Brightness, contrast, saturation, hue, in this order (torchvision shuffles the four).

    Factors are uniform in [max(0, 1 - strength), 1 + strength], the hue's turn in [-hue, hue].
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
    """`ImageOps.solarize`: inverts what is at or above the threshold."""
    return jnp.where(image < jnp.asarray(threshold, image.dtype), image, 1 - image)


def autocontrast(image: Float[Array, 'h w c']) -> Float[Array, 'h w c']:
    """`ImageOps.autocontrast`: each channel stretched to [0, 1]; a constant one unchanged."""
    low, high = image.min((0, 1)), image.max((0, 1))
    constant = high == low
    return jnp.where(
        constant, image, (image - low) / jnp.where(constant, 1, high - low)
    )


def _levels(image: Float[Array, 'h w c']) -> Int[Array, 'h w c']:
    """The nearest 8-bit intensities."""
    return jnp.round(image * 255).astype(jnp.int32)


def posterize(
    image: Float[Array, 'h w c'], bits: int | Int[Array, '']
) -> Float[Array, 'h w c']:
    """`ImageOps.posterize`: the upper `bits` (0 to 8) of the nearest 8-bit intensity."""
    dropped = 8 - bits
    return to_float((_levels(image) >> dropped) << dropped, image.dtype)


def equalize(image: Float[Array, 'h w c']) -> Float[Array, 'h w c']:
    """`ImageOps.equalize`: each channel's 8-bit histogram made flat; equal on 8-bit images."""
    levels = _levels(image)
    table = jax.vmap(_equalizing_table, -1, -1)(levels)
    return to_float(jnp.take_along_axis(table[:, None], levels, 0), image.dtype)


def _equalizing_table(levels: Int[Array, 'h w']) -> Int[Array, '256']:
    """Pillow's look-up table: the count of darker pixels, in steps of 1/255 of the whole."""
    counts = jnp.zeros(256, jnp.int32).at[levels.ravel()].add(1)
    # Pillow leaves the brightest level's own pixels out of the whole, so that it maps to 255.
    step = (levels.size - counts[levels.max()]) // 255
    darker = jnp.cumsum(counts) - counts
    table = jnp.clip((darker + step // 2) // jnp.maximum(step, 1), 0, 255)
    return jnp.where(step == 0, jnp.arange(256), table).astype(jnp.int32)
