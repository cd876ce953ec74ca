"""Degradations of one image [H, W, C] in [0, 1]: blur, downscaling, noise, JPEG.

Pure, for jit and vmap. Rounding to 8 bits, as in a file, has no gradient.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxvision.image import resize
from jaxvision.image.types import Image, Index

Quality = int | Index
# One channel.
Plane = Float[Array, 'h w']
# Another plane of half or twice the size.
Reduced = Float[Array, 'h2 w2 c']
ResizedPlane = Float[Array, 'h2 w2']
Table = Int[np.ndarray, '8 8']


def degrade(
    key: PRNGKeyArray,
    image: Image,
    scale: int = 1,
    blur: float = 0.0,
    noise: float = 0.0,
    jpeg: int = 0,
) -> Reduced:
    """Blur an image, downscale it, add noise, compress it, and round it to 8 bits, in this order.

    Args:
        key: random key of the noise.
        image: [H, W, C] in [0, 1].
        scale: factor by which both sides shrink, 1 for no downscaling.
        blur: std of the Gaussian in pixels of `image`, 0 for no blur.
        noise: std of the Gaussian noise in units of the range [0, 1], 0 for no noise.
        jpeg: quality, 1 to 100, or 0 for no compression.

    Returns:
        [H / scale, W / scale, C] in [0, 1], in multiples of 1/255.

    Raises:
        ValueError: `scale` does not divide both sides, or `jpeg` is above 0 and the
            image has neither 1 nor 3 channels.
    """
    if blur:
        image = gaussian_blur(image, blur)
    if scale > 1:
        image = jnp.clip(downscale(image, scale), 0, 1)
    if noise:
        image = gaussian_noise(key, image, noise)
    if jpeg:
        return jpeg_compression(image, jpeg)
    levels = jnp.round(255 * image)
    return levels / 255


def downscale(
    image: Image,
    scale: int,
) -> Reduced:
    """Divide both sides by `scale`, bicubic and antialiased.

    The result may overshoot [0, 1]. It equals Pillow's in mode 'F', and MATLAB's
    imresize except near the edges.

    Raises:
        ValueError: `scale` does not divide both sides.
    """
    height, width, _ = image.shape
    if height % scale or width % scale:
        raise ValueError(
            f'scale={scale}: expected a divisor of both sides of the image of '
            f'{height}x{width} pixels. Crop the image to a multiple.'
        )
    size = (height // scale, width // scale)
    return resize.resize(image, size, 'bicubic')


def gaussian_blur(
    image: Image,
    sigma: float,
) -> Image:
    """Convolve with a Gaussian that is cut off at 4 sigma. Edge pixels are repeated outwards.

    The result equals `scipy.ndimage.gaussian_filter` with mode 'nearest'.

    Args:
        image: [H, W, C].
        sigma: std of the Gaussian in pixels, above 0.
    """
    radius = int(4 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        pads = [(0, 0), (0, 0), (0, 0)]
        pads[axis] = (radius, radius)
        padded = jnp.pad(image, pads, mode='edge')
        length = image.shape[axis]
        image = 0
        for i, weight in enumerate(weights):
            shifted = lax.slice_in_dim(padded, i, i + length, axis=axis)
            image = image + float(weight) * shifted
    return image


def gaussian_noise(
    key: PRNGKeyArray,
    image: Image,
    sigma: float,
) -> Image:
    """Add independent Gaussian noise to every pixel and channel, and clip to [0, 1].

    Args:
        key: random key.
        image: [H, W, C] in [0, 1].
        sigma: std of the noise.
    """
    noise = jax.random.normal(key, image.shape, jnp.float32)
    noise = noise.astype(image.dtype)
    return jnp.clip(image + sigma * noise, 0, 1)


def jpeg_compression(
    image: Image,
    quality: Quality,
) -> Image:
    """Compress and decompress an image with JPEG. RGB has 4:2:0 chroma subsampling.

    Every lossy step follows libjpeg: rounding to 8 bits, the quantization tables of annex K of
    ITU-T T.81 scaled by the quality, chroma reduced by 2x2 means and enlarged by a triangle filter.
    libjpeg computes with integers. The mean difference from Pillow is below 0.3 of 255 levels.

    Args:
        image: [H, W, 1 or 3] in [0, 1].
        quality: 1 to 100, the best. It may be traced.

    Returns:
        The decompressed image in [0, 1], of the same size.

    Raises:
        ValueError: The image has neither 1 nor 3 channels.
    """
    height, width, channels = image.shape
    if channels not in (1, 3):
        raise ValueError(
            f'jpeg_compression: expected 1 or 3 channels, but the image has {channels}.'
        )
    dtype = jnp.promote_types(image.dtype, jnp.float32)
    pixels = jnp.round(255 * image.astype(dtype))
    if channels == 1:
        decoded = _coded(pixels[..., 0], _LUMA_TABLE, quality)
        decoded = decoded[..., None]
    else:
        ycc = jnp.round(pixels @ _RGB_TO_YCC.T + _CENTRE)
        y, cb, cr = jnp.moveaxis(ycc, -1, 0)
        cb = _doubled(_coded(_halved(cb), _CHROMA_TABLE, quality))
        cb = cb[:height, :width]
        cr = _doubled(_coded(_halved(cr), _CHROMA_TABLE, quality))
        cr = cr[:height, :width]
        y = _coded(y, _LUMA_TABLE, quality)
        ycc = jnp.stack([y, cb, cr], -1) - _CENTRE
        rgb = jnp.round(ycc @ _YCC_TO_RGB.T)
        decoded = jnp.clip(rgb, 0, 255)
    return (decoded / 255).astype(image.dtype)


_CENTRE = np.array([0, 128, 128], np.float32)
# JFIF 1.02.
_RGB_TO_YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]],
    np.float32,
)
_YCC_TO_RGB = np.array(
    [[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], np.float32
)

_LUMA_TABLE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
_CHROMA_TABLE = np.array(
    [
        [17, 18, 24, 47, 99, 99, 99, 99],
        [18, 21, 26, 66, 99, 99, 99, 99],
        [24, 26, 56, 99, 99, 99, 99, 99],
        [47, 66, 99, 99, 99, 99, 99, 99],
        [99, 99, 99, 99, 99, 99, 99, 99],
        [99, 99, 99, 99, 99, 99, 99, 99],
        [99, 99, 99, 99, 99, 99, 99, 99],
        [99, 99, 99, 99, 99, 99, 99, 99],
    ]
)


def _dct_matrix() -> Float[np.ndarray, '8 8']:
    """The orthonormal DCT-II of 8 samples, with one row for each frequency."""
    frequency, sample = np.mgrid[:8, :8]
    matrix = np.cos(np.pi * frequency * (2 * sample + 1) / 16) / 2
    matrix = np.where(frequency == 0, np.sqrt(1 / 8), matrix)
    return matrix.astype(np.float32)


_DCT = _dct_matrix()
_einsum = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)


def _coded(
    plane: Plane,
    table: Table,
    quality: Quality,
) -> Plane:
    """Quantize the DCT of each 8x8 block of a plane, and decode it again.

    Args:
        plane: 8-bit values, [H, W].
        table: the quantization steps at quality 50, [8, 8].
        quality: 1 to 100.
    """
    height, width = plane.shape
    pads = ((0, -height % 8), (0, -width % 8))
    padded = jnp.pad(plane - 128, pads, mode='edge')
    rows, columns = padded.shape
    blocks = padded.reshape(rows // 8, 8, columns // 8, 8)
    steps = _quantization_steps(table, quality)
    steps = steps[:, None]
    coefficients = _einsum('uy,rycx,vx->rucv', _DCT, blocks, _DCT)
    # Many coefficients lie half way between two steps. libjpeg computes them in multiples of 1/8,
    # and rounds up.
    magnitudes = jnp.round(8 * jnp.abs(coefficients)) / 8
    numbers = jnp.floor(magnitudes / steps + 0.5)
    coefficients = jnp.sign(coefficients) * steps * numbers
    blocks = _einsum('uy,rucv,vx->rycx', _DCT, coefficients, _DCT)
    decoded = blocks.reshape(rows, columns)
    decoded = decoded[:height, :width]
    levels = jnp.round(decoded + 128)
    return jnp.clip(levels, 0, 255)


def _quantization_steps(
    table: Table,
    quality: Quality,
) -> Float[Array, '8 8']:
    """Scale a table as libjpeg does: unchanged at quality 50, all ones at quality 100."""
    quality = jnp.asarray(quality)
    percent = jnp.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    scaled = (table * percent + 50) // 100
    steps = jnp.clip(scaled, 1, 255)
    return steps.astype(jnp.float32)


def _halved(plane: Plane) -> ResizedPlane:
    """Average 2x2 pixels. As in libjpeg, the rounding alternates between columns."""
    height, width = plane.shape
    padded = jnp.pad(plane, [(0, height % 2), (0, width % 2)], mode='edge')
    rows = padded.shape[0] // 2
    columns = padded.shape[1] // 2
    blocks = padded.reshape(rows, 2, columns, 2)
    sums = blocks.sum((1, 3))
    offsets = jnp.arange(columns) % 2
    return jnp.floor((sums + 1 + offsets) / 4)


def _doubled(plane: Plane) -> ResizedPlane:
    """Double both sides by a triangle filter: 3/4 of the nearest pixel and 1/4 of the next one."""
    for axis in (0, 1):
        ends = [(0, 0), (0, 0)]
        ends[axis] = (1, 1)
        doubled_shape = list(plane.shape)
        doubled_shape[axis] *= 2
        length = plane.shape[axis]
        padded = jnp.pad(plane, ends, mode='edge')
        before = lax.slice_in_dim(padded, 0, length, axis=axis)
        after = lax.slice_in_dim(padded, 2, 2 + length, axis=axis)
        first = 3 * plane + before
        second = 3 * plane + after
        pairs = jnp.stack([first, second], axis + 1) / 4
        plane = pairs.reshape(doubled_shape)
    return jnp.round(plane)
