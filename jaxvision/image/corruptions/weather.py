"""Snow, frost and fog."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxvision.image import color
from jaxvision.image.corruptions import blur
from jaxvision.image.types import Image, Scalar

# One value for each pixel, in [0, 1].
Layer = Float[Array, 'h w']
Square = Float[Array, 'n n']

# The colour of ice at its brightest, and the number of its crystals.
_ICE = (0.86, 0.94, 1.0)
_CRYSTALS = 24
# Needles of ice along half the diagonal of an image.
_NEEDLES = 48


def snow(
    key: PRNGKeyArray,
    image: Image,
    *,
    mean: float,
    std: float,
    magnification: float,
    threshold: Scalar,
    radius: int,
    sigma: float,
    weight: Scalar,
) -> Image:
    """Whiten an image, and add falling flakes of snow.

    Args:
        key: random key of the flakes and their direction.
        image: [H, W, 1 or 3] in [0, 1].
        mean: of the normal numbers from which flakes are made.
        std: of these numbers.
        magnification: size of a flake, in pixels.
        threshold: numbers below it are no flakes.
        radius: length of the motion blur of flakes, in pixels.
        sigma: std of the weights of the motion blur, in pixels.
        weight: of the image; the rest is a whitened copy.
    """
    flake_key, angle_key = jax.random.split(key)
    shape = (*image.shape[:2], 1)
    numbers = mean + std * jax.random.normal(flake_key, shape, jnp.float32)
    layer = blur.zoom(numbers, magnification)
    layer = jnp.where(layer < threshold, 0, jnp.clip(layer, 0, 1))
    degrees = jax.random.uniform(angle_key, (), jnp.float32, -135, -45)
    layer = blur.motion_blur(layer, radius, sigma, degrees).astype(image.dtype)
    white = jnp.maximum(image, 1.5 * color.grayscale(image) + 0.5)
    whitened = weight * image + (1 - weight) * white
    return jnp.clip(whitened + layer + layer[::-1, ::-1], 0, 1)


def fog(key: PRNGKeyArray, image: Image, amount: float, decay: float) -> Image:
    """Add a fractal of fog, and scale the result to the brightness of the image.

    Args:
        key: random key of the fractal.
        image: [H, W, C] in [0, 1].
        amount: of fog, at least 0.
        decay: see `plasma`. A larger decay gives smoother fog.
    """
    height, width, _ = image.shape
    size = 2 ** math.ceil(math.log2(max(height, width)))
    heights = plasma(key, size, decay)[:height, :width, None]
    brightest = image.max()
    foggy = (image + amount * heights.astype(image.dtype)) * brightest
    return jnp.clip(foggy / (brightest + amount), 0, 1)


def plasma(key: PRNGKeyArray, size: int, decay: float) -> Square:
    """Random heights in [0, 1] by the diamond-square algorithm (Fournier et al. 1982), periodic.

    Args:
        key: random key.
        size: a power of two.
        decay: from a scale to half of it, the random heights fall by decay^2.
    """
    numbers = jax.random.uniform(key, (size * size,), jnp.float32, -1, 1)
    heights = jnp.zeros((1, 1), jnp.float32)
    limit = 1.0
    for level in range(int(math.log2(size))):
        cells = 2**level
        used = numbers[cells**2 : 4 * cells**2].reshape(3, cells, cells)
        in_middle, in_row, in_column = limit * used
        along_row = heights + jnp.roll(heights, -1, 1)
        along_column = heights + jnp.roll(heights, -1, 0)
        # A new point between four others is their mean and a random number.
        middles = (along_row + jnp.roll(along_row, -1, 0)) / 4 + in_middle
        rows = (along_row + middles + jnp.roll(middles, 1, 0)) / 4 + in_row
        columns = (along_column + middles + jnp.roll(middles, 1, 1)) / 4 + in_column
        upper = jnp.stack([heights, rows], -1).reshape(cells, 2 * cells)
        lower = jnp.stack([columns, middles], -1).reshape(cells, 2 * cells)
        heights = jnp.stack([upper, lower], 1).reshape(2 * cells, 2 * cells)
        limit /= decay**2
    heights = heights - heights.min()
    return heights / heights.max()


def frost(
    key: PRNGKeyArray, image: Image, image_weight: float, ice_weight: float
) -> Image:
    """Add ice to an image, and clip to [0, 1].

    Args:
        key: random key of the ice.
        image: [H, W, C] in [0, 1].
        image_weight: factor of the image.
        ice_weight: factor of the ice.
    """
    height, width, channels = image.shape
    layer = ice(key, height, width)[..., None]
    if channels == 3:
        # Thin ice is blue, thick ice is white.
        tint = jnp.asarray(_ICE)
        layer = layer ** (1 / tint**4)
    layer = layer.astype(image.dtype)
    return jnp.clip(image_weight * image + ice_weight * layer, 0, 1)


def ice(key: PRNGKeyArray, height: int, width: int) -> Layer:
    """Crystals of ice on a window, in [0, 1].

    Each crystal has parallel needles of random heights. A smooth fractal decides how thick the ice
    is. ImageNet-C has six photographs instead.

    Args:
        key: random key.
        height: of the layer in pixels.
        width: of the layer in pixels.
    """
    seed_key, angle_key, needle_key, thick_key = jax.random.split(key, 4)
    diagonal = math.hypot(height, width)
    y, x = jnp.mgrid[:height, :width].astype(jnp.float32) / diagonal
    seeds = jax.random.uniform(seed_key, (_CRYSTALS, 2), jnp.float32)
    seeds = seeds * jnp.array([height, width], jnp.float32) / diagonal
    dy = y[..., None] - seeds[:, 0]
    dx = x[..., None] - seeds[:, 1]
    crystal = jnp.argmin(dy**2 + dx**2, -1)
    angles = jax.random.uniform(angle_key, (_CRYSTALS,), jnp.float32, 0, 2 * math.pi)
    across = jnp.cos(angles)[crystal] * y - jnp.sin(angles)[crystal] * x
    # Needles wrap around, so that each distance from the first one has a needle.
    place = across * 2 * _NEEDLES
    low = jnp.floor(place)
    fraction = place - low
    low = low.astype(jnp.int32) % _NEEDLES
    heights = jax.random.uniform(needle_key, (_CRYSTALS, _NEEDLES), jnp.float32)
    needles = (1 - fraction) * heights[crystal, low]
    needles = needles + fraction * heights[crystal, (low + 1) % _NEEDLES]
    size = 2 ** math.ceil(math.log2(max(height, width)))
    thickness = plasma(thick_key, size, 1.8)[:height, :width]
    layer = (0.25 + 0.75 * thickness) * (0.45 + 0.9 * needles**2)
    return jnp.clip(layer, 0, 1)
