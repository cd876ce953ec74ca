"""Flips, shifts and affine maps of one image [H, W, C]: pure, for jit and vmap.

Random functions sample their parameters in float32, so that a key has the same effect on images of
any dtype.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxvision.image.types import Image, Index, Scalar

# An affine map, (y, x, 1) -> (y, x).
Matrix = Float[Array, '2 3']
# A coordinate of each pixel.
Coordinates = Float[Array, 'h w']


def flip_left_right(image: Image) -> Image:
    """Mirror an image left to right."""
    return image[:, ::-1]


def random_flip(
    key: PRNGKeyArray,
    image: Image,
    probability: float = 0.5,
) -> Image:
    """Mirror an image left to right with a probability.

    Args:
        key: random key.
        image: [H, W, C].
        probability: in [0, 1].
    """
    is_flipped = jax.random.uniform(key, (), jnp.float32) < probability
    return jnp.where(is_flipped, flip_left_right(image), image)


def random_dihedral(
    key: PRNGKeyArray,
    image: Float[Array, 'n n c'],
) -> Float[Array, 'n n c']:
    """Apply a random one of the eight flips and quarter turns of a square image."""
    transpose, mirror, upend = jax.random.uniform(key, (3,), jnp.float32) < 0.5
    image = jnp.where(transpose, image.swapaxes(0, 1), image)
    image = jnp.where(mirror, image[:, ::-1], image)
    return jnp.where(upend, image[::-1], image)


def translate(
    image: Image,
    dy: int | Index,
    dx: int | Index,
    fill: float = 0.0,
) -> Image:
    """Move an image by whole pixels, without interpolation. Its size stays.

    Args:
        image: [H, W, C].
        dy: pixels down; negative values move it up.
        dx: pixels to the right; negative values move it left.
        fill: the value of pixels from outside the image.
    """
    height, width, _ = image.shape
    pads = ((height, height), (width, width), (0, 0))
    padded = jnp.pad(image, pads, constant_values=fill)
    corner = jnp.array([height - dy, width - dx, 0], jnp.int32)
    return lax.dynamic_slice(padded, corner, image.shape)


def random_translate(
    key: PRNGKeyArray,
    image: Image,
    max_shift: int,
    fill: float = 0.0,
) -> Image:
    """Move an image by random whole pixels.

    Equal to the padded random crop of CIFAR training (He et al. 2016, section 4.2).

    Args:
        key: random key of the shifts.
        image: [H, W, C].
        max_shift: shifts down and to the right are uniform whole numbers in
            [-max_shift, max_shift] pixels.
        fill: the value of pixels from outside the image.
    """
    dy, dx = jax.random.randint(key, (2,), -max_shift, max_shift + 1, jnp.int32)
    return translate(image, dy, dx, fill)


def affine(
    image: Image,
    matrix: Matrix | Float[Array, '3 3'],
    fill: float | None = 0.0,
) -> Image:
    """Resample an image under an affine map, bilinear, by inverse mapping.

    Equal to `scipy.ndimage.affine_transform` of order 1, mode 'grid-constant' or 'nearest'.

    Args:
        image: [H, W, C].
        matrix: the output at (y, x) is the input at matrix @ (y, x, 1), both in pixels from the
            centre of the image. The last row of a 3x3 matrix is (0, 0, 1) and is ignored.
        fill: the value of pixels from outside the image. None repeats the nearest edge pixel.
    """
    # dm_pix.affine_transform gathers in three dimensions, 48 to 84 times as slow on a CPU.
    height, width, _ = image.shape
    dtype = jnp.promote_types(image.dtype, jnp.float32)
    centre = jnp.array([(height - 1) / 2, (width - 1) / 2], dtype)
    y = jnp.arange(height, dtype=dtype) - centre[0]
    y = y[:, None]
    x = jnp.arange(width, dtype=dtype) - centre[1]
    y_row, x_row = matrix[:2].astype(dtype)
    yy, yx, y_shift = y_row
    xy, xx, x_shift = x_row
    source_y = yy * y + yx * x + y_shift + centre[0]
    source_x = xy * y + xx * x + x_shift + centre[1]
    resampled = interpolate(image.astype(dtype), source_y, source_x, fill)
    return resampled.astype(image.dtype)


def interpolate(
    image: Image,
    y: Coordinates,
    x: Coordinates,
    fill: float | None,
) -> Image:
    """Interpolate an image at points, bilinear.

    Args:
        image: [H, W, C].
        y: coordinates of the points; 0 is the centre of the first row.
        x: coordinates of the points; 0 is the centre of the first column.
        fill: the value of pixels from outside the image. None repeats the nearest edge pixel.

    Returns:
        The image at the point of each pixel, [H, W, C].
    """
    height, width, _ = image.shape
    border = ((1, 1), (1, 1), (0, 0))
    if fill is None:
        image = jnp.pad(image, border, mode='edge')
    else:
        image = jnp.pad(image, border, constant_values=fill)
    # A point more than one pixel outside depends on the border alone.
    y = jnp.clip(y + 1, 0, height + 1)
    x = jnp.clip(x + 1, 0, width + 1)
    top = jnp.clip(jnp.floor(y), 0, height)
    left = jnp.clip(jnp.floor(x), 0, width)
    down = (y - top)[..., None]
    right = (x - left)[..., None]
    top = top.astype(jnp.int32)
    left = left.astype(jnp.int32)
    top_left = image[top, left]
    top_right = image[top, left + 1]
    bottom_left = image[top + 1, left]
    bottom_right = image[top + 1, left + 1]
    above = (1 - right) * top_left + right * top_right
    below = (1 - right) * bottom_left + right * bottom_right
    return (1 - down) * above + down * below


def rotation(degrees: Scalar) -> Matrix:
    """Matrix for `affine` that rotates an image counter-clockwise, by degrees."""
    angle = jnp.deg2rad(degrees)
    cos = jnp.cos(angle)
    sin = jnp.sin(angle)
    zero = jnp.zeros_like(angle)
    entries = jnp.stack([cos, sin, zero, -sin, cos, zero])
    return entries.reshape(2, 3)


def shearing(
    shear_y: Scalar,
    shear_x: Scalar,
) -> Matrix:
    """Matrix for `affine` whose output at (y, x) is the input at (y + shear_y x, x + shear_x y)."""
    return jnp.array([[1.0, shear_y, 0.0], [shear_x, 1.0, 0.0]])


def translation(
    dy: Scalar,
    dx: Scalar,
) -> Matrix:
    """Matrix for `affine` that moves an image down by dy and right by dx pixels."""
    return jnp.array([[1.0, 0.0, -dy], [0.0, 1.0, -dx]])


def rotate(
    image: Image,
    degrees: Scalar,
    fill: float | None = 0.0,
) -> Image:
    """Rotate an image counter-clockwise about its centre, bilinear.

    Equal to `scipy.ndimage.rotate(reshape=False, order=1, mode='grid-constant')`.

    Args:
        image: [H, W, C].
        degrees: the angle in degrees.
        fill: the value of pixels from outside the image. None repeats the nearest edge pixel.
    """
    return affine(image, rotation(degrees), fill)


def random_rotate(
    key: PRNGKeyArray,
    image: Image,
    max_degrees: float,
    fill: float | None = 0.0,
) -> Image:
    """Rotate an image by a random angle about its centre, bilinear.

    Args:
        key: random key of the angle.
        image: [H, W, C].
        max_degrees: the angle is uniform in [-max_degrees, max_degrees].
        fill: the value of pixels from outside the image. None repeats the nearest edge pixel.
    """
    degrees = jax.random.uniform(key, (), jnp.float32, -max_degrees, max_degrees)
    return rotate(image, degrees, fill)


def shear(
    image: Image,
    shear_y: Scalar,
    shear_x: Scalar,
    fill: float | None = 0.0,
) -> Image:
    """Shear an image about its centre, bilinear.

    The output at (y, x) is the input at (y + shear_y x, x + shear_x y), in pixels from
    the centre.

    Args:
        image: [H, W, C].
        shear_y: vertical offset in pixels for each pixel to the right.
        shear_x: horizontal offset in pixels for each pixel down.
        fill: the value of pixels from outside the image. None repeats the nearest edge pixel.
    """
    return affine(image, shearing(shear_y, shear_x), fill)
