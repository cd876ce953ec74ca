"""Antialiased resizing of one image [H, W, C], and the random resized crop.

Each axis is resized by a product with a matrix of weights, so that the box of a crop may be traced.
jax.image has the same kernels. Its float32 coordinates give differences from Pillow of 4e-5 at 500
pixels.
"""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, DTypeLike, Float, Int, PRNGKeyArray

from jaxvision.image.types import Image, Index, Resized, Size

Method = Literal['bilinear', 'bicubic', 'lanczos3']
# Weights by distance in pixels.
Distances = Float[Array, '...']
Kernel = Callable[[Distances], Distances]
# (top, left, height, width) in pixels.
Box = Int[Array, '4']
Range = tuple[float, float]
Weights = Float[Array, 'samples pixels']


def resize(
    image: Image,
    size: Size,
    method: Method = 'bilinear',
) -> Resized:
    """Resize an image, with antialiasing where it shrinks.

    The result equals Pillow's `Image.resize` in mode 'F', and PyTorch's with antialias=True.

    Args:
        image: [H, W, C].
        size: height and width of the result.
        method: 'bilinear', or 'bicubic' (a = -0.5) and 'lanczos3', which may overshoot
            [0, 1].
    """
    kernel = _KERNELS[method]
    dtype = _at_least_float32(image)
    height, width, _ = image.shape
    new_height, new_width = size
    # Constants of the program, because some formats cannot compute them (TFLite's int8).
    with jax.ensure_compile_time_eval():
        first = jnp.int32(0)
        rows = _weights(kernel, height, new_height, first, jnp.int32(height), dtype)
        columns = _weights(kernel, width, new_width, first, jnp.int32(width), dtype)
    return _resampled(rows, image, columns)


def crop_and_resize(
    image: Image,
    box: Box,
    size: Size,
    method: Method = 'bilinear',
) -> Resized:
    """Cut out a box and resize it, with antialiasing where it shrinks, as Pillow does.

    Args:
        image: [H, W, C]. Pixels outside the box have no influence.
        box: (top, left, height, width) in whole pixels, inside the image. It may be
            traced.
        size: height and width of the result.
        method: 'bilinear', or 'bicubic' (a = -0.5) and 'lanczos3', which may overshoot
            [0, 1].
    """
    kernel = _KERNELS[method]
    dtype = _at_least_float32(image)
    image_height, image_width, _ = image.shape
    new_height, new_width = size
    top, left, height, width = box.astype(jnp.int32)
    rows = _weights(kernel, image_height, new_height, top, height, dtype)
    columns = _weights(kernel, image_width, new_width, left, width, dtype)
    return _resampled(rows, image, columns)


def _at_least_float32(image: Image) -> DTypeLike:
    return jnp.promote_types(image.dtype, jnp.float32)


def _resampled(
    rows: Float[Array, 'y h'],
    image: Image,
    columns: Float[Array, 'x w'],
) -> Float[Array, 'y x c']:
    """Combine rows and columns of an image by matrices of weights."""
    precise = lax.Precision.HIGHEST
    # Channels first, because TFLite cannot convert a matrix product around an axis of one channel.
    planes = jnp.moveaxis(image.astype(rows.dtype), -1, 0)
    resized = jnp.matmul(rows, planes, precision=precise)
    resized = jnp.matmul(resized, columns.T, precision=precise)
    resized = jnp.moveaxis(resized, 0, -1)
    return resized.astype(image.dtype)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 5))
def _weights(
    kernel: Kernel,
    pixels: int,
    samples: int,
    start: Index,
    length: Index,
    dtype: DTypeLike,
) -> Weights:
    """Compute the weight of each pixel in each sample of the pixels [start, start + length).

    Args:
        kernel: weights by distance in pixels.
        pixels: length of the axis.
        samples: length of the resized axis.
        start: the first pixel to sample.
        length: number of pixels to sample.
        dtype: of the weights.
    """
    # Sample i lies at start + (i + 1/2) length / samples - 1/2 pixels. Integers are exact, but
    # float32 would round large coordinates.
    twice = (2 * jnp.arange(samples, dtype=jnp.int32) + 1) * length - samples
    whole = start + twice // (2 * samples)
    rest = twice % (2 * samples)
    pixel = jnp.arange(pixels, dtype=jnp.int32)
    whole_distance = whole[:, None] - pixel
    fraction = rest[:, None] / (2 * samples)
    distance = whole_distance + fraction.astype(dtype)
    # If the image shrinks, the kernel becomes as wide as a pixel of the result: a low-pass filter.
    shrinkage = jnp.maximum(length.astype(dtype) / samples, 1)
    weights = kernel(jnp.abs(distance) / shrinkage)
    is_inside = (start <= pixel) & (pixel < start + length)
    weights = jnp.where(is_inside, weights, 0)
    return weights / weights.sum(1, keepdims=True)


def _triangle(x: Distances) -> Distances:
    return jnp.maximum(1 - x, 0)


def _cubic(x: Distances) -> Distances:
    """The kernel of Keys (1981) with a = -1/2."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    far_or_zero = jnp.where(x < 2, far, 0)
    return jnp.where(x < 1, near, far_or_zero)


def _lanczos3(x: Distances) -> Distances:
    windowed = jnp.sinc(x) * jnp.sinc(x / 3)
    return jnp.where(x < 3, windowed, 0)


_KERNELS = {'bilinear': _triangle, 'bicubic': _cubic, 'lanczos3': _lanczos3}


def random_resized_box(
    uniforms: Float[Array, 'tries 4'],
    height: int,
    width: int,
    scale: Range = (0.08, 1.0),
    ratio: Range = (3 / 4, 4 / 3),
) -> Box:
    """Choose a random box for the crop of Inception (Szegedy et al. 2015), as in torchvision.

    Attempt t computes from u = uniforms[t]:

        area = height * width * (scale[0] + u[0] * (scale[1] - scale[0]))
        w / h = ratio[0] * (ratio[1] / ratio[0]) ** u[1]  (log-uniform)
        h = round(sqrt(area / (w / h))), w = round(sqrt(area * (w / h)))
        top = floor(u[2] * (height - h + 1)), left = floor(u[3] * (width - w + 1))

    The first box that fits into the image is chosen. If none fits, it is the largest central box
    with an aspect ratio in the range.

    Args:
        uniforms: numbers in [0, 1), four for each attempt.
        height: of the image in pixels.
        width: of the image in pixels.
        scale: range of the box's area, as a fraction of the image's area.
        ratio: range of the box's width divided by its height.

    Returns:
        (top, left, height, width) of the box in pixels.
    """
    least_area, largest_area = scale
    least_ratio, largest_ratio = ratio
    u0 = uniforms[:, 0]
    u1 = uniforms[:, 1]
    u2 = uniforms[:, 2]
    u3 = uniforms[:, 3]
    area = height * width * (least_area + u0 * (largest_area - least_area))
    w_over_h = least_ratio * (largest_ratio / least_ratio) ** u1
    h = jnp.round(jnp.sqrt(area / w_over_h))
    w = jnp.round(jnp.sqrt(area * w_over_h))
    fits = (h > 0) & (h <= height) & (w > 0) & (w <= width)
    top = jnp.floor(u2 * (height - h + 1))
    left = jnp.floor(u3 * (width - w + 1))
    boxes = jnp.stack([top, left, h, w], 1)
    boxes = boxes.astype(jnp.int32)
    central = jnp.array(_central_box(height, width, ratio), jnp.int32)
    first_fit = boxes[jnp.argmax(fits)]
    return jnp.where(fits.any(), first_fit, central)


def _central_box(
    height: int,
    width: int,
    ratio: Range,
) -> tuple[int, int, int, int]:
    """The largest central box (top, left, height, width) with width / height in the range.

    Args:
        height: of the image in pixels.
        width: of the image in pixels.
        ratio: range of width / height.
    """
    w_over_h = np.clip(width / height, *ratio)
    h = min(height, max(1, round(width / w_over_h)))
    w = min(width, max(1, round(height * w_over_h)))
    top = (height - h) // 2
    left = (width - w) // 2
    return top, left, h, w


def random_resized_crop(
    key: PRNGKeyArray,
    image: Image,
    size: Size,
    scale: Range = (0.08, 1.0),
    ratio: Range = (3 / 4, 4 / 3),
    method: Method = 'bilinear',
) -> Resized:
    """Resize a random box of an image, and clip the result to [0, 1].

    Args:
        key: random key of the box, with ten attempts of `random_resized_box`.
        image: [H, W, C] in [0, 1].
        size: height and width of the result.
        scale: range of the box's area, as a fraction of the image's area.
        ratio: range of the box's width divided by its height.
        method: the kernel, which is antialiased.
    """
    uniforms = jax.random.uniform(key, (10, 4), jnp.float32)
    height, width, _ = image.shape
    box = random_resized_box(uniforms, height, width, scale, ratio)
    resized = crop_and_resize(image, box, size, method)
    return jnp.clip(resized, 0, 1)
