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

Quality = int | Int[Array, '']


def degrade(
    key: PRNGKeyArray,
    image: Float[Array, 'h w c'],
    scale: int = 1,
    blur: float = 0.0,
    noise: float = 0.0,
    jpeg: int = 0,
) -> Float[Array, 'h2 w2 c']:
    """Blur an image, downscale it, add noise, compress it, and round it to 8 bits, in this order.

    Args:
        key: draws the noise.
        image: [H, W, C] in [0, 1].
        scale: how many times to shrink both sides. 1 leaves it out.
        blur: std of the Gaussian, in pixels of `image`. 0 leaves it out.
        noise: std of the Gaussian noise, in units of the range [0, 1]. 0 leaves it out.
        jpeg: quality, 1 to 100. 0 leaves it out.

    Raises:
        ValueError: `scale` does not divide both sides, or JPEG has neither 1 nor 3 channels.
    """
    if blur:
        image = gaussian_blur(image, blur)
    if scale > 1:
        image = jnp.clip(downscale(image, scale), 0, 1)
    if noise:
        image = gaussian_noise(key, image, noise)
    if jpeg:
        return jpeg_compression(image, jpeg)
    return jnp.round(255 * image) / 255


def downscale(image: Float[Array, 'h w c'], scale: int) -> Float[Array, 'h2 w2 c']:
    """Shrink both sides `scale` times: bicubic, antialiased. It may overshoot [0, 1].

    Equal to Pillow's mode 'F', and to MATLAB's imresize except near the edges.

    Raises:
        ValueError: `scale` does not divide both sides.
    """
    height, width, _ = image.shape
    if height % scale or width % scale:
        raise ValueError(
            f'{height}x{width} pixels cannot be made {scale} times smaller: crop them '
            'to a multiple'
        )
    return resize.resize(image, (height // scale, width // scale), 'bicubic')


def gaussian_blur(image: Float[Array, 'h w c'], sigma: float) -> Float[Array, 'h w c']:
    """Convolve with a Gaussian that is cut off at 4 sigma. Edge pixels are repeated outwards.

    Equal to `scipy.ndimage.gaussian_filter` with mode 'nearest'.

    Args:
        image: [H, W, C].
        sigma: std of the Gaussian in pixels.
    """
    radius = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        pads = [(0, 0), (0, 0), (0, 0)]
        pads[axis] = (radius, radius)
        padded = jnp.pad(image, pads, mode='edge')
        length = image.shape[axis]
        image = sum(
            float(weight) * lax.slice_in_dim(padded, i, i + length, axis=axis)
            for i, weight in enumerate(weights)
        )
    return image


def gaussian_noise(
    key: PRNGKeyArray, image: Float[Array, 'h w c'], sigma: float
) -> Float[Array, 'h w c']:
    """Add independent Gaussian noise to every pixel and channel, and clip to [0, 1].

    Args:
        key: draws the noise.
        image: [H, W, C] in [0, 1].
        sigma: std of the noise.
    """
    noise = jax.random.normal(key, image.shape, jnp.float32).astype(image.dtype)
    return jnp.clip(image + sigma * noise, 0, 1)


def jpeg_compression(
    image: Float[Array, 'h w c'], quality: Quality
) -> Float[Array, 'h w c']:
    """Compress and decompress an image with JPEG, RGB with 4:2:0 chroma.

    Every lossy step is that of libjpeg: 8 bits, the quantization tables of ITU-T T.81's annex K
    scaled by the quality, chroma halved by means of 2x2 and doubled by a triangle filter. libjpeg
    computes with integers: Pillow's files differ by less than 0.3 of 255 in the mean.

    Args:
        image: [H, W, 1 or 3] in [0, 1].
        quality: 1 to 100.

    Raises:
        ValueError: The image has neither 1 nor 3 channels.
    """
    height, width, channels = image.shape
    if channels not in (1, 3):
        raise ValueError(f'JPEG is of 1 or 3 channels, but the image has {channels}')
    pixels = jnp.round(255 * image.astype(jnp.promote_types(image.dtype, jnp.float32)))
    if channels == 1:
        decoded = _coded(pixels[..., 0], _LUMA_TABLE, quality)[..., None]
    else:
        y, cb, cr = jnp.moveaxis(jnp.round(pixels @ _RGB_TO_YCC.T + _CENTRE), -1, 0)
        chroma = functools.partial(_coded, table=_CHROMA_TABLE, quality=quality)
        cb = _doubled(chroma(_halved(cb)))[:height, :width]
        cr = _doubled(chroma(_halved(cr)))[:height, :width]
        ycc = jnp.stack([_coded(y, _LUMA_TABLE, quality), cb, cr], -1) - _CENTRE
        decoded = jnp.clip(jnp.round(ycc @ _YCC_TO_RGB.T), 0, 255)
    return (decoded / 255).astype(image.dtype)


_CENTRE = np.array([0, 128, 128], np.float32)
_RGB_TO_YCC = np.array(  # JFIF 1.02
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
        *[[99] * 8] * 4,
    ]
)


def _dct_matrix():
    """The orthonormal DCT-II of 8 samples, a row for each frequency."""
    frequency, sample = np.mgrid[:8, :8]
    matrix = np.cos(np.pi * frequency * (2 * sample + 1) / 16) / 2
    return np.where(frequency == 0, np.sqrt(1 / 8), matrix).astype(np.float32)


_DCT = _dct_matrix()


def _coded(plane, table, quality):
    """Quantize the DCT of a plane's 8x8 blocks, and decode it again.

    Args:
        plane: 8-bit values, [H, W].
        table: the quantization steps at quality 50, [8, 8].
        quality: 1 to 100.
    """
    height, width = plane.shape
    padded = jnp.pad(plane - 128, ((0, -height % 8), (0, -width % 8)), mode='edge')
    rows, columns = padded.shape
    blocks = padded.reshape(rows // 8, 8, columns // 8, 8)
    precise = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)
    steps = _quantization_steps(table, quality)[:, None]
    coefficients = precise('uy,rycx,vx->rucv', _DCT, blocks, _DCT)
    # Many coefficients lie half way between two steps. libjpeg has them in whole eighths, and
    # rounds up.
    sizes = jnp.round(8 * jnp.abs(coefficients)) / 8
    coefficients = jnp.sign(coefficients) * steps * jnp.floor(sizes / steps + 0.5)
    blocks = precise('uy,rucv,vx->rycx', _DCT, coefficients, _DCT)
    decoded = blocks.reshape(rows, columns)[:height, :width]
    return jnp.clip(jnp.round(decoded + 128), 0, 255)


def _quantization_steps(table, quality):
    """Scale a table as libjpeg does: unchanged at quality 50, all ones at 100."""
    quality = jnp.asarray(quality)
    percent = jnp.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return jnp.clip((table * percent + 50) // 100, 1, 255).astype(jnp.float32)


def _halved(plane):
    """Means of 2x2. As in libjpeg, halves are rounded down and up in turn along a row."""
    padded = jnp.pad(plane, [(0, side % 2) for side in plane.shape], mode='edge')
    rows, columns = (side // 2 for side in padded.shape)
    sums = padded.reshape(rows, 2, columns, 2).sum((1, 3))
    return jnp.floor((sums + 1 + jnp.arange(columns) % 2) / 4)


def _doubled(plane):
    """Double both sides by a triangle filter: 3/4 of the nearest pixel, 1/4 of the next one."""
    for axis in (0, 1):
        ends = [(0, 0), (0, 0)]
        ends[axis] = (1, 1)
        doubled_shape = list(plane.shape)
        doubled_shape[axis] *= 2
        length = plane.shape[axis]
        padded = jnp.pad(plane, ends, mode='edge')
        before = lax.slice_in_dim(padded, 0, length, axis=axis)
        after = lax.slice_in_dim(padded, 2, 2 + length, axis=axis)
        pairs = jnp.stack([3 * plane + before, 3 * plane + after], axis + 1) / 4
        plane = pairs.reshape(doubled_shape)
    return jnp.round(plane)
