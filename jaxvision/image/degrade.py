"""What makes a good image [H, W, C] in [0, 1] a poor one: blur, fewer pixels, noise, JPEG.

Pure, for jit and vmap. Rounding, as a file rounds to 8 bits, has no gradient.
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
    """The image as a poor camera leaves it in a file: blurred, made smaller, noisy, compressed.

    In this order, each part left out where it is 0 (scale: 1); rounded to 8 bits at the end.

    Args:
        scale: how many times smaller (`downscale`).
        blur: deviation of the Gaussian, pixels of `image`.
        noise: deviation of the Gaussian noise, in units of the range [0, 1].
        jpeg: quality, 1 to 100.
    """
    image = gaussian_blur(image, blur) if blur else image
    image = jnp.clip(downscale(image, scale), 0, 1) if scale > 1 else image
    image = gaussian_noise(key, image, noise) if noise else image
    return jpeg_compression(image, jpeg) if jpeg else jnp.round(255 * image) / 255


def downscale(image: Float[Array, 'h w c'], scale: int) -> Float[Array, 'h2 w2 c']:
    """`scale` times smaller: bicubic, antialiased; it may overshoot [0, 1].

    Equal to Pillow's mode 'F' everywhere and to MATLAB's imresize where that needs no pixel from
    beyond the edge. Raises ValueError unless `scale` divides both sides.
    """
    height, width, _ = image.shape
    if height % scale or width % scale:
        raise ValueError(
            f'{height}x{width} pixels cannot be made {scale} times smaller: crop them '
            'to a multiple'
        )
    return resize.resize(image, (height // scale, width // scale), 'bicubic')


def gaussian_blur(image: Float[Array, 'h w c'], sigma: float) -> Float[Array, 'h w c']:
    """Convolved with a Gaussian cut off at 4 sigma, its edges repeated outwards.

    Equal to `scipy.ndimage.gaussian_filter` with mode 'nearest'.
    """
    radius = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        pads = [(radius, radius) if axis == other else (0, 0) for other in range(3)]
        padded = jnp.pad(image, pads, mode='edge')
        image = sum(
            float(weight)
            * lax.slice_in_dim(padded, i, i + image.shape[axis], axis=axis)
            for i, weight in enumerate(weights)
        )
    return image


def gaussian_noise(
    key: PRNGKeyArray, image: Float[Array, 'h w c'], sigma: float
) -> Float[Array, 'h w c']:
    """Independent noise of deviation `sigma` on every pixel and channel, kept in [0, 1]."""
    noise = jax.random.normal(key, image.shape, jnp.float32).astype(image.dtype)
    return jnp.clip(image + sigma * noise, 0, 1)


def jpeg_compression(
    image: Float[Array, 'h w c'], quality: Quality
) -> Float[Array, 'h w c']:
    """The image after JPEG of this quality, 1 to 100: grey, or RGB with 4:2:0 chroma.

    All that loses something, as in libjpeg: 8 bits, the tables of ITU-T T.81's annex K scaled by
    the quality, chroma halved by means of 2x2 and doubled by a triangle filter. libjpeg computes in
    whole numbers: Pillow's files differ from this by less than 0.3 of 255 in the mean. Raises
    ValueError for other than 1 or 3 channels.
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
        cb, cr = (_doubled(chroma(_halved(c)))[:height, :width] for c in (cb, cr))
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
    """The orthonormal DCT-II of 8 samples, a row a frequency."""
    frequency, sample = np.mgrid[:8, :8]
    matrix = np.cos(np.pi * frequency * (2 * sample + 1) / 16) / 2
    return np.where(frequency == 0, np.sqrt(1 / 8), matrix).astype(np.float32)


_DCT = _dct_matrix()


def _coded(plane, table, quality):
    """A plane of 8-bit values through the quantised DCT of its 8x8 blocks, and back."""
    height, width = plane.shape
    padded = jnp.pad(plane - 128, ((0, -height % 8), (0, -width % 8)), mode='edge')
    rows, columns = padded.shape
    blocks = padded.reshape(rows // 8, 8, columns // 8, 8)
    precise = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)
    steps = _quantization_steps(table, quality)[:, None]
    coefficients = precise('uy,rycx,vx->rucv', _DCT, blocks, _DCT)
    # Many lie half way between two steps: libjpeg has them in whole eighths, and rounds up.
    sizes = jnp.round(8 * jnp.abs(coefficients)) / 8
    coefficients = jnp.sign(coefficients) * steps * jnp.floor(sizes / steps + 0.5)
    blocks = precise('uy,rucv,vx->rycx', _DCT, coefficients, _DCT)
    decoded = blocks.reshape(rows, columns)[:height, :width]
    return jnp.clip(jnp.round(decoded + 128), 0, 255)


def _quantization_steps(table, quality):
    """libjpeg's scaling: the table as it is at quality 50, ones at 100."""
    quality = jnp.asarray(quality)
    percent = jnp.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return jnp.clip((table * percent + 50) // 100, 1, 255).astype(jnp.float32)


def _halved(plane):
    """Means of 2x2, a half rounded down and up in turn along a row, as libjpeg does."""
    padded = jnp.pad(plane, [(0, side % 2) for side in plane.shape], mode='edge')
    rows, columns = (side // 2 for side in padded.shape)
    sums = padded.reshape(rows, 2, columns, 2).sum((1, 3))
    return jnp.floor((sums + 1 + jnp.arange(columns) % 2) / 4)


def _doubled(plane):
    """Twice as large by a triangle filter: three quarters of the nearest, one of the next."""
    for axis in (0, 1):
        ends = [(1, 1) if axis == other else (0, 0) for other in range(2)]
        padded, length = jnp.pad(plane, ends, mode='edge'), plane.shape[axis]
        before, after = (
            lax.slice_in_dim(padded, i, i + length, axis=axis) for i in (0, 2)
        )
        pairs = jnp.stack([3 * plane + before, 3 * plane + after], axis + 1) / 4
        plane = pairs.reshape(
            [
                2 * side if axis == other else side
                for other, side in enumerate(plane.shape)
            ]
        )
    return jnp.round(plane)
