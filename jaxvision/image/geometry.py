"""Flips, shifts and affine maps of one image [H, W, C]: pure, for jit and vmap.

Random functions draw their parameters in float32, so that a key has the same effect on any dtype.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

Scalar = float | int | Float[Array, '']


def flip_left_right(image: Float[Array, 'h w c']) -> Float[Array, 'h w c']:
    """Mirror an image, as `dm_pix.flip_left_right` does."""
    return image[:, ::-1]


def random_flip(
    key: PRNGKeyArray, image: Float[Array, 'h w c'], probability: float = 0.5
) -> Float[Array, 'h w c']:
    """Mirror an image with a probability.

    Args:
        key: draws whether to mirror it.
        image: [H, W, C].
        probability: in [0, 1].
    """
    flip = jax.random.uniform(key, (), jnp.float32) < probability
    return jnp.where(flip, flip_left_right(image), image)


def random_dihedral(
    key: PRNGKeyArray, image: Float[Array, 'n n c']
) -> Float[Array, 'n n c']:
    """Turn and mirror a square image into one of its eight forms, each as likely."""
    transpose, mirror, upend = jax.random.uniform(key, (3,), jnp.float32) < 0.5
    image = jnp.where(transpose, image.swapaxes(0, 1), image)
    image = jnp.where(mirror, image[:, ::-1], image)
    return jnp.where(upend, image[::-1], image)


def translate(
    image: Float[Array, 'h w c'],
    dy: int | Int[Array, ''],
    dx: int | Int[Array, ''],
    fill: float = 0.0,
) -> Float[Array, 'h w c']:
    """Move an image by whole pixels, exactly as padding and cropping do.

    Args:
        image: [H, W, C].
        dy: pixels down.
        dx: pixels to the right.
        fill: the value of pixels from outside the image.
    """
    height, width, _ = image.shape
    pads = ((height, height), (width, width), (0, 0))
    padded = jnp.pad(image, pads, constant_values=fill)
    corner = jnp.array([height - dy, width - dx, 0], jnp.int32)
    return lax.dynamic_slice(padded, corner, image.shape)


def random_translate(
    key: PRNGKeyArray, image: Float[Array, 'h w c'], max_shift: int, fill: float = 0.0
) -> Float[Array, 'h w c']:
    """Move an image by random whole pixels.

    Equal to the padded random crop of CIFAR training (He et al. 2016, section 4.2).

    Args:
        key: draws the shifts.
        image: [H, W, C].
        max_shift: the most pixels in each direction.
        fill: the value of pixels from outside the image.
    """
    dy, dx = jax.random.randint(key, (2,), -max_shift, max_shift + 1, jnp.int32)
    return translate(image, dy, dx, fill)


def affine(
    image: Float[Array, 'h w c'],
    matrix: Float[Array, '2 3'] | Float[Array, '3 3'],
    fill: float | None = 0.0,
) -> Float[Array, 'h w c']:
    """Resample an image under an affine map, bilinear, by inverse mapping.

    Equal to `scipy.ndimage.affine_transform` of order 1, mode 'grid-constant' or 'nearest'.

    Args:
        image: [H, W, C].
        matrix: the output at (y, x) shows the input at matrix @ (y, x, 1), both in pixels from
            the image's centre. The last row of a 3x3 matrix is not read: it is (0, 0, 1).
        fill: the value of pixels from outside the image. None repeats the nearest edge.
    """
    # dm_pix.affine_transform gathers in three dimensions: 48 to 84 times as slow on a CPU.
    height, width, _ = image.shape
    dtype = jnp.promote_types(image.dtype, jnp.float32)
    centre = jnp.array([(height - 1) / 2, (width - 1) / 2], dtype)
    y = jnp.arange(height, dtype=dtype) - centre[0]
    x = jnp.arange(width, dtype=dtype) - centre[1]
    (yy, yx, y_shift), (xy, xx, x_shift) = matrix[:2].astype(dtype)
    source_y = yy * y[:, None] + yx * x + y_shift + centre[0]
    source_x = xy * y[:, None] + xx * x + x_shift + centre[1]
    return _bilinear(image.astype(dtype), source_y, source_x, fill).astype(image.dtype)


def _bilinear(
    image: Float[Array, 'h w c'],
    y: Float[Array, 'h w'],
    x: Float[Array, 'h w'],
    fill: float | None,
) -> Float[Array, 'h w c']:
    """Sample an image at points.

    Args:
        image: [H, W, C].
        y: of the points, in pixels.
        x: of the points, in pixels.
        fill: as for `affine`.
    """
    height, width, _ = image.shape
    border = ((1, 1), (1, 1), (0, 0))
    if fill is None:
        image = jnp.pad(image, border, mode='edge')
    else:
        image = jnp.pad(image, border, constant_values=fill)
    # A point farther than one pixel outside sees the border alone.
    y = jnp.clip(y + 1, 0, height + 1)
    x = jnp.clip(x + 1, 0, width + 1)
    top = jnp.clip(jnp.floor(y), 0, height)
    left = jnp.clip(jnp.floor(x), 0, width)
    down = (y - top)[..., None]
    right = (x - left)[..., None]
    top = top.astype(jnp.int32)
    left = left.astype(jnp.int32)
    above = (1 - right) * image[top, left] + right * image[top, left + 1]
    below = (1 - right) * image[top + 1, left] + right * image[top + 1, left + 1]
    return (1 - down) * above + down * below


def rotation(degrees: Scalar) -> Float[Array, '2 3']:
    """The matrix for `affine` that turns an image counter-clockwise."""
    angle = jnp.deg2rad(degrees)
    cos = jnp.cos(angle)
    sin = jnp.sin(angle)
    zero = jnp.zeros_like(angle)
    return jnp.stack([cos, sin, zero, -sin, cos, zero]).reshape(2, 3)


def shearing(shear_y: Scalar, shear_x: Scalar) -> Float[Array, '2 3']:
    """The matrix for `affine` that lets (y, x) show (y + shear_y x, x + shear_x y)."""
    return jnp.array([[1.0, shear_y, 0.0], [shear_x, 1.0, 0.0]])


def translation(dy: Scalar, dx: Scalar) -> Float[Array, '2 3']:
    """The matrix for `affine` that moves an image down by dy and right by dx pixels."""
    return jnp.array([[1.0, 0.0, -dy], [0.0, 1.0, -dx]])


def rotate(
    image: Float[Array, 'h w c'], degrees: Scalar, fill: float | None = 0.0
) -> Float[Array, 'h w c']:
    """Turn an image counter-clockwise about its centre, bilinear.

    Equal to `scipy.ndimage.rotate(reshape=False, order=1, mode='grid-constant')`.

    Args:
        image: [H, W, C].
        degrees: the angle.
        fill: as for `affine`.
    """
    return affine(image, rotation(degrees), fill)


def random_rotate(
    key: PRNGKeyArray,
    image: Float[Array, 'h w c'],
    max_degrees: float,
    fill: float | None = 0.0,
) -> Float[Array, 'h w c']:
    """Turn an image by a random angle about its centre, bilinear.

    Args:
        key: draws the angle, uniform in [-max_degrees, max_degrees].
        image: [H, W, C].
        max_degrees: the largest angle.
        fill: as for `affine`.
    """
    degrees = jax.random.uniform(key, (), jnp.float32, -max_degrees, max_degrees)
    return rotate(image, degrees, fill)


def shear(
    image: Float[Array, 'h w c'],
    shear_y: Scalar,
    shear_x: Scalar,
    fill: float | None = 0.0,
) -> Float[Array, 'h w c']:
    """Shear an image about its centre, bilinear: (y, x) shows (y + shear_y x, x + shear_x y).

    Args:
        image: [H, W, C].
        shear_y: pixels down for each pixel to the right.
        shear_x: pixels to the right for each pixel down.
        fill: as for `affine`.
    """
    return affine(image, shearing(shear_y, shear_x), fill)
