"""Antialiased resampling of one image [H, W, C], and the random resized crop.

Each axis is one product with a matrix of weights, so that a crop's box may be traced. jax.image
has the same kernels, but places samples in float32 pixels: 4e-5 from Pillow at 500 pixels.
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
    """The image at `size` (height, width), antialiased where it shrinks.

    Equal to Pillow's `Image.resize` in mode 'F' (and to PyTorch's antialias=True). Bicubic
    (a = -0.5) and lanczos3 may overshoot [0, 1].
    """
    # Constants of the program, also in the formats that cannot compute them (TFLite's int8).
    with jax.ensure_compile_time_eval():
        rows, columns = (
            _weights(
                _KERNELS[method],
                pixels,
                samples,
                jnp.int32(0),
                jnp.int32(pixels),
                _at_least_float32(image),
            )
            for pixels, samples in zip(image.shape[:2], size, strict=True)
        )
    return _resampled(rows, image, columns)


def crop_and_resize(
    image: Float[Array, 'h w c'],
    box: Int[Array, '4'],
    size: tuple[int, int],
    method: Method = 'bilinear',
) -> Float[Array, 'new_h new_w c']:
    """The pixels of `box` (top, left, height, width; may be traced) at `size` (height, width).

    Equal to Pillow's `crop` then `resize`: nothing outside the box is seen.
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
    # Channels first: TFLite converts no product of matrices with an axis of one channel between.
    planes = jnp.moveaxis(image.astype(rows.dtype), -1, 0)
    resized = jnp.matmul(
        jnp.matmul(rows, planes, precision=lax.Precision.HIGHEST),
        columns.T,
        precision=lax.Precision.HIGHEST,
    )
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
    """How much of each pixel goes into each sample of the pixels [start, start + length)."""
    # Sample i lies at start + (i + 1/2) length / samples - 1/2 pixels: by whole numbers, because
    # float32 would misplace it by the rounding of a large coordinate.
    twice = (2 * jnp.arange(samples, dtype=jnp.int32) + 1) * length - samples
    whole, rest = start + twice // (2 * samples), twice % (2 * samples)
    pixel = jnp.arange(pixels, dtype=jnp.int32)
    distance = (whole[:, None] - pixel) + (rest[:, None] / (2 * samples)).astype(dtype)
    # Where the image shrinks, the kernel is widened to the output's pixel: a low-pass filter.
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
    """The crop (top, left, height, width) of Inception (Szegedy et al. 2015), as in torchvision.

    Try t, of uniforms u in [0, 1): the area is height * width * (scale[0] + u[t, 0] * (scale[1] -
    scale[0])); the ratio w / h is log-uniform, ratio[0] * (ratio[1] / ratio[0]) ** u[t, 1];
    h = round(sqrt(area / ratio)), w = round(sqrt(area * ratio)); top = floor(u[t, 2] * (height -
    h + 1)), left = floor(u[t, 3] * (width - w + 1)). The first try that fits counts; where none
    does, the largest central crop with a ratio in range.
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
    """A random box of the image (`random_resized_box`, ten tries) at `size`, kept in [0, 1]."""
    uniforms = jax.random.uniform(key, (10, 4), jnp.float32)
    box = random_resized_box(uniforms, *image.shape[:2], scale, ratio)
    return jnp.clip(crop_and_resize(image, box, size, method), 0, 1)
