"""Flips, shifts and affine maps of one image [H, W, C]: pure, for jit and vmap.

Random functions draw their parameters in float32, so one key moves an image of any dtype alike.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

Scalar = float | int | Float[Array, '']


def flip_left_right(image: Float[Array, 'h w c']) -> Float[Array, 'h w c']:
    """The mirror image; equal to `dm_pix.flip_left_right`."""
    return image[:, ::-1]


def random_flip(
    key: PRNGKeyArray, image: Float[Array, 'h w c'], probability: float = 0.5
) -> Float[Array, 'h w c']:
    """The mirror image, with this probability."""
    flip = jax.random.uniform(key, (), jnp.float32) < probability
    return jnp.where(flip, flip_left_right(image), image)


def random_dihedral(
    key: PRNGKeyArray, image: Float[Array, 'n n c']
) -> Float[Array, 'n n c']:
    """One of the eight turned and mirrored forms of a square image, each as likely."""
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
    """Moves the image by whole pixels, down by dy and right by dx; `fill` comes in at the edges.

    Exact: equal to padding with `fill` and cropping.
    """
    height, width, _ = image.shape
    padded = jnp.pad(
        image, ((height, height), (width, width), (0, 0)), constant_values=fill
    )
    corner = jnp.array([height - dy, width - dx, 0], jnp.int32)
    return lax.dynamic_slice(padded, corner, image.shape)


def random_translate(
    key: PRNGKeyArray, image: Float[Array, 'h w c'], max_shift: int, fill: float = 0.0
) -> Float[Array, 'h w c']:
    """Moves the image by up to `max_shift` whole pixels each way.

    Equal to the padded random crop of CIFAR training (He et al. 2016, section 4.2).
    """
    dy, dx = jax.random.randint(key, (2,), -max_shift, max_shift + 1, jnp.int32)
    return translate(image, dy, dx, fill)


def affine(
    image: Float[Array, 'h w c'],
    matrix: Float[Array, '2 3'] | Float[Array, '3 3'],
    fill: float | None = 0.0,
) -> Float[Array, 'h w c']:
    """The image under an affine map, bilinear, by inverse mapping.

    The output at (y, x) shows the input at matrix @ (y, x, 1), both in pixels from the image's
    centre. Outside lies `fill`, or with fill=None the nearest edge. Equal to
    `scipy.ndimage.affine_transform` of order 1, mode 'grid-constant' or 'nearest'. Of a 3x3
    matrix the last row is taken to be (0, 0, 1).
    """
    # dm_pix.affine_transform gathers in three dimensions: on a CPU 48 to 84 times as slow.
    height, width, _ = image.shape
    dtype = jnp.promote_types(image.dtype, jnp.float32)
    centre = jnp.array([(height - 1) / 2, (width - 1) / 2], dtype)
    y, x = (
        jnp.arange(height, dtype=dtype) - centre[0],
        jnp.arange(width, dtype=dtype) - centre[1],
    )
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
    """The image at the points (y, x), in pixels; see `affine` for what lies outside."""
    height, width, _ = image.shape
    border = ((1, 1), (1, 1), (0, 0))
    if fill is None:
        image = jnp.pad(image, border, mode='edge')
    else:
        image = jnp.pad(image, border, constant_values=fill)
    # All points farther than one pixel outside see the border alone.
    y, x = jnp.clip(y + 1, 0, height + 1), jnp.clip(x + 1, 0, width + 1)
    top, left = jnp.clip(jnp.floor(y), 0, height), jnp.clip(jnp.floor(x), 0, width)
    down, right = (y - top)[..., None], (x - left)[..., None]
    top, left = top.astype(jnp.int32), left.astype(jnp.int32)
    above = (1 - right) * image[top, left] + right * image[top, left + 1]
    below = (1 - right) * image[top + 1, left] + right * image[top + 1, left + 1]
    return (1 - down) * above + down * below


def rotation(degrees: Scalar) -> Float[Array, '2 3']:
    """The matrix for `affine` that turns the image counter-clockwise."""
    angle = jnp.deg2rad(degrees)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    zero = jnp.zeros_like(angle)
    return jnp.stack([cos, sin, zero, -sin, cos, zero]).reshape(2, 3)


def shearing(shear_y: Scalar, shear_x: Scalar) -> Float[Array, '2 3']:
    """The matrix for `affine` by which (y, x) shows (y + shear_y x, x + shear_x y)."""
    return jnp.array([[1.0, shear_y, 0.0], [shear_x, 1.0, 0.0]])


def translation(dy: Scalar, dx: Scalar) -> Float[Array, '2 3']:
    """The matrix for `affine` that moves the image down by dy and right by dx pixels."""
    return jnp.array([[1.0, 0.0, -dy], [0.0, 1.0, -dx]])


def rotate(
    image: Float[Array, 'h w c'], degrees: Scalar, fill: float | None = 0.0
) -> Float[Array, 'h w c']:
    """The image turned counter-clockwise about its centre, bilinear; `fill` as in `affine`.

    Equal to `scipy.ndimage.rotate(reshape=False, order=1, mode='grid-constant')`.
    """
    return affine(image, rotation(degrees), fill)


def random_rotate(
    key: PRNGKeyArray,
    image: Float[Array, 'h w c'],
    max_degrees: float,
    fill: float | None = 0.0,
) -> Float[Array, 'h w c']:
    """The image turned by an angle uniform in [-max_degrees, max_degrees]."""
    degrees = jax.random.uniform(key, (), jnp.float32, -max_degrees, max_degrees)
    return rotate(image, degrees, fill)


def shear(
    image: Float[Array, 'h w c'],
    shear_y: Scalar,
    shear_x: Scalar,
    fill: float | None = 0.0,
) -> Float[Array, 'h w c']:
    """The image sheared about its centre, bilinear: (y, x) shows (y + shear_y x, x + shear_x y)."""
    return affine(image, shearing(shear_y, shear_x), fill)
