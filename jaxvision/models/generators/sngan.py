"""SNGAN, the residual GAN with spectral normalisation. Images are in [-1, 1].

Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018.
Miyato and Koyama, "cGANs with Projection Discriminator", 2018.
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

xavier = nn.initializers.xavier_uniform()
xavier_in_blocks = nn.initializers.variance_scaling(2.0, 'fan_avg', 'uniform')


class Generator(nn.Module):
    """A projection of the latent to 4x4, then residual blocks, each doubling the size; tanh.

    A call maps latents [B, Z], and labels [B] if there are classes, to images [B, S, S, C] in
    [-1, 1]. With `train`, the statistics of the batch are used, and the running ones are updated.

    Attributes:
        width: of all feature maps.
        blocks: number of residual blocks. The side S of the image is 4 * 2^blocks.
        channels: of the image.
        classes: the number of classes, 0 for none.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    width: int
    blocks: int
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
        conv = partial(convolution.Conv, **types)
        conv3x3 = partial(conv, self.width, (3, 3), kernel_init=xavier_in_blocks)
        norm = partial(layers.ConditionalNorm, train, **types)
        condition = None
        if self.classes:
            condition = jax.nn.one_hot(label, self.classes)
        project = nn.Dense(
            16 * self.width,
            kernel_init=xavier,
            **types,
            name='project',
        )
        x = project(latent)
        x = x.reshape(-1, 4, 4, self.width)
        for i in range(1, self.blocks + 1):
            y = nn.relu(norm(name=f'block{i}_norm1')(x, condition))
            y = conv3x3(name=f'block{i}_conv1')(resampling.repeat(y))
            y = nn.relu(norm(name=f'block{i}_norm2')(y, condition))
            y = conv3x3(name=f'block{i}_conv2')(y)
            # A 1x1 convolution commutes with the repetition, and is cheaper before it.
            shortcut = conv(
                self.width,
                (1, 1),
                kernel_init=xavier,
                name=f'block{i}_shortcut',
            )
            x = y + resampling.repeat(shortcut(x))
        x = nn.relu(norm(name='norm')(x, condition))
        to_image = conv(self.channels, (3, 3), kernel_init=xavier, name='to_image')
        return jnp.tanh(to_image(x))


class Discriminator(nn.Module):
    """Residual blocks with spectral normalisation, and a score of the features summed over pixels.

    A call returns (scores [B], intermediates): 'block1', ..., 'pooled'. A higher score means more
    real. With classes, labels [B] are required. With `train`, the estimated singular values are
    updated.

    Attributes:
        width: of all feature maps.
        halvings: number of blocks at the beginning that halve the size. Two more blocks follow.
        classes: the number of classes, 0 for none.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    width: int
    halvings: int
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
        def conv(name, size, x, init=xavier_in_blocks):
            layer = convolution.Conv(
                self.width,
                (size, size),
                kernel_init=init,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=name,
            )
            return spectral(layer)(x, update_stats=train)

        def normalized(layer):
            return partial(spectral(layer), update_stats=train)

        intermediates = {}
        x = image
        for i in range(1, self.halvings + 3):
            y = x
            if i > 1:
                y = nn.relu(y)
            y = conv(f'block{i}_conv1', 3, y)
            y = conv(f'block{i}_conv2', 3, nn.relu(y))
            if i <= self.halvings:
                y = resampling.halve(y)
                x = conv(f'block{i}_shortcut', 1, resampling.halve(x), xavier)
            x = x + y
            intermediates[f'block{i}'] = x
        x = nn.relu(x).sum((1, 2))
        intermediates['pooled'] = x
        score = layers.projection_score(
            x,
            label,
            self.classes,
            self.param_dtype,
            normalized,
        )
        return score, intermediates


def spectral(layer: nn.Module) -> nn.SpectralNorm:
    """Wrap a layer, so that its kernel is divided by its largest singular value.

    The value is estimated by power iteration, with one iteration for each call with
    `update_stats=True`, a required argument of the call. The estimate is in 'batch_stats'.

    Args:
        layer: a layer with a name. The wrapper is named NAME_spectral.
    """
    return nn.SpectralNorm(
        layer,
        collection_name='batch_stats',
        name=f'{layer.name}_spectral',
    )


# Examples. The docstring of `make` describes all variants.
VARIANTS = ('256-128',)


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
        variant: widths of the generator and of the discriminator. '256-128' are the paper's for
            32 pixels.
        num_classes: number of classes of a conditional GAN, 0 for none.
        image_shape: (height, width, channels) of square images.
        dtype: of the computation.
        param_dtype: of the parameters.

    Returns:
        (generator, discriminator).

    Raises:
        UserError: The variant is not such a pair, or the side of the images is not 8, 16,
            32, ... Or the images are not square.
    """
    widths = layers.widths('sngan', variant)
    if len(widths) != 2:
        raise UserError(
            f'model.variant={variant!r}: expected the widths of the generator and of the '
            "discriminator. Write them as '256-128'."
        )
    side = layers.square_side(image_shape)
    blocks = (side // 4).bit_length() - 1
    if 4 * 2**blocks != side:
        raise UserError(
            f'model.variant={variant!r} of sngan: expected images of 8, 16, 32, ... '
            f'pixels, but they have {side}. Set data.image_size.'
        )
    generator_width, discriminator_width = widths
    channels = image_shape[2]
    common = dict(classes=num_classes, dtype=dtype, param_dtype=param_dtype)
    generator = Generator(generator_width, blocks, channels, **common)
    halvings = max(blocks - 1, 1)
    discriminator = Discriminator(discriminator_width, halvings, **common)
    return generator, discriminator
