"""Brightness, contrast, elastic distortion and pixelation. JPEG is in `image.degrade`."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxvision.image import geometry
from jaxvision.image.types import Image

# One weight for each pair of an output pixel and an input pixel along an axis.
Weights = Float[np.ndarray, 'n n']
# Three points (x, y).
Corners = Float[Array, '3 2']
# Coordinates along an axis of an image.
Coordinates = Float[Array, '*shape']


def brighten(image: Image, amount: float) -> Image:
    """Add to the value of HSV. Hue and saturation stay.

    Args:
        image: [H, W, C] in [0, 1].
        amount: in [-1, 1].
    """
    value = image.max(-1, keepdims=True)
    new_value = jnp.clip(value + amount, 0, 1)
    divisor = jnp.where(value > 0, value, 1)
    return jnp.where(value > 0, image * (new_value / divisor), new_value)


def reduce_contrast(image: Image, factor: float) -> Image:
    """Scale the difference from the mean of each channel, and clip to [0, 1].

    Args:
        image: [H, W, C] in [0, 1].
        factor: 1 changes nothing, 0 gives one colour.
    """
    mean = image.mean((0, 1), keepdims=True)
    return jnp.clip((image - mean) * factor + mean, 0, 1)


def pixelate(image: Image, fraction: float) -> Image:
    """Reduce an image by averages and enlarge it by repeated pixels, as Pillow's filter BOX does.

    Args:
        image: [H, W, C].
        fraction: size of the reduced image, as a fraction of both sides.
    """
    height, width, _ = image.shape
    rows = jnp.asarray(_pixelating(height, int(height * fraction)), image.dtype)
    columns = jnp.asarray(_pixelating(width, int(width * fraction)), image.dtype)
    highest = jax.lax.Precision.HIGHEST
    return jnp.einsum('yh,hwc,xw->yxc', rows, image, columns, precision=highest)


def _pixelating(length: int, reduced: int) -> Weights:
    """Weights that reduce and enlarge an axis."""
    return _box_weights(reduced, length) @ _box_weights(length, max(reduced, 1))


def _box_weights(length: int, samples: int) -> Float[np.ndarray, 'samples length']:
    """Weights of Pillow's filter BOX for an axis: equal for all pixels in the box of a sample."""
    scale = length / samples
    support = 0.5 * max(scale, 1.0)
    weights = np.zeros((samples, length))
    for sample in range(samples):
        centre = (sample + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        last = min(int(centre + support + 0.5), length)
        distances = (np.arange(first, last) - centre + 0.5) / max(scale, 1.0)
        is_inside = (distances > -0.5) & (distances <= 0.5)
        weights[sample, first:last] = is_inside / is_inside.sum()
    return weights


def elastic_transform(
    key: PRNGKeyArray,
    image: Image,
    displacement: float,
    sigma: float,
    corner: float,
) -> Image:
    """Distort an image by a random affine map, then by a smooth random field.

    Args:
        key: random key.
        image: [H, W, C] in [0, 1].
        displacement: factor of the field, in pixels. It is uniform in
            [-displacement, displacement] before it is smoothed.
        sigma: std of the Gaussian that smooths the field, in pixels.
        corner: the largest shift of the three corners that define the affine map, in pixels.
    """
    height, width, _ = image.shape
    corner_key, field_key = jax.random.split(key)
    y, x = jnp.mgrid[:height, :width].astype(jnp.float32)
    shifts = jax.random.uniform(corner_key, (3, 2), jnp.float32, -corner, corner)
    matrix = _affine(height, width, shifts)
    source_x, source_y = jnp.tensordot(matrix, jnp.stack([x, y, jnp.ones_like(x)]), 1)
    warped = geometry.interpolate(
        image, _mirrored(source_y, height), _mirrored(source_x, width), None
    )
    if not displacement:
        return jnp.clip(warped, 0, 1)
    fields = jax.random.uniform(field_key, (2, height, width), jnp.float32, -1, 1)
    rows = jnp.asarray(_smoothing(height, sigma), jnp.float32)
    columns = jnp.asarray(_smoothing(width, sigma), jnp.float32)
    highest = jax.lax.Precision.HIGHEST
    smooth = jnp.einsum('yh,fhw,xw->fyx', rows, fields, columns, precision=highest)
    dx, dy = displacement * smooth
    distorted = geometry.interpolate(
        warped, _reflected(y + dy, height), _reflected(x + dx, width), None
    )
    return jnp.clip(distorted, 0, 1)


def _affine(height: int, width: int, shifts: Corners) -> Float[Array, '2 3']:
    """The map from shifted corners to the corners of a square at the centre, on (x, y, 1)."""
    centre = np.array([width // 2, height // 2])
    half = min(height, width) // 3
    signs = np.array([[1, 1], [1, -1], [-1, -1]])
    corners = jnp.asarray(centre + half * signs, jnp.float32)
    shifted = jnp.concatenate([corners + shifts, jnp.ones((3, 1))], -1)
    return jnp.linalg.solve(shifted, corners).T


def _mirrored(coordinates: Coordinates, length: int) -> Coordinates:
    """Mirror coordinates at the first and the last pixel."""
    last = length - 1
    return last - jnp.abs(last - coordinates % (2 * last))


def _reflected(coordinates: Coordinates, length: int) -> Coordinates:
    """Mirror coordinates at the outer edges of the first and the last pixel."""
    folded = length - jnp.abs(length - (coordinates + 0.5) % (2 * length))
    return folded - 0.5


def _smoothing(length: int, sigma: float) -> Weights:
    """Weights of a Gaussian that is cut off at 3 sigma, and reflected at the edges."""
    from scipy import ndimage

    return ndimage.gaussian_filter1d(
        np.eye(length), sigma, axis=0, mode='reflect', truncate=3
    )
