"""Augmentation policies: RandAugment, cutout, DiffAugment on one image, mixup, CutMix on a batch.

The batch functions mix neighbours 2i and 2i+1, with the key of 2i. A batch that is cut into
contiguous even pieces (devices, processes) is therefore mixed as the whole would be.
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
    """RandAugment (Cubuk et al. 2020): `layers` operations, drawn uniformly from their fourteen.

    `magnitude` is in [0, 10], else ValueError. The ranges at 10 are those of AutoAugment (Cubuk
    et al. 2019, table 6): turn 30 degrees, shear 0.3, move 150/331 of the side, colour, contrast,
    brightness and sharpness by a factor of 1 +- 0.9, posterize to 4 bits, solarize at 0. As in
    torchvision all grow with the magnitude, and signs are random. Maps are bilinear about the
    centre; `fill` comes in from outside.
    """
    if not 0 <= magnitude <= 10:
        raise ValueError(f'randaugment: magnitude is in [0, 10], not {magnitude}.')
    for layer_key in jax.random.split(key, layers):
        image = _random_operation(layer_key, image, magnitude / 10, fill)
    return image


def _random_operation(
    key: PRNGKeyArray, image: Float[Array, 'h w c'], strength: float, fill: float
) -> Float[Array, 'h w c']:
    """One of RandAugment's operations at `strength` in [0, 1].

    Under vmap every image pays for all operations, so the five geometric ones share one
    resampling: operations 0 to 4 are its matrices, 5 the identity, 6 to 13 change colours.
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
    """Rotate, shear x, shear y, translate x, translate y, identity."""
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
    """Operation 0 is the identity; a threshold or a number of bits has no sign, a factor has."""
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
    """A square of `size` pixels becomes `fill` (DeVries & Taylor 2017).

    Its centre is uniform over the image, so a part of it may lie outside.
    """
    inside = _random_box(key, *image.shape[:2], jnp.array([size, size]))
    return jnp.where(inside[..., None], jnp.asarray(fill, image.dtype), image)


def _random_box(
    key: PRNGKeyArray, height: int, width: int, size: Int[Array, '2']
) -> Bool[Array, 'height width']:
    """True inside a box of this (height, width) about a random pixel."""
    image_size = jnp.array([height, width], jnp.int32)
    corner = jax.random.randint(key, (2,), 0, image_size, jnp.int32) - size // 2
    return _box(corner, size, height, width)


def _box(
    corner: Int[Array, '2'], size: Int[Array, '2'], height: int, width: int
) -> Bool[Array, 'height width']:
    """True inside the box of this (top, left) and (height, width)."""
    y, x = jnp.arange(height)[:, None], jnp.arange(width)
    (top, left), (bottom, right) = corner, corner + size
    return (top <= y) & (y < bottom) & (left <= x) & (x < right)


def diffaugment(
    key: PRNGKeyArray,
    image: Float[Array, 'h w c'],
    policy: str = 'color,translation,cutout',
) -> Float[Array, 'h w c']:
    """DiffAugment (Zhao et al. 2020), for whatever a GAN's discriminator sees, real or generated.

    color: adds U(-0.25, 0.25); then moves each pixel away from the mean of its channels by a
    factor of U(0, 2), and the image away from its mean by U(0.5, 1.5). translation: up to 1/8 of
    each side, in whole pixels. cutout: a box of half the sides, which may hang over. Nothing is
    clipped, so gradients reach the generator through every colour. The paper's images are in
    [-1, 1], of twice the range: its brightness is U(-0.5, 0.5), and the 0 that it fills in is
    0.5 here. Raises a ValueError for an unknown word of `policy`, which may be empty.
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
    return geometry.translate(
        image, *jax.random.randint(key, (2,), -reach, reach + 1, jnp.int32), fill=0.5
    )


def _cut_half(key: PRNGKeyArray, image: Float[Array, 'h w c']) -> Float[Array, 'h w c']:
    sides = jnp.array(image.shape[:2], jnp.int32)
    size = sides // 2
    # A box of an even side is centred between pixels: there is one more place for it.
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
    """Each example becomes lam * itself + (1 - lam) * its neighbour (Zhang et al. 2018).

    lam ~ Beta(alpha, alpha), one a pair. `targets` are class probabilities, `keys` one an
    example (`jaxvision.core.keys.per_example`). Raises ValueError for an odd batch or alpha <= 0.
    """
    _check_pairs(keys, alpha, 'mixup')
    share = jnp.repeat(_shares(keys[::2], alpha), 2)
    return _mix(share, images), _mix(share, targets)


def cutmix(
    keys: Key[Array, 'b'],
    images: Float[Array, 'b h w c'],
    targets: Float[Array, 'b k'],
    alpha: float,
) -> tuple[Float[Array, 'b h w c'], Float[Array, 'b k']]:
    """Neighbours exchange a random box, and that share of their targets (Yun et al. 2019).

    The box has the image's ratio and the area 1 - lam, lam ~ Beta(alpha, alpha), and is cut at
    the border; the targets go by the area that is left. Arguments and errors as in `mixup`.
    """
    _check_pairs(keys, alpha, 'cutmix')
    _, height, width, _ = images.shape
    share_keys, place_keys = jax.vmap(jax.random.split, out_axes=1)(keys[::2])
    side = jnp.sqrt(1 - _shares(share_keys, alpha))
    sizes = (side[:, None] * jnp.array([height, width], side.dtype)).astype(jnp.int32)
    inside = jax.vmap(_random_box, (0, None, None, 0))(place_keys, height, width, sizes)
    inside = jnp.repeat(inside, 2, axis=0)
    share = 1 - inside.mean((1, 2), dtype=jnp.float32)
    images = jnp.where(inside[..., None], _neighbours(images), images)
    return images, _mix(share, targets)


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


def _shares(keys: Key[Array, 'pairs'], alpha: float) -> Float[Array, 'pairs']:
    """lam ~ Beta(alpha, alpha) of each pair."""
    return jax.vmap(lambda key: jax.random.beta(key, alpha, alpha, (), jnp.float32))(
        keys
    )


def _neighbours(batch: Float[Array, 'b ...']) -> Float[Array, 'b ...']:
    """The batch with 2i and 2i+1 exchanged."""
    pairs = batch.reshape(-1, 2, *batch.shape[1:])
    return pairs[:, ::-1].reshape(batch.shape)


def _mix(
    share: Float[Array, 'b'], batch: Float[Array, 'b ...']
) -> Float[Array, 'b ...']:
    """share * batch + (1 - share) * its neighbours."""
    share = share.astype(batch.dtype).reshape(-1, *[1] * (batch.ndim - 1))
    return share * batch + (1 - share) * _neighbours(batch)
