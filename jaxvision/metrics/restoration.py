"""Similarity of a restored image to the original: PSNR and SSIM.

The functions take one pair of images [H, W, C] in [0, 1]. They are pure, for jit and vmap. A
`border` is a number of pixels that are left out on each side. In super-resolution it equals the
scale, because pixels beyond the edge of the image are unknown.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

Image = Float[Array, 'h w c']
Scalar = Float[Array, '']
SquaredError = Float[Array, '*n'] | Float[np.ndarray, '*n'] | float

# Side of the window of SSIM in pixels.
WINDOW = 11
# Std of the window's Gaussian in pixels.
_SIGMA = 1.5
# The constants of SSIM for images in [0, 1].
_C1 = 0.01**2
_C2 = 0.03**2


def luma(image: Image) -> Float[Array, 'h w 1']:
    """Luma of an RGB image in [0, 1], Y of ITU-R BT.601 in [16, 235] / 255.

    It equals MATLAB's rgb2ycbcr. An image with one channel is returned unchanged.

    Raises:
        ValueError: The image has neither 1 nor 3 channels.
    """
    channels = image.shape[-1]
    if channels == 1:
        return image
    if channels != 3:
        raise ValueError(
            f'luma: expected 1 or 3 channels, but the image has {channels}.'
        )
    weights = jnp.array([65.481, 128.553, 24.966], image.dtype)
    weighted = jnp.sum(image * weights, -1, keepdims=True)
    return (16 + weighted) / 255


def squared_error(
    image: Image,
    truth: Image,
    border: int = 0,
) -> Scalar:
    """Mean over pixels and channels of (image - truth)^2.

    Args:
        image: the restored image, [H, W, C].
        truth: the original image, [H, W, C].
        border: pixels to leave out on each side.

    Raises:
        ValueError: No pixel lies inside the border.
    """
    difference = _inside(image, border) - _inside(truth, border)
    return jnp.square(difference).mean()


def psnr(squared_error: SquaredError, peak: float = 1.0) -> Float[Array, '*n']:
    """Peak signal-to-noise ratio in decibels: 10 log10(peak^2 / squared error).

    Higher is better, and it is infinite for an error of 0. `peak` is the largest value
    of a pixel. For the PSNR of several images of one size, average their squared
    errors, not their PSNRs.
    """
    return -10 * jnp.log10(squared_error / peak**2)


def ssim(
    image: Image,
    truth: Image,
    border: int = 0,
) -> Scalar:
    """Structural similarity, averaged over windows and channels (Wang et al. 2004).

    It is 1 for equal images, and lower for others.

    The window is a Gaussian of std 1.5 on 11x11 pixels, at every position inside the image. The
    result equals scikit-image's `structural_similarity` with gaussian_weights=True and
    use_sample_covariance=False.

    Args:
        image: the restored image, [H, W, C] in [0, 1].
        truth: the original image, [H, W, C] in [0, 1].
        border: pixels to leave out on each side.

    Raises:
        ValueError: The image without its border is smaller than 11x11 pixels.
    """
    x = _inside(image, border)
    y = _inside(truth, border)
    height, width, _ = x.shape
    if min(height, width) < WINDOW:
        raise ValueError(
            f'ssim: expected {WINDOW}x{WINDOW} pixels or more inside the border, '
            f'but there are {height}x{width}.'
        )
    means = _local_means(x, y, x * x, y * y, x * y)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = means
    variance_x = mean_xx - mean_x**2
    variance_y = mean_yy - mean_y**2
    covariance = mean_xy - mean_x * mean_y
    common_luminance = 2 * mean_x * mean_y + _C1
    common_contrast = 2 * covariance + _C2
    numerator = common_luminance * common_contrast
    luminance = mean_x**2 + mean_y**2 + _C1
    contrast = variance_x + variance_y + _C2
    return (numerator / (luminance * contrast)).mean()


def _inside(image: Image, border: int) -> Float[Array, '_h _w c']:
    """Remove the border, and convert to float32 at least."""
    height, width, _ = image.shape
    if min(height, width) <= 2 * border:
        raise ValueError(
            f'border={border}: expected less than half of the image of '
            f'{height}x{width} pixels.'
        )
    dtype = jnp.promote_types(image.dtype, jnp.float32)
    image = image.astype(dtype)
    return image[border : height - border, border : width - border]


def _local_means(*images: Image) -> Float[Array, 'i _y _x c']:
    """Mean of each image under the Gaussian window, at every position inside the image."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    exponents = -(offsets**2) / (2 * _SIGMA**2)
    weights = np.exp(exponents)
    weights /= weights.sum()
    stacked = jnp.stack(images)
    _, height, width, _ = stacked.shape
    # Products with matrices along rows and columns: a convolution of few channels is slow.
    rows = _window_matrix(weights, height)
    columns = _window_matrix(weights, width)
    return jnp.einsum(
        'yh,ihwc,xw->iyxc',
        jnp.asarray(rows, stacked.dtype),
        stacked,
        jnp.asarray(columns, stacked.dtype),
        precision=lax.Precision.HIGHEST,
    )


def _window_matrix(
    weights: Float[np.ndarray, 'window'], length: int
) -> Float[np.ndarray, 'positions {length}']:
    """Matrix that averages an axis of this length under a window at each position."""
    starts = np.arange(length - WINDOW + 1)
    offsets = np.subtract.outer(starts, np.arange(length))
    is_inside = (offsets > -WINDOW) & (offsets <= 0)
    return np.where(is_inside, weights[-offsets % WINDOW], 0)
