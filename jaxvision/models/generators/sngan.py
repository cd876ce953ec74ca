"""SNGAN's residual networks: Miyato et al., "Spectral normalization for generative adversarial
networks", and Miyato and Koyama, "cGANs with projection discriminator", 2018. Images are in
[-1, 1]."""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxvision.core.errors import UserError
from jaxvision.models.blocks import convolution, layers, resampling

xavier = nn.initializers.xavier_uniform()
xavier_in_blocks = nn.initializers.variance_scaling(2.0, 'fan_avg', 'uniform')


class Generator(nn.Module):
    """Projected to 4x4, then residual blocks, each twice as large; tanh."""

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
        label: Int[Array, 'b'] | None = None,
        train: bool = False,
    ) -> Float[Array, 'b h w c']:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        conv = partial(convolution.Conv, **types)
        norm = partial(layers.ConditionalNorm, train, **types)
        of_class = jax.nn.one_hot(label, self.classes) if self.classes else None
        x = nn.Dense(16 * self.width, kernel_init=xavier, **types, name='project')(
            latent
        )
        x = x.reshape(-1, 4, 4, self.width)
        for i in range(1, self.blocks + 1):
            y = nn.relu(norm(name=f'block{i}_norm1')(x, of_class))
            y = conv(
                self.width, (3, 3), kernel_init=xavier_in_blocks, name=f'block{i}_conv1'
            )(resampling.repeat(y))
            y = nn.relu(norm(name=f'block{i}_norm2')(y, of_class))
            y = conv(
                self.width, (3, 3), kernel_init=xavier_in_blocks, name=f'block{i}_conv2'
            )(y)
            # A 1x1 convolution is the same before and behind the repetition, and cheaper before.
            x = y + resampling.repeat(
                conv(self.width, (1, 1), kernel_init=xavier, name=f'block{i}_shortcut')(
                    x
                )
            )
        x = nn.relu(norm(name='norm')(x, of_class))
        return jnp.tanh(
            conv(self.channels, (3, 3), kernel_init=xavier, name='to_image')(x)
        )


class Discriminator(nn.Module):
    """Residual blocks, spectrally normalised, the first `halvings` of which halve the image; summed
    over its pixels. Intermediates: 'block1', ..., 'pooled'."""

    width: int
    halvings: int
    classes: int
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        image: Float[Array, 'b h w c'],
        label: Int[Array, 'b'] | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, 'b'], dict[str, Array]]:
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

        tensors, x = {}, image
        for i in range(1, self.halvings + 3):
            halve = resampling.halve if i <= self.halvings else lambda x: x
            y = conv(f'block{i}_conv1', 3, x if i == 1 else nn.relu(x))
            y = halve(conv(f'block{i}_conv2', 3, nn.relu(y)))
            if i <= self.halvings:
                x = conv(f'block{i}_shortcut', 1, halve(x), xavier)
            tensors[f'block{i}'] = x = x + y
        tensors['pooled'] = x = nn.relu(x).sum((1, 2))
        return layers.projection_score(
            x,
            label,
            self.classes,
            self.param_dtype,
            lambda layer: partial(spectral(layer), update_stats=train),
        ), tensors


def spectral(layer: nn.Module) -> nn.SpectralNorm:
    """The layer, its kernel divided by its largest singular value, of which a training step does
    one power iteration."""
    return nn.SpectralNorm(
        layer, collection_name='batch_stats', name=f'{layer.name}_spectral'
    )


# Examples; the docstring of `make` says what others there are.
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
        variant: 'WIDTH-WIDTH', the generator's and the discriminator's: '256-128' are the
            paper's for 32 pixels.
        num_classes: classes that they are told of; 0 for none.
        image_shape: (height, width, channels), of which the first two are equal.
        dtype: of the computation.
        param_dtype: of the parameters.

    Raises:
        UserError: The variant is not such a pair, or no network has images of that size.
    """
    stages = layers.stages('sngan', variant, 1)
    height, _, channels = image_shape
    blocks = (height // 4).bit_length() - 1
    if len(stages) != 2 or 4 * 2**blocks != height:
        raise UserError(
            f"model.variant={variant!r} of sngan: it is the generator's width and the "
            f"discriminator's, as '256-128'; images have 8, 16, 32, ... pixels"
        )
    (generator, _), (discriminator, _) = stages
    common = dict(classes=num_classes, dtype=dtype, param_dtype=param_dtype)
    return (
        Generator(generator, blocks, channels, **common),
        Discriminator(discriminator, max(blocks - 1, 1), **common),
    )
