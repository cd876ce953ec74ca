"""DCGAN: Radford et al., "Unsupervised Representation Learning with Deep Convolutional GANs", 2015.

Images are in [-1, 1].
"""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.core.errors import UserError
from jaxvision.models.blocks import convolution, layers, resampling
from jaxvision.models.types import Images, Intermediates, Labels

# Batch norm mixes the images of a batch, so the score of an image depends on the others.
SCORE_DEPENDS_ON_BATCH = True

narrow_normal = nn.initializers.normal(0.02)


class Generator(nn.Module):
    """A projection of the latent to 4x4, then 5x5 transposed convolutions with batch norm and ReLU.

    A call maps latents [B, Z], and labels [B] if there are classes, to images [B, S, S, C] in
    [-1, 1], by a tanh. With `train`, the statistics of the batch are used, and the running ones
    are updated.

    Attributes:
        widths: of the feature maps, from 4x4 up. The side S of the image is 4 * 2^(their number).
        channels: of the image.
        classes: the number of classes, 0 for none.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    widths: tuple[int, ...]
    channels: int
    classes: int
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        latent: Float[Array, 'b z'],
        label: Labels | None = None,
        train: bool = False,
    ) -> Images:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        up = partial(
            resampling.ConvTranspose,
            kernel_size=(5, 5),
            kernel_init=narrow_normal,
            **types,
        )
        norm = layers.normalization('batch', train, **types)
        if self.classes:
            one_hot = jax.nn.one_hot(label, self.classes)
            latent = jnp.concatenate([latent, one_hot], -1)
        width, *next_widths = self.widths
        x = nn.Dense(
            16 * width,
            use_bias=False,
            kernel_init=narrow_normal,
            **types,
            name='project',
        )(latent)
        x = x.reshape(-1, 4, 4, width)
        x = nn.relu(norm(name='norm1')(x))
        for stage, width in enumerate(next_widths, start=2):
            x = up(width, use_bias=False, name=f'up{stage}')(x)
            x = nn.relu(norm(name=f'norm{stage}')(x))
        x = up(self.channels, name='to_image')(x)
        return jnp.tanh(x)


class Discriminator(nn.Module):
    """5x5 convolutions of stride 2 with leaky ReLU, and batch norm in all but the first.

    A call returns (scores [B], intermediates): 'stage1', ..., 'pooled' (the last map, flattened).
    A higher score means more real. With classes, labels [B] are required, and the score adds the
    product of the features with the label's embedding (Miyato and Koyama 2018). With `train`, the
    statistics of the batch are used, so that a score depends on the other images of the batch.

    Attributes:
        widths: of the feature maps, from the last map of 4x4 back to the first.
        classes: the number of classes, 0 for none.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    widths: tuple[int, ...]
    classes: int
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        image: Images,
        label: Labels | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, 'b'], Intermediates]:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = layers.normalization('batch', train, **types)
        intermediates = {}
        x = image
        for stage, width in enumerate(reversed(self.widths), start=1):
            x = convolution.Conv(
                width,
                (5, 5),
                2,
                use_bias=stage == 1,
                kernel_init=narrow_normal,
                **types,
                name=f'conv{stage}',
            )(x)
            if stage > 1:
                x = norm(name=f'norm{stage}')(x)
            x = nn.leaky_relu(x, 0.2)
            intermediates[f'stage{stage}'] = x
        x = x.reshape(x.shape[0], -1)
        intermediates['pooled'] = x
        score = layers.projection_score(x, label, self.classes, self.param_dtype)
        return score, intermediates


# Examples. The docstring of `make` describes all variants.
VARIANTS = ('256-128-64', '512-256-128-64')


def make(
    variant: str,
    *,
    num_classes: int,
    image_shape: Sequence[int],
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
) -> tuple[Generator, Discriminator]:
    """Build a generator and a discriminator.

    Args:
        variant: widths of the feature maps from 4x4 up, without an 'x'. The paper's
            '512-256-128-64' generates 64 pixels, '256-128-64' generates 32.
        num_classes: number of classes of a conditional GAN, 0 for none.
        image_shape: (height, width, channels) of square images.
        dtype: of the computation.
        param_dtype: of the parameters.

    Returns:
        (generator, discriminator).

    Raises:
        UserError: The variant is not such a list, or generates images of another size. Or
            the images are not square.
    """
    widths = layers.widths('dcgan', variant)
    image_side = layers.square_side(image_shape)
    side = 4 * 2 ** len(widths)
    if side != image_side:
        raise UserError(
            f'model.variant={variant!r}: expected widths for images of {image_side} pixels, '
            f'but {len(widths)} widths are for {side}. Each width doubles the size.'
        )
    channels = image_shape[2]
    generator = Generator(widths, channels, num_classes, dtype, param_dtype)
    discriminator = Discriminator(widths, num_classes, dtype, param_dtype)
    return generator, discriminator
