"""Antialiased resizing of one image [H, W, C], and the random resized crop.

Each axis is a product with a matrix of weights, so that a crop's box may be traced. jax.image has
the same kernels, but computes the places of samples in float32: 4e-5 from Pillow at 500 pixels.
"""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, DTypeLike, Float, Int, PRNGKeyArray

Method = Literal['bilinear', 'bicubic', 'lanczos3']
Kernel = Callable[[Float[Array, '...']], Float[Array, '...']]


def resize(
    image: Float[Array, 'h w c'], size: tuple[int, int], method: Method = 'bilinear'
) -> Float[Array, 'new_h new_w c']:
    """Resize an image, antialiased where it shrinks.

    Equal to Pillow's `Image.resize` in mode 'F', and to PyTorch's with antialias=True.

    Args:
        image: [H, W, C].
        size: height and width of the result.
        method: the kernel. Bicubic (a = -0.5) and lanczos3 may overshoot [0, 1].
    """
    kernel = _KERNELS[method]
    dtype = _at_least_float32(image)
    height, width, _ = image.shape
    # Constants of the program, because some formats cannot compute them (TFLite's int8).
    with jax.ensure_compile_time_eval():
        first = jnp.int32(0)
        rows = _weights(kernel, height, size[0], first, jnp.int32(height), dtype)
        columns = _weights(kernel, width, size[1], first, jnp.int32(width), dtype)
    return _resampled(rows, image, columns)


def crop_and_resize(
    image: Float[Array, 'h w c'],
    box: Int[Array, '4'],
    size: tuple[int, int],
    method: Method = 'bilinear',
) -> Float[Array, 'new_h new_w c']:
    """Resize the pixels of a box, as Pillow's `crop` and `resize` do.

    Args:
        image: [H, W, C]. No pixel outside the box has an influence.
        box: top, left, height, width in pixels. It may be traced.
        size: height and width of the result.
        method: as for `resize`.
    """
    kernel = _KERNELS[method]
    dtype = _at_least_float32(image)
    top, left, height, width = box.astype(jnp.int32)
    rows = _weights(kernel, image.shape[0], size[0], top, height, dtype)
    columns = _weights(kernel, image.shape[1], size[1], left, width, dtype)
    return _resampled(rows, image, columns)


def _at_least_float32(image: Float[Array, 'h w c']) -> DTypeLike:
    return jnp.promote_types(image.dtype, jnp.float32)


def _resampled(
    rows: Float[Array, 'y h'],
    image: Float[Array, 'h w c'],
    columns: Float[Array, 'x w'],
) -> Float[Array, 'y x c']:
    # Channels first, because TFLite cannot convert a matrix product around an axis of one channel.
    planes = jnp.moveaxis(image.astype(rows.dtype), -1, 0)
    resized = jnp.matmul(rows, planes, precision=lax.Precision.HIGHEST)
    resized = jnp.matmul(resized, columns.T, precision=lax.Precision.HIGHEST)
    return jnp.moveaxis(resized, 0, -1).astype(image.dtype)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 5))
def _weights(
    kernel: Kernel,
    pixels: int,
    samples: int,
    start: Int[Array, ''],
    length: Int[Array, ''],
    dtype: DTypeLike,
) -> Float[Array, 'samples pixels']:
    """The weight of each pixel in each sample of the pixels [start, start + length).

    Args:
        kernel: weight by distance in pixels.
        pixels: the length of the axis.
        samples: the length of the resized axis.
        start: the first pixel to sample.
        length: how many pixels to sample.
        dtype: of the weights.
    """
    # Sample i lies at start + (i + 1/2) length / samples - 1/2 pixels. Integers compute it exactly,
    # float32 would round a large coordinate.
    twice = (2 * jnp.arange(samples, dtype=jnp.int32) + 1) * length - samples
    whole = start + twice // (2 * samples)
    rest = twice % (2 * samples)
    pixel = jnp.arange(pixels, dtype=jnp.int32)
    whole_distance = whole[:, None] - pixel
    distance = whole_distance + (rest[:, None] / (2 * samples)).astype(dtype)
    # Where the image shrinks, the kernel is as wide as a pixel of the result: a low-pass filter.
    weights = kernel(jnp.abs(distance) / jnp.maximum(length.astype(dtype) / samples, 1))
    weights = jnp.where((start <= pixel) & (pixel < start + length), weights, 0)
    return weights / weights.sum(1, keepdims=True)


def _triangle(x: Float[Array, '...']) -> Float[Array, '...']:
    return jnp.maximum(1 - x, 0)


def _cubic(x: Float[Array, '...']) -> Float[Array, '...']:
    """Keys (1981), a = -1/2."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return jnp.where(x < 1, near, jnp.where(x < 2, far, 0))


def _lanczos3(x: Float[Array, '...']) -> Float[Array, '...']:
    return jnp.where(x < 3, jnp.sinc(x) * jnp.sinc(x / 3), 0)


_KERNELS = {'bilinear': _triangle, 'bicubic': _cubic, 'lanczos3': _lanczos3}


def random_resized_box(
    uniforms: Float[Array, 'tries 4'],
    height: int,
    width: int,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Int[Array, '4']:
    """The random crop of Inception (Szegedy et al. 2015), as in torchvision.

    Try t computes from u = uniforms[t]:

        area = height * width * (scale[0] + u[0] * (scale[1] - scale[0]))
        w / h = ratio[0] * (ratio[1] / ratio[0]) ** u[1], which is log-uniform
        h = round(sqrt(area / (w / h))), w = round(sqrt(area * (w / h)))
        top = floor(u[2] * (height - h + 1)), left = floor(u[3] * (width - w + 1))

    The first try that fits counts. If none does, the crop is the largest central one whose aspect
    ratio is in range.

    Args:
        uniforms: numbers in [0, 1), four for each try.
        height: of the image in pixels.
        width: of the image in pixels.
        scale: range of the crop's area, as a fraction of the image's.
        ratio: range of its width over its height.

    Returns:
        top, left, height and width of the crop in pixels.
    """
    area = height * width * (scale[0] + uniforms[:, 0] * (scale[1] - scale[0]))
    w_over_h = ratio[0] * (ratio[1] / ratio[0]) ** uniforms[:, 1]
    h = jnp.round(jnp.sqrt(area / w_over_h))
    w = jnp.round(jnp.sqrt(area * w_over_h))
    fits = (h > 0) & (h <= height) & (w > 0) & (w <= width)
    top = jnp.floor(uniforms[:, 2] * (height - h + 1))
    left = jnp.floor(uniforms[:, 3] * (width - w + 1))
    boxes = jnp.stack([top, left, h, w], 1).astype(jnp.int32)
    central = jnp.array(_central_box(height, width, ratio), jnp.int32)
    return jnp.where(fits.any(), boxes[jnp.argmax(fits)], central)


def _central_box(
    height: int, width: int, ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """The largest central (top, left, height, width) whose width / height is in the range."""
    w_over_h = np.clip(width / height, *ratio)
    h = min(height, max(1, round(width / w_over_h)))
    w = min(width, max(1, round(height * w_over_h)))
    return (height - h) // 2, (width - w) // 2, h, w


def random_resized_crop(
    key: PRNGKeyArray,
    image: Float[Array, 'h w c'],
    size: tuple[int, int],
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    method: Method = 'bilinear',
) -> Float[Array, 'new_h new_w c']:
    """Resize a random box of an image, and clip the result to [0, 1].

    Args:
        key: draws the box, in ten tries of `random_resized_box`.
        image: [H, W, C] in [0, 1].
        size: height and width of the result.
        scale: as for `random_resized_box`.
        ratio: as for `random_resized_box`.
        method: as for `resize`.
    """
    uniforms = jax.random.uniform(key, (10, 4), jnp.float32)
    box = random_resized_box(uniforms, *image.shape[:2], scale, ratio)
    return jnp.clip(crop_and_resize(image, box, size, method), 0, 1)
