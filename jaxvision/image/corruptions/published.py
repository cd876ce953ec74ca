"""The 15 corruptions of ImageNet-C and CIFAR-10-C with their published parameters.

Hendrycks & Dietterich 2019, and the code of the authors. These parts differ from that code:

- Frost is a procedural texture instead of six photographs.
- JPEG compression is computed in JAX. It differs from Pillow's by 0.3 of 255 levels on average.
- Images are not rounded between two steps of a corruption, nor stored as JPEG files.
- Zooming fits each side of an image, and sizes that the code fixes follow the image.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxvision.core import errors
from jaxvision.image import degrade
from jaxvision.image.corruptions import blur, digital, noise, weather
from jaxvision.image.types import Image

# The parameters of a severity, as the function takes them.
Parameters = float | int | tuple[float | int, ...]
# `(key, image, parameters) -> image`
Function = Callable[[PRNGKeyArray, Image, Parameters], Image]

SEVERITIES = (1, 2, 3, 4, 5)
# Images whose shorter side is below it have the parameters of CIFAR-10-C.
SMALL = 96


class Corruption(NamedTuple):
    """A corruption with its published parameters.

    Attributes:
        kind: 'noise', 'blur', 'weather' or 'digital'.
        function: `(key, image, parameters) -> image`.
        large: parameters of each severity for images of ImageNet's size, 224 x 224.
        small: parameters of each severity for images of CIFAR-10's size, 32 x 32.
    """

    kind: str
    function: Function
    large: Sequence[Parameters]
    small: Sequence[Parameters]


def corrupt(key: PRNGKeyArray, image: Image, name: str, severity: int) -> Image:
    """Corrupt an image by a published corruption.

    The parameters depend on the size of the image, see `SMALL`.

    Args:
        key: random key. Corruptions without randomness ignore it.
        image: [H, W, 1 or 3] in [0, 1].
        name: a key of `CORRUPTIONS`.
        severity: 1 to 5.

    Returns:
        The corrupted image, in [0, 1] and of the same dtype. It is computed in float32.

    Raises:
        ValueError: There is no such corruption or severity.
    """
    if name not in CORRUPTIONS:
        raise ValueError(
            str(errors.unknown('there is no corruption', name, CORRUPTIONS))
        )
    if severity not in SEVERITIES:
        raise ValueError(f'severity={severity}: expected 1 to 5.')
    corruption = CORRUPTIONS[name]
    table = corruption.large
    if min(image.shape[:2]) < SMALL:
        table = corruption.small
    pixels = image.astype(jnp.float32)
    corrupted = corruption.function(key, pixels, table[severity - 1])
    return jnp.clip(corrupted, 0, 1).astype(image.dtype)


def _gaussian_noise(key, image, std):
    return degrade.gaussian_noise(key, image, std)


def _shot_noise(key, image, photons):
    return noise.shot_noise(key, image, photons)


def _impulse_noise(key, image, fraction):
    return noise.impulse_noise(key, image, fraction)


def _defocus_blur(key, image, parameters):
    del key
    return blur.defocus_blur(image, *parameters)


def _glass_blur(key, image, parameters):
    return blur.glass_blur(key, image, *parameters)


def _motion_blur(key, image, parameters):
    radius, sigma = parameters
    degrees = jax.random.uniform(key, (), jnp.float32, -45, 45)
    return blur.motion_blur(image, radius, sigma, degrees)


def _zoom_blur(key, image, parameters):
    del key
    return blur.zoom_blur(image, np.arange(1, *parameters).tolist())


def _snow(key, image, parameters):
    names = (
        'mean',
        'std',
        'magnification',
        'threshold',
        'radius',
        'sigma',
        'weight',
    )
    return weather.snow(key, image, **dict(zip(names, parameters, strict=True)))


def _frost(key, image, parameters):
    return weather.frost(key, image, *parameters)


def _fog(key, image, parameters):
    return weather.fog(key, image, *parameters)


def _brightness(key, image, amount):
    del key
    return digital.brighten(image, amount)


def _contrast(key, image, factor):
    del key
    return digital.reduce_contrast(image, factor)


def _elastic_transform(key, image, fractions):
    side = min(image.shape[:2])
    return digital.elastic_transform(
        key, image, *(side * fraction for fraction in fractions)
    )


def _pixelate(key, image, fraction):
    del key
    return digital.pixelate(image, fraction)


def _jpeg_compression(key, image, quality):
    del key
    return degrade.jpeg_compression(image, quality)


# The published code has 244 pixels for images of 224.
_SIDE = 244 / 224

CORRUPTIONS = {
    'gaussian_noise': Corruption(
        'noise',
        _gaussian_noise,
        large=(0.08, 0.12, 0.18, 0.26, 0.38),
        small=(0.04, 0.06, 0.08, 0.09, 0.10),
    ),
    'shot_noise': Corruption(
        'noise',
        _shot_noise,
        large=(60.0, 25.0, 12.0, 5.0, 3.0),
        small=(500.0, 250.0, 100.0, 75.0, 50.0),
    ),
    'impulse_noise': Corruption(
        'noise',
        _impulse_noise,
        large=(0.03, 0.06, 0.09, 0.17, 0.27),
        small=(0.01, 0.02, 0.03, 0.05, 0.07),
    ),
    # Radius, and std of the Gaussian against aliasing.
    'defocus_blur': Corruption(
        'blur',
        _defocus_blur,
        large=((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5)),
        small=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),
    ),
    # Std of the Gaussian, distance, and how often pixels are replaced.
    'glass_blur': Corruption(
        'blur',
        _glass_blur,
        large=((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        small=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    ),
    # Length, and std of the weights.
    'motion_blur': Corruption(
        'blur',
        _motion_blur,
        large=((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)),
        small=((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)),
    ),
    # End and step of the magnifications from 1 on.
    'zoom_blur': Corruption(
        'blur',
        _zoom_blur,
        large=((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        small=((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    ),
    # See `weather.snow`.
    'snow': Corruption(
        'weather',
        _snow,
        large=(
            (0.1, 0.3, 3.0, 0.5, 10, 4.0, 0.8),
            (0.2, 0.3, 2.0, 0.5, 12, 4.0, 0.7),
            (0.55, 0.3, 4.0, 0.9, 12, 8.0, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8.0, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12.0, 0.55),
        ),
        small=(
            (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
            (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
        ),
    ),
    # Factors of the image and of the ice.
    'frost': Corruption(
        'weather',
        _frost,
        large=((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        small=((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    ),
    # Amount and decay.
    'fog': Corruption(
        'weather',
        _fog,
        large=((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
        small=((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),
    ),
    'brightness': Corruption(
        'weather',
        _brightness,
        large=(0.1, 0.2, 0.3, 0.4, 0.5),
        small=(0.05, 0.1, 0.15, 0.2, 0.3),
    ),
    'contrast': Corruption(
        'digital',
        _contrast,
        large=(0.4, 0.3, 0.2, 0.1, 0.05),
        small=(0.75, 0.5, 0.4, 0.3, 0.15),
    ),
    # Displacement, std of the field and shift of the corners, as fractions of the shorter side.
    'elastic_transform': Corruption(
        'digital',
        _elastic_transform,
        large=(
            (2 * _SIDE, 0.7 * _SIDE, 0.1 * _SIDE),
            (2 * _SIDE, 0.08 * _SIDE, 0.2 * _SIDE),
            (0.05 * _SIDE, 0.01 * _SIDE, 0.02 * _SIDE),
            (0.07 * _SIDE, 0.01 * _SIDE, 0.02 * _SIDE),
            (0.12 * _SIDE, 0.01 * _SIDE, 0.02 * _SIDE),
        ),
        small=(
            (0.0, 0.0, 0.08),
            (0.05, 0.2, 0.07),
            (0.08, 0.06, 0.06),
            (0.1, 0.04, 0.05),
            (0.1, 0.03, 0.03),
        ),
    ),
    'pixelate': Corruption(
        'digital',
        _pixelate,
        large=(0.6, 0.5, 0.4, 0.3, 0.25),
        small=(0.95, 0.9, 0.85, 0.75, 0.65),
    ),
    'jpeg_compression': Corruption(
        'digital',
        _jpeg_compression,
        large=(25, 18, 15, 10, 7),
        small=(80, 65, 58, 50, 40),
    ),
}
