"""Augmentation: RandAugment, cutout and DiffAugment on an image, mixup and CutMix on a batch.

The batch functions mix neighbours 2i and 2i + 1 with the key of 2i. A batch that devices or
processes share in contiguous even parts is therefore mixed as the whole batch would be.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from jaxvision.core import errors
from jaxvision.core import keys as named_keys
from jaxvision.image import color, geometry


def randaugment(
    key: PRNGKeyArray,
    image: Float[Array, 'h w c'],
    layers: int = 2,
    magnitude: float | int = 10,
    fill: float = 0.5,
) -> Float[Array, 'h w c']:
    """Apply RandAugment (Cubuk et al. 2020): operations drawn uniformly from its fourteen.

    The ranges at magnitude 10 are those of AutoAugment (Cubuk et al. 2019, table 6): rotation by 30
    degrees, shear by 0.3, translation by 150/331 of the side, saturation, contrast, brightness and
    sharpness by a factor of 1 +- 0.9, posterize to 4 bits, solarize at 0. As in torchvision, all
    grow with the magnitude, and signs are random. Geometric operations are bilinear about the
    centre.

    Args:
        key: draws the operations and signs.
        image: in [0, 1], [H, W, 1 or 3].
        layers: how many operations, one after the other.
        magnitude: their strength, 0 to 10.
        fill: the value of pixels from outside the image.

    Raises:
        ValueError: The magnitude is not in [0, 10].
    """
    if not 0 <= magnitude <= 10:
        raise ValueError(f'randaugment: magnitude is in [0, 10], not {magnitude}.')
    for layer_key in jax.random.split(key, layers):
        image = _random_operation(layer_key, image, magnitude / 10, fill)
    return image


def _random_operation(
    key: PRNGKeyArray, image: Float[Array, 'h w c'], strength: float, fill: float
) -> Float[Array, 'h w c']:
    """Apply one of RandAugment's operations.

    Under vmap every image pays for all operations, so the five geometric ones share one
    resampling. Operations 0 to 4 are its matrices, 5 is the identity, 6 to 13 change colours.

    Args:
        key: draws the operation and its sign.
        image: [H, W, C] in [0, 1].
        strength: in [0, 1].
        fill: the value of pixels from outside the image.
    """
    operation_key, sign_key = jax.random.split(key)
    operation = jax.random.randint(operation_key, (), 0, 14, jnp.int32)
    sign = jnp.where(jax.random.uniform(sign_key, (), jnp.float32) < 0.5, -1.0, 1.0)
    signed = strength * sign
    matrices = _geometric_matrices(signed, *image.shape[:2])
    image = geometry.affine(image, matrices[jnp.minimum(operation, 5)], fill)
    return _change_colors(
        jnp.maximum(operation, 5) - 5, image, strength, 1 + 0.9 * signed
    )


def _geometric_matrices(
    signed: Float[Array, ''], height: int, width: int
) -> Float[Array, '6 2 3']:
    """The matrices to rotate, shear x, shear y, translate x, translate y, and the identity."""
    zero = jnp.zeros_like(signed)
    return jnp.stack(
        [
            geometry.rotation(30 * signed),
            geometry.shearing(zero, 0.3 * signed),
            geometry.shearing(0.3 * signed, zero),
            geometry.translation(zero, 150 / 331 * width * signed),
            geometry.translation(150 / 331 * height * signed, zero),
            geometry.translation(zero, zero),
        ]
    )


def _change_colors(
    operation: Int[Array, ''],
    image: Float[Array, 'h w c'],
    strength: float,
    factor: Float[Array, ''],
) -> Float[Array, 'h w c']:
    """Apply a colour operation. Operation 0 is the identity.

    Args:
        operation: 0 to 8.
        image: [H, W, C] in [0, 1].
        strength: in [0, 1], of operations without a sign.
        factor: of the operations that strengthen or weaken, 1 for no change.
    """
    operations = (
        lambda x: x,
        color.autocontrast,
        color.equalize,
        # A threshold of 256, above all 8-bit intensities, at strength 0.
        lambda x: color.solarize(x, 256 / 255 * (1 - strength)),
        lambda x: color.posterize(x, 8 - round(4 * strength)),
        lambda x: color.adjust_saturation(x, factor),
        lambda x: color.adjust_contrast(x, factor),
        lambda x: color.adjust_brightness(x, factor),
        lambda x: color.adjust_sharpness(x, factor),
    )
    return lax.switch(operation, operations, image)


def cutout(
    key: PRNGKeyArray, image: Float[Array, 'h w c'], size: int, fill: float = 0.0
) -> Float[Array, 'h w c']:
    """Fill a random square of an image (DeVries & Taylor 2017).

    Args:
        key: draws the centre of the square, uniform over the image. A part of the square may lie
            outside.
        image: [H, W, C].
        size: side of the square in pixels.
        fill: the value of its pixels.
    """
    inside = _random_box(key, *image.shape[:2], jnp.array([size, size]))
    return jnp.where(inside[..., None], jnp.asarray(fill, image.dtype), image)


def _random_box(
    key: PRNGKeyArray, height: int, width: int, size: Int[Array, '2']
) -> Bool[Array, 'height width']:
    """True inside a box of `size` (height, width) about a random pixel."""
    image_size = jnp.array([height, width], jnp.int32)
    corner = jax.random.randint(key, (2,), 0, image_size, jnp.int32) - size // 2
    return _box(corner, size, height, width)


def _box(
    corner: Int[Array, '2'], size: Int[Array, '2'], height: int, width: int
) -> Bool[Array, 'height width']:
    """True inside a box: `corner` is its (top, left), `size` its (height, width)."""
    y = jnp.arange(height)[:, None]
    x = jnp.arange(width)
    end = corner + size
    top, left = corner
    bottom, right = end
    return (top <= y) & (y < bottom) & (left <= x) & (x < right)


def diffaugment(
    key: PRNGKeyArray,
    image: Float[Array, 'h w c'],
    policy: str = 'color,translation,cutout',
) -> Float[Array, 'h w c']:
    """Apply DiffAugment (Zhao et al. 2020) to a real or generated image for a discriminator.

    The operations of a policy:

        color        adds U(-0.25, 0.25), multiplies the difference of each pixel to the mean of
                     its channels by U(0, 2), and that of the image to its mean by U(0.5, 1.5)
        translation  by up to 1/8 of each side, in whole pixels
        cutout       of a box of half the sides, a part of which may lie outside

    No value is clipped, so gradients reach the generator through every colour. The paper's images
    are in [-1, 1], twice the range: its brightness is U(-0.5, 0.5), and its fill of 0 is 0.5 here.

    Args:
        key: draws the parameters.
        image: [H, W, C] in [0, 1].
        policy: names of operations joined by commas, or ''.

    Raises:
        ValueError: The policy names an unknown operation.
    """
    for name in filter(None, policy.split(',')):
        if name not in _DIFFERENTIABLE:
            raise errors.unknown('diffaugment', name, _DIFFERENTIABLE)
        image = _DIFFERENTIABLE[name](named_keys.stream(key, name), image)
    return image


def _jitter(key: PRNGKeyArray, image: Float[Array, 'h w c']) -> Float[Array, 'h w c']:
    shift, saturation, contrast = jax.random.uniform(
        key, (3,), jnp.float32, jnp.array([-0.25, 0, 0.5]), jnp.array([0.25, 2, 1.5])
    ).astype(image.dtype)
    image = image + shift
    mean = image.mean(-1, keepdims=True)
    image = mean + saturation * (image - mean)
    return image.mean() + contrast * (image - image.mean())


def _shift(key: PRNGKeyArray, image: Float[Array, 'h w c']) -> Float[Array, 'h w c']:
    reach = jnp.array(image.shape[:2], jnp.int32) // 8
    dy, dx = jax.random.randint(key, (2,), -reach, reach + 1, jnp.int32)
    return geometry.translate(image, dy, dx, fill=0.5)


def _cut_half(key: PRNGKeyArray, image: Float[Array, 'h w c']) -> Float[Array, 'h w c']:
    sides = jnp.array(image.shape[:2], jnp.int32)
    size = sides // 2
    # A box with an even side is centred between pixels, so it has one more place.
    centre = jax.random.randint(key, (2,), 0, sides + 1 - size % 2, jnp.int32)
    inside = _box(centre - size // 2, size, *image.shape[:2])
    return jnp.where(inside[..., None], jnp.asarray(0.5, image.dtype), image)


_DIFFERENTIABLE = {'color': _jitter, 'translation': _shift, 'cutout': _cut_half}


def mixup(
    keys: Key[Array, 'b'],
    images: Float[Array, 'b h w c'],
    targets: Float[Array, 'b k'],
    alpha: float,
) -> tuple[Float[Array, 'b h w c'], Float[Array, 'b k']]:
    """Replace examples by lam * example + (1 - lam) * neighbour (mixup, Zhang et al. 2018).

    Args:
        keys: one for each example (`jaxvision.core.keys.per_example`).
        images: [B, H, W, C].
        targets: class probabilities, [B, K].
        alpha: lam ~ Beta(alpha, alpha), one for each pair.

    Returns:
        The mixed images and targets.

    Raises:
        ValueError: The batch size is odd, or alpha is not above 0.
    """
    _check_pairs(keys, alpha, 'mixup')
    lam = jnp.repeat(_draw_lam(keys[::2], alpha), 2)
    return _mix(lam, images), _mix(lam, targets)


def cutmix(
    keys: Key[Array, 'b'],
    images: Float[Array, 'b h w c'],
    targets: Float[Array, 'b k'],
    alpha: float,
) -> tuple[Float[Array, 'b h w c'], Float[Array, 'b k']]:
    """Exchange a random box between neighbours (CutMix, Yun et al. 2019).

    The box has the image's aspect ratio and the fraction 1 - lam of its area. It is cut at the
    border, and the targets are mixed by the area that is left.

    Args:
        keys: one for each example (`jaxvision.core.keys.per_example`).
        images: [B, H, W, C].
        targets: class probabilities, [B, K].
        alpha: lam ~ Beta(alpha, alpha), one for each pair.

    Returns:
        The mixed images and targets.

    Raises:
        ValueError: The batch size is odd, or alpha is not above 0.
    """
    _check_pairs(keys, alpha, 'cutmix')
    _, height, width, _ = images.shape
    lam_keys, place_keys = jax.vmap(jax.random.split, out_axes=1)(keys[::2])
    side = jnp.sqrt(1 - _draw_lam(lam_keys, alpha))
    sizes = (side[:, None] * jnp.array([height, width], side.dtype)).astype(jnp.int32)
    inside = jax.vmap(_random_box, (0, None, None, 0))(place_keys, height, width, sizes)
    inside = jnp.repeat(inside, 2, axis=0)
    fraction = 1 - inside.mean((1, 2), dtype=jnp.float32)
    images = jnp.where(inside[..., None], _neighbours(images), images)
    return images, _mix(fraction, targets)


def _check_pairs(keys: Key[Array, 'b'], alpha: float, caller: str) -> None:
    if len(keys) % 2:
        raise ValueError(
            f'{caller}: examples are mixed in pairs, but the batch has {len(keys)}; '
            'choose an even batch size (on each device).'
        )
    if alpha <= 0:
        raise ValueError(
            f'{caller}: alpha must be above 0, not {alpha}; leave {caller} out.'
        )


def _draw_lam(keys: Key[Array, 'pairs'], alpha: float) -> Float[Array, 'pairs']:
    """lam ~ Beta(alpha, alpha) of each pair."""

    def draw(key: PRNGKeyArray) -> Float[Array, '']:
        return jax.random.beta(key, alpha, alpha, (), jnp.float32)

    return jax.vmap(draw)(keys)


def _neighbours(batch: Float[Array, 'b ...']) -> Float[Array, 'b ...']:
    """The batch with 2i and 2i + 1 exchanged."""
    pairs = batch.reshape(-1, 2, *batch.shape[1:])
    return pairs[:, ::-1].reshape(batch.shape)


def _mix(
    fraction: Float[Array, 'b'], batch: Float[Array, 'b ...']
) -> Float[Array, 'b ...']:
    """fraction * batch + (1 - fraction) * its neighbours."""
    fraction = fraction.astype(batch.dtype).reshape(-1, *[1] * (batch.ndim - 1))
    return fraction * batch + (1 - fraction) * _neighbours(batch)
