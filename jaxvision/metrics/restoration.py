"""How near a restored image is to the truth: PSNR and SSIM, of one pair of images [H, W, C] in
[0, 1]. Pure, for jit and vmap.

A `border` of that many pixels on each side is left out: in super-resolution as many as the scale,
because what lies beyond an image's edge is nobody's to know.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

WINDOW = 11  # pixels, on which an SSIM is computed


def luma(image: Float[Array, 'h w c']) -> Float[Array, 'h w 1']:
    """Y of ITU-R BT.601 in [16, 235] / 255, as MATLAB's rgb2ycbcr; a grey image is its own.

    Raises ValueError for other than 1 or 3 channels.
    """
    channels = image.shape[-1]
    if channels == 1:
        return image
    if channels != 3:
        raise ValueError(f'luma is of 1 or 3 channels, but the image has {channels}')
    weights = jnp.array([65.481, 128.553, 24.966], image.dtype)
    return (16 + jnp.sum(image * weights, -1, keepdims=True)) / 255


def squared_error(
    image: Float[Array, 'h w c'], truth: Float[Array, 'h w c'], border: int = 0
) -> Float[Array, '']:
    """The mean over pixels and channels of (image - truth)^2."""
    return jnp.square(_inside(image, border) - _inside(truth, border)).mean()


def psnr(
    squared_error: Float[Array, '*n'] | Float[np.ndarray, '*n'] | float,
    peak: float = 1.0,
) -> Float[Array, '*n']:
    """10 log10(peak^2 / squared error), in decibels; infinite where there is no error.

    Images of one size are pooled by the mean of their squared errors, not of their PSNRs.
    """
    return -10 * jnp.log10(squared_error / peak**2)


def ssim(
    image: Float[Array, 'h w c'], truth: Float[Array, 'h w c'], border: int = 0
) -> Float[Array, '']:
    """Structural similarity (Wang et al. 2004), the mean over windows and channels.

    Their constants, for a range of 1, and their window, a Gaussian of deviation 1.5 on 11 x 11
    pixels, at every place where it fits. Equal to scikit-image's `structural_similarity` with
    gaussian_weights and use_sample_covariance=False. Raises ValueError where no window fits.
    """
    x, y = _inside(image, border), _inside(truth, border)
    if min(x.shape[:2]) < WINDOW:
        raise ValueError(
            f'SSIM needs {WINDOW}x{WINDOW} pixels, but inside the border there are '
            f'{x.shape[0]}x{x.shape[1]}'
        )
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = _local_means(x, y, x * x, y * y, x * y)
    variance_x, variance_y = mean_xx - mean_x**2, mean_yy - mean_y**2
    covariance = mean_xy - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return (
        likeness / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))
    ).mean()


def _inside(image, border):
    """Without the border, in float32 at least."""
    height, width, _ = image.shape
    if min(height, width) <= 2 * border:
        raise ValueError(
            f'nothing of {height}x{width} pixels lies inside a border of {border}'
        )
    image = image.astype(jnp.promote_types(image.dtype, jnp.float32))
    return image[border : height - border, border : width - border]


def _local_means(*images):
    """Of each under the Gaussian window, where that lies wholly on the image: rows and columns by
    a product with a matrix of weights, because a convolution of few channels is slow."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights /= weights.sum()

    def window(length):
        places = np.subtract.outer(np.arange(length - WINDOW + 1), np.arange(length))
        inside = (places > -WINDOW) & (places <= 0)
        return jnp.asarray(
            np.where(inside, weights[-places % WINDOW], 0), images[0].dtype
        )

    height, width, _ = images[0].shape
    return jnp.einsum(
        'yh,ihwc,xw->iyxc',
        window(height),
        jnp.stack(images),
        window(width),
        precision=lax.Precision.HIGHEST,
    )
