"""Blur by a lens out of focus, by frosted glass, by motion and by zooming.

Gaussian blur is in `image.degrade`.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxvision.image import degrade
from jaxvision.image.types import Image, Scalar

# Weights of the pixels around a pixel, of odd size.
Kernel = Float[np.ndarray, 'k k']
# The place of a pixel in an image whose rows are laid end to end.
Places = Int[Array, 'pixels']


def disk_kernel(radius: float, alias_blur: float) -> Kernel:
    """Weights of a disk that a small Gaussian smooths, without borders of zeros.

    As in the published code, the sum may differ from 1 by a percent for a radius of 8 or more.

    Args:
        radius: of the disk, in pixels.
        alias_blur: std of the Gaussian, in pixels. It has 3 x 3 weights, and 5 x 5 for a radius
            above 8.
    """
    half = max(8, math.floor(radius))
    offsets = np.arange(-half, half + 1)
    squares = offsets**2
    disk = (squares[:, None] + squares <= radius**2).astype(float)
    disk /= disk.sum()
    reach = 1 if radius <= 8 else 2
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / alias_blur) ** 2)
    taps /= taps.sum()
    # As in OpenCV, the border is mirrored at the outermost pixels.
    padded = np.pad(disk, reach, mode='reflect')
    windows = np.lib.stride_tricks.sliding_window_view(padded, (len(taps), len(taps)))
    smooth = np.einsum('yxij,i,j->yx', windows, taps, taps)
    used = np.flatnonzero(smooth.max(0) > 0)
    inside = slice(used[0], used[-1] + 1)
    return smooth[inside, inside]


def convolve(image: Image, kernel: Kernel) -> Image:
    """Convolve each channel with a symmetric kernel, mirrored at the outermost pixels.

    Equal to `scipy.ndimage.convolve` with mode 'mirror'.

    Args:
        image: [H, W, C], with sides above half of the kernel's.
        kernel: [K, K], of odd size.
    """
    half = len(kernel) // 2
    padded = jnp.pad(image, ((half, half), (half, half), (0, 0)), mode='reflect')
    planes = jnp.moveaxis(padded, -1, 0)[:, None]
    weights = jnp.asarray(kernel, image.dtype)[None, None]
    blurred = lax.conv(planes, weights, (1, 1), 'VALID', lax.Precision.HIGHEST)
    return jnp.moveaxis(blurred[:, 0], 0, -1)


def defocus_blur(image: Image, radius: float, alias_blur: float) -> Image:
    """Blur by a disk, as a lens out of focus does.

    Args:
        image: [H, W, C] in [0, 1].
        radius: of the disk, in pixels.
        alias_blur: std of the Gaussian that smooths the disk, in pixels.
    """
    blurred = convolve(image, disk_kernel(radius, alias_blur))
    return jnp.clip(blurred, 0, 1)


def glass_blur(
    key: PRNGKeyArray, image: Image, sigma: float, distance: int, times: int
) -> Image:
    """Blur, replace pixels by random neighbours, and blur again, as frosted glass does.

    Args:
        key: random key of the neighbours.
        image: [H, W, C] in [0, 1].
        sigma: std of both Gaussian blurs, in pixels.
        distance: the neighbours are at most so many rows and columns away.
        times: how often the pixels are replaced.
    """
    height, width, channels = image.shape
    image = degrade.gaussian_blur(image, sigma)
    pixels = image.reshape(height * width, channels)
    for pass_key in jax.random.split(key, times):
        offsets = jax.random.randint(
            pass_key, (2, height, width), -distance, distance, jnp.int32
        )
        pixels = pixels[_replacements(offsets, distance)]
    image = degrade.gaussian_blur(pixels.reshape(image.shape), sigma)
    return jnp.clip(image, 0, 1)


def _replacements(offsets: Int[Array, '2 h w'], distance: int) -> Places:
    """The pixel whose value each pixel gets.

    The published code replaces one pixel after the other, from the last to the first. A neighbour
    behind a pixel has been replaced before, so that values travel along chains of neighbours. Here
    all chains are followed at once, by steps of doubled length.

    Args:
        offsets: rows and columns from each pixel to its neighbour.
        distance: pixels nearer to the border are not replaced.
    """
    _, height, width = offsets.shape
    y = jnp.arange(height)[:, None]
    x = jnp.arange(width)
    places = y * width + x
    is_replaced = (
        (y > distance)
        & (y <= height - distance)
        & (x > distance)
        & (x <= width - distance)
    )
    down, right = offsets
    neighbours = places + jnp.where(is_replaced, down * width + right, 0)
    places = places.ravel()
    neighbours = neighbours.ravel()
    was_replaced = is_replaced.ravel()[neighbours] & (neighbours > places)
    ends = jnp.where(was_replaced, neighbours, places)
    for _ in range(math.ceil(math.log2(height * width))):
        ends = ends[ends]
    return neighbours[ends]


def motion_blur(image: Image, radius: int, sigma: float, degrees: Scalar) -> Image:
    """Blur along a line on one side of each pixel, as ImageMagick's motion blur does.

    Args:
        image: [H, W, C].
        radius: length of the line; 2 radius + 1 pixels are averaged.
        sigma: std of the Gaussian weights along the line, in pixels.
        degrees: direction of the line, 0 to the right and 90 down. It may be traced.
    """
    height, width, channels = image.shape
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    weights /= weights.sum()
    angle = jnp.deg2rad(jnp.asarray(degrees, jnp.float32))
    down = jnp.ceil(steps * jnp.sin(angle) - 0.5).astype(jnp.int32)
    right = jnp.ceil(steps * jnp.cos(angle) - 0.5).astype(jnp.int32)
    reach = 2 * radius
    padded = jnp.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode='edge')
    blurred = jnp.zeros_like(image)
    for step, weight in enumerate(weights):
        start = (reach + down[step], reach + right[step], 0)
        shifted = lax.dynamic_slice(padded, start, (height, width, channels))
        blurred = blurred + float(weight) * shifted
    return blurred


def zoom_blur(image: Image, factors: Sequence[float]) -> Image:
    """Average an image with itself at several magnifications, and clip to [0, 1].

    Args:
        image: [H, W, C] in [0, 1].
        factors: magnifications, at least 1.
    """
    zoomed = [zoom(image, factor) for factor in factors]
    return jnp.clip((image + sum(zoomed)) / (len(zoomed) + 1), 0, 1)


def zoom(image: Image, factor: float) -> Image:
    """Magnify the centre of an image, bilinear. The size of the image stays.

    Equal to `scipy.ndimage.zoom` of order 1 for a crop of H / factor x W / factor pixels. Pixels
    beyond the size are cut off.

    Args:
        image: [H, W, C].
        factor: magnification, at least 1.
    """
    for axis in (0, 1):
        length = image.shape[axis]
        crop = math.ceil(length / factor)
        enlarged = round(crop * factor)
        step = (crop - 1) / max(enlarged - 1, 1)
        first = (enlarged - length) // 2
        positions = (length - crop) // 2 + step * (first + np.arange(length))
        low = np.minimum(positions.astype(int), length - 2)
        shape = [1, 1, 1]
        shape[axis] = length
        fractions = jnp.asarray((positions - low).reshape(shape), image.dtype)
        before = jnp.take(image, low, axis)
        after = jnp.take(image, low + 1, axis)
        image = before + fractions * (after - before)
    return image
