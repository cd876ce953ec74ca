"""Class activation maps, from a layer's activations and the gradient of a score.

`intermediates.layer_gradient` computes both. All maps keep only positive evidence.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvision.attribution.types import Features, Maps
from jaxvision.core.errors import UserError
from jaxvision.image import resize
from jaxvision.image.types import Size

Tokens = Float[Array, 'b n d']


def grad_cam(activations: Features, gradients: Features) -> Maps:
    """Weigh each channel by its mean gradient, and keep the positive sum.

    Selvaraju et al., "Grad-CAM", 2016. For a network that ends with average pooling and a linear
    layer, the map is CAM (Zhou et al. 2015) over the number of cells.

    Args:
        activations: of a layer, [B, h, w, C].
        gradients: of the score with respect to them.
    """
    weights = gradients.mean(axis=(1, 2), keepdims=True)
    return _positive_sum(weights * activations)


def grad_cam_plus_plus(activations: Features, gradients: Features) -> Maps:
    """Weigh each channel by its positive gradients, those of single objects more equally.

    Chattopadhay et al., "Grad-CAM++", 2017, equations 10 and 19, for the exponential of the score.

    Args:
        activations: of a layer, [B, h, w, C].
        gradients: of the score with respect to them.
    """
    total = activations.sum(axis=(1, 2), keepdims=True)
    denominator = 2 * gradients**2 + total * gradients**3
    # The fraction is 0 / 0 where the gradient is 0.
    is_safe = denominator != 0
    numerator = jnp.where(is_safe, gradients**2, 0)
    fractions = numerator / jnp.where(is_safe, denominator, 1)
    weights = fractions * jax.nn.relu(gradients)
    weights = weights.sum(axis=(1, 2), keepdims=True)
    return _positive_sum(weights * activations)


def hires_cam(activations: Features, gradients: Features) -> Maps:
    """Multiply activations and gradients cell by cell, and keep the positive sum.

    Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional
    neural networks", 2020.

    Args:
        activations: of a layer, [B, h, w, C].
        gradients: of the score with respect to them.
    """
    return _positive_sum(activations * gradients)


def upsample(maps: Maps, size: Size) -> Float[Array, 'b height width']:
    """Resize maps of cells bilinearly to the pixels of an image.

    The centres of cells and pixels are at half integers, so that a mirrored map becomes a mirrored
    result.

    Args:
        maps: [B, h, w].
        size: (height, width) of the result, pixels.
    """
    # Maps are the channels of an image.
    channels = jnp.moveaxis(maps, 0, -1)
    resized = resize.resize(channels, size)
    return jnp.moveaxis(resized, -1, 0)


def token_features(tokens: Tokens, size: Size) -> Features:
    """Arrange the tokens of patches as feature maps, without a class token before them.

    Args:
        tokens: [B, N, D], patches row by row, perhaps after one class token.
        size: (height, width) of the image, pixels.

    Returns:
        [B, h, w, D] of square patches.

    Raises:
        UserError: N tokens are no grid of square patches.
    """
    batch, number, width = tokens.shape
    rows, columns = patch_grid(number, size)
    patches = tokens[:, number - rows * columns :]
    return patches.reshape(batch, rows, columns, width)


def patch_grid(tokens: int, size: Size) -> tuple[int, int]:
    """(rows, columns) of the square patches of an image, without a class token.

    Args:
        tokens: their number, with or without a class token. No number of patches fits both.
        size: (height, width) of the image, pixels.

    Raises:
        UserError: The tokens are no grid of square patches.
    """
    height, width = size
    for count in (tokens, tokens - 1):
        for rows in range(1, count + 1):
            columns = count // rows
            is_grid = rows * columns == count and height % rows == 0
            if is_grid and rows * width == columns * height:
                return rows, columns
    raise UserError(
        f'layer with {tokens} tokens: expected a grid of square patches on images of '
        f'{height}x{width} pixels. Choose another layer.'
    )


def _positive_sum(evidence: Features) -> Maps:
    """The sum over the channels, where it is positive."""
    return jax.nn.relu(evidence.sum(axis=-1))
