"""Augmentation: RandAugment, cutout and DiffAugment on an image, mixup and CutMix on a batch.

The batch functions mix the neighbours 2i and 2i + 1 with the key of 2i. The result therefore does
not change if devices or processes hold contiguous parts of even size.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from jaxvision.core import errors
from jaxvision.core import keys as named_keys
from jaxvision.image import color, geometry
from jaxvision.image.types import Image, Index, PixelMask, Scalar

Images = Float[Array, 'b h w c']
Targets = Float[Array, 'b k']
Keys = Key[Array, 'b']
# (height, width) or (y, x) in pixels.
Pair = Int[Array, '2']


def randaugment(
    key: PRNGKeyArray,
    image: Image,
    layers: int = 2,
    magnitude: float | int = 10,
    fill: float = 0.5,
) -> Image:
    """Apply random operations from a set of fourteen (RandAugment, Cubuk et al. 2020).

    At magnitude 10 the operations have the ranges of AutoAugment (Cubuk et al. 2019, table 6):

    - rotation by 30 degrees, shear by 0.3, and translation by 150/331 of the side,
    - saturation, contrast, brightness and sharpness by a factor of 1 +- 0.9,
    - posterize to 4 bits, and solarize at 0.

    As in torchvision, these effects grow with the magnitude, and signs are random.
    Geometric operations are bilinear about the centre. The other three operations
    ignore the magnitude: autocontrast, equalize, and none at all.

    Args:
        key: random key of the operations and signs.
        image: in [0, 1], [H, W, 1 or 3].
        layers: number of operations, applied one after the other.
        magnitude: strength of all operations, 0 to 10.
        fill: the value of pixels from outside the image.

    Raises:
        ValueError: The magnitude is not in [0, 10].
    """
    if not 0 <= magnitude <= 10:
        raise ValueError(f'magnitude={magnitude}: expected a number in [0, 10].')
    for layer_key in jax.random.split(key, layers):
        image = _random_operation(layer_key, image, magnitude / 10, fill)
    return image


def _random_operation(
    key: PRNGKeyArray,
    image: Image,
    strength: float,
    fill: float,
) -> Image:
    """Apply a random operation of RandAugment.

    Operations 0 to 4 are geometric, 5 is the identity, and 6 to 13 change colours. Under vmap all
    operations are computed for every image, so the five geometric ones share one resampling.

    Args:
        key: random key of the operation and its sign.
        image: [H, W, C] in [0, 1].
        strength: in [0, 1].
        fill: the value of pixels from outside the image.
    """
    operation_key, sign_key = jax.random.split(key)
    operation = jax.random.randint(operation_key, (), 0, 14, jnp.int32)
    is_negative = jax.random.uniform(sign_key, (), jnp.float32) < 0.5
    sign = jnp.where(is_negative, -1.0, 1.0)
    signed = strength * sign
    height, width, _ = image.shape
    matrices = _geometric_matrices(signed, height, width)
    matrix = matrices[jnp.minimum(operation, 5)]
    image = geometry.affine(image, matrix, fill)
    color_operation = jnp.maximum(operation, 5) - 5
    factor = 1 + 0.9 * signed
    return _change_colors(color_operation, image, strength, factor)


def _geometric_matrices(
    signed: Scalar,
    height: int,
    width: int,
) -> Float[Array, '6 2 3']:
    """Matrices to rotate, shear x, shear y, translate x, translate y, and the identity.

    Args:
        signed: strength with a sign, in [-1, 1].
        height: of the image in pixels.
        width: of the image in pixels.
    """
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
    operation: Index,
    image: Image,
    strength: float,
    factor: Scalar,
) -> Image:
    """Apply a colour operation. Operation 0 is the identity.

    Args:
        operation: 0 to 8.
        image: [H, W, C] in [0, 1].
        strength: of operations without a sign, in [0, 1].
        factor: of the four `adjust_*` operations, 1 for no change.
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
    key: PRNGKeyArray,
    image: Image,
    size: int,
    fill: float = 0.0,
) -> Image:
    """Fill a random square of an image (DeVries & Taylor 2017).

    Args:
        key: random key of the centre of the square, uniform over the image. A part of the square
            may lie outside.
        image: [H, W, C].
        size: side of the square in pixels.
        fill: the value of its pixels.
    """
    height, width, _ = image.shape
    inside = _random_box(key, height, width, jnp.array([size, size]))
    fill = jnp.asarray(fill, image.dtype)
    return jnp.where(inside[..., None], fill, image)


def _random_box(
    key: PRNGKeyArray,
    height: int,
    width: int,
    size: Pair,
) -> PixelMask:
    """True inside a box about a random pixel.

    Args:
        key: random key of the pixel.
        height: of the image in pixels.
        width: of the image in pixels.
        size: (height, width) of the box.
    """
    image_size = jnp.array([height, width], jnp.int32)
    centre = jax.random.randint(key, (2,), 0, image_size, jnp.int32)
    corner = centre - size // 2
    return _box(corner, size, height, width)


def _box(
    corner: Pair,
    size: Pair,
    height: int,
    width: int,
) -> PixelMask:
    """True inside a box.

    Args:
        corner: (top, left) of the box.
        size: (height, width) of the box.
        height: of the image in pixels.
        width: of the image in pixels.
    """
    y = jnp.arange(height)[:, None]
    x = jnp.arange(width)
    end = corner + size
    top, left = corner
    bottom, right = end
    in_rows = (top <= y) & (y < bottom)
    return in_rows & (left <= x) & (x < right)


def diffaugment(
    key: PRNGKeyArray,
    image: Image,
    policy: str = 'color,translation,cutout',
) -> Image:
    """Apply DiffAugment (Zhao et al. 2020) to a real or generated image for a discriminator.

    The operations of a policy:

        color        adds U(-0.25, 0.25), multiplies the difference of each pixel from the mean of
                     its channels by U(0, 2), and its difference from the mean of the image by
                     U(0.5, 1.5)
        translation  shifts by up to 1/8 of each side, in whole pixels
        cutout       fills a box of half the sides, a part of which may lie outside

    No value is clipped, so that every colour has a gradient for the generator. The paper's images
    are in [-1, 1], twice the range. Its brightness of U(-0.5, 0.5) is U(-0.25, 0.25) here, and its
    fill of 0 is 0.5.

    Args:
        key: random key of the parameters.
        image: [H, W, C] in [0, 1].
        policy: names of operations joined by commas, applied in this order. '' changes
            nothing.

    Raises:
        ValueError: The policy names an unknown operation.
    """
    for name in filter(None, policy.split(',')):
        if name not in _DIFFERENTIABLE:
            raise errors.unknown('diffaugment', name, _DIFFERENTIABLE)
        image = _DIFFERENTIABLE[name](named_keys.stream(key, name), image)
    return image


def _jitter(
    key: PRNGKeyArray,
    image: Image,
) -> Image:
    """Change brightness, saturation and contrast at random."""
    low = jnp.array([-0.25, 0, 0.5])
    high = jnp.array([0.25, 2, 1.5])
    uniform = jax.random.uniform(key, (3,), jnp.float32, low, high)
    shift, saturation, contrast = uniform.astype(image.dtype)
    image = image + shift
    mean = image.mean(-1, keepdims=True)
    image = mean + saturation * (image - mean)
    return image.mean() + contrast * (image - image.mean())


def _shift(
    key: PRNGKeyArray,
    image: Image,
) -> Image:
    """Shift by random whole pixels."""
    reach = jnp.array(image.shape[:2], jnp.int32) // 8
    dy, dx = jax.random.randint(key, (2,), -reach, reach + 1, jnp.int32)
    return geometry.translate(image, dy, dx, fill=0.5)


def _cut_half(
    key: PRNGKeyArray,
    image: Image,
) -> Image:
    """Fill a random box of half the sides with grey."""
    height, width, _ = image.shape
    sides = jnp.array([height, width], jnp.int32)
    size = sides // 2
    # A box with an even side is centred between pixels, so it has one more position.
    positions = sides + 1 - size % 2
    centre = jax.random.randint(key, (2,), 0, positions, jnp.int32)
    inside = _box(centre - size // 2, size, height, width)
    grey = jnp.asarray(0.5, image.dtype)
    return jnp.where(inside[..., None], grey, image)


_DIFFERENTIABLE = {'color': _jitter, 'translation': _shift, 'cutout': _cut_half}


def mixup(
    keys: Keys,
    images: Images,
    targets: Targets,
    alpha: float,
) -> tuple[Images, Targets]:
    """Mix pairs of examples: lam * example + (1 - lam) * neighbour (mixup, Zhang et al. 2018).

    The neighbours are the examples 2i and 2i + 1. Both have the lam of the key of 2i.

    Args:
        keys: one random key for each example (`jaxvision.core.keys.per_example`).
        images: [B, H, W, C].
        targets: class probabilities, [B, K].
        alpha: lam of a pair has the distribution Beta(alpha, alpha).

    Returns:
        The mixed images and targets.

    Raises:
        ValueError: The batch size is odd, or alpha is not above 0.
    """
    _check_pairs(keys, alpha, 'mixup')
    lam = _sample_lam(keys[::2], alpha)
    lam = jnp.repeat(lam, 2)
    return _mix(lam, images), _mix(lam, targets)


def cutmix(
    keys: Keys,
    images: Images,
    targets: Targets,
    alpha: float,
) -> tuple[Images, Targets]:
    """Exchange a random box between examples 2i and 2i + 1 (CutMix, Yun et al. 2019).

    The box has the image's aspect ratio and the fraction 1 - lam of its area. It is cropped at the
    border of the image, and the targets are mixed by the area that remains. The key of
    2i decides.

    Args:
        keys: one random key for each example (`jaxvision.core.keys.per_example`).
        images: [B, H, W, C].
        targets: class probabilities, [B, K].
        alpha: lam of a pair has the distribution Beta(alpha, alpha).

    Returns:
        The mixed images and targets.

    Raises:
        ValueError: The batch size is odd, or alpha is not above 0.
    """
    _check_pairs(keys, alpha, 'cutmix')
    _, height, width, _ = images.shape
    lam_keys, place_keys = jax.vmap(jax.random.split, out_axes=1)(keys[::2])
    lam = _sample_lam(lam_keys, alpha)
    side = jnp.sqrt(1 - lam)
    sizes = side[:, None] * jnp.array([height, width], side.dtype)
    sizes = sizes.astype(jnp.int32)
    random_boxes = jax.vmap(_random_box, (0, None, None, 0))
    inside = random_boxes(place_keys, height, width, sizes)
    inside = jnp.repeat(inside, 2, axis=0)
    fraction = 1 - inside.mean((1, 2), dtype=jnp.float32)
    images = jnp.where(inside[..., None], _neighbours(images), images)
    return images, _mix(fraction, targets)


def _check_pairs(
    keys: Keys,
    alpha: float,
    caller: str,
) -> None:
    if len(keys) % 2:
        raise ValueError(
            f'{caller}: expected an even number of examples, as they are mixed in pairs, '
            f'but the batch has {len(keys)}. Choose an even batch size on each device.'
        )
    if alpha <= 0:
        raise ValueError(
            f'{caller}: alpha={alpha}: expected a number above 0. To switch it off, do '
            f'not call {caller}.'
        )


def _sample_lam(
    keys: Key[Array, 'pairs'],
    alpha: float,
) -> Float[Array, 'pairs']:
    """Sample lam of each pair from Beta(alpha, alpha)."""

    def sample(key: PRNGKeyArray) -> Float[Array, '']:
        return jax.random.beta(key, alpha, alpha, (), jnp.float32)

    return jax.vmap(sample)(keys)


def _neighbours(batch: Float[Array, 'b ...']) -> Float[Array, 'b ...']:
    """Exchange the examples 2i and 2i + 1."""
    pairs = batch.reshape(-1, 2, *batch.shape[1:])
    exchanged = pairs[:, ::-1]
    return exchanged.reshape(batch.shape)


def _mix(
    fraction: Float[Array, 'b'],
    batch: Float[Array, 'b ...'],
) -> Float[Array, 'b ...']:
    """Compute fraction * batch + (1 - fraction) * neighbours."""
    ones = [1] * (batch.ndim - 1)
    fraction = fraction.astype(batch.dtype)
    fraction = fraction.reshape(-1, *ones)
    return fraction * batch + (1 - fraction) * _neighbours(batch)
