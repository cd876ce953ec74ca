"""R3GAN: Huang et al., "The GAN is dead; long live the GAN! A Modern GAN Baseline", 2024.

Generator and discriminator are residual networks without normalisation. The relativistic loss with
its two gradient penalties keeps them stable. Images are in [-1, 1].
"""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.core.errors import UserError
from jaxvision.models.blocks import convolution, layers, resampling
from jaxvision.models.types import Images, Intermediates, Labels

# (width, number of blocks) of each stage, from 4x4 up.
Stages = tuple[tuple[int, int], ...]
Condition = Float[Array, 'b d']

NORMS = ('none', 'batch')

leaky_relu = partial(nn.leaky_relu, negative_slope=0.2)


class Block(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside the identity. The block starts as the identity.

    A call `(x, condition)` passes the condition to the norms, which follow the first
    two convolutions.

    The last convolution starts at zero, and the others start smaller in deeper networks (Zhang et
    al. 2019).

    Attributes:
        expansion: width inside the block, as a multiple of the width of its input.
        groups: number of groups of the 3x3 convolution, a divisor of the width inside.
        depth: number of blocks of the whole network.
        dtype: of the computation.
        param_dtype: of the parameters.
        norm: builds a `layers.ConditionalNorm` from its `name`. None: no normalisation,
            and the condition is ignored.
    """

    expansion: float
    groups: int
    depth: int
    dtype: DTypeLike
    param_dtype: DTypeLike
    norm: Callable | None = None

    @nn.compact
    def __call__(self, x: Images, condition: Condition | None = None) -> Images:
        def normalize(x, name):
            if self.norm is None:
                return x
            return self.norm(name=name)(x, condition)

        variance = 2 / (1 + 0.2**2) / self.depth**0.5
        scaled = nn.initializers.variance_scaling(variance, 'fan_in', 'normal')
        conv = partial(convolution.Conv, dtype=self.dtype, param_dtype=self.param_dtype)
        width = int(self.expansion * x.shape[-1])
        y = conv(width, (1, 1), kernel_init=scaled, name='conv1')(x)
        y = leaky_relu(normalize(y, 'norm1'))
        y = conv(
            width,
            (3, 3),
            kernel_init=scaled,
            feature_group_count=self.groups,
            name='conv2',
        )(y)
        y = leaky_relu(normalize(y, 'norm2'))
        last = conv(
            x.shape[-1],
            (1, 1),
            use_bias=False,
            kernel_init=nn.initializers.zeros,
            name='conv3',
        )
        return x + last(y)


def _depth(stages: Stages) -> int:
    """Number of blocks of a network."""
    return sum(blocks for _, blocks in stages)


class Generator(nn.Module):
    """From a learned 4x4 map, weighted by the latent, to the image.

    The first of N stages has 4x4 pixels, and each further one twice the size. A call
    maps latents [B, Z], and labels [B] if there are classes, to images [B, S, S, C].
    The side S is patch * 4 * 2^(N - 1). The images are meant to be in [-1, 1], but are
    not clipped. `train` matters only with norm 'batch': the statistics of the batch are
    used, and the running ones updated.

    Attributes:
        stages: (width, number of blocks) of each stage, from 4x4 up.
        channels: of the image.
        classes: the number of classes, 0 for none.
        patch: side of the squares of the image that are one pixel to the last stage.
        expansion: width inside a block, as a multiple of the width of its input.
        groups: number of groups of the 3x3 convolutions.
        norm: 'none', or 'batch' for batch norm modulated by class and latent.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    stages: Stages
    channels: int
    classes: int
    patch: int
    expansion: float
    groups: int
    norm: str
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
        conv = partial(
            convolution.Conv,
            kernel_size=(1, 1),
            use_bias=False,
            **types,
        )
        layers.one_of('norm', self.norm, NORMS)
        norm = None
        if self.norm == 'batch':
            norm = partial(layers.ConditionalNorm, train, **types)
        block = partial(
            Block,
            self.expansion,
            self.groups,
            _depth(self.stages),
            norm=norm,
            **types,
        )
        width, _ = self.stages[0]
        dense = partial(nn.Dense, width, use_bias=False, **types)
        normal = nn.initializers.normal(1.0)
        basis = self.param('basis', normal, (4, 4, width), self.param_dtype)
        weights = dense(name='weights')(latent)
        condition = latent / latent.shape[-1] ** 0.5
        if self.classes:
            one_hot = jax.nn.one_hot(label, self.classes, dtype=latent.dtype)
            if norm is None:
                # This initialisation gives the class as much influence as the latent.
                weights += dense(kernel_init=normal, name='of_class')(one_hot)
            condition = jnp.concatenate([condition, one_hot], -1)
        x = basis * weights[:, None, None]
        for stage, (width, depth) in enumerate(self.stages, start=1):
            if x.shape[-1] != width:
                x = conv(width, name=f'stage{stage}_width')(x)
            if stage > 1:
                # After the convolution, which is cheaper on fewer pixels.
                x = resampling.double(x)
            for i in range(1, depth + 1):
                x = block(name=f'stage{stage}_block{i}')(x, condition)
        x = conv(self.channels * self.patch**2, name='to_image')(x)
        return resampling.pixel_shuffle(x, self.patch)


class Discriminator(nn.Module):
    """The reverse of the generator, with a projection score (Miyato and Koyama 2018).

    A call returns (scores [B], intermediates): 'stage1', ..., 'pooled'. A higher score means more
    real. With classes, labels [B] are required. `train` changes nothing.

    Attributes:
        stages: (width, number of blocks) of each stage, from the last one of 4x4 pixels back.
        classes: the number of classes, 0 for none.
        patch: side of the squares of the image that are one pixel to the first stage.
        expansion: width inside a block, as a multiple of the width of its input.
        groups: number of groups of the 3x3 convolutions.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    stages: Stages
    classes: int
    patch: int
    expansion: float
    groups: int
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
        conv = partial(
            convolution.Conv,
            kernel_size=(1, 1),
            use_bias=False,
            **types,
        )
        block = partial(
            Block,
            self.expansion,
            self.groups,
            _depth(self.stages),
            **types,
        )
        intermediates = {}
        x = resampling.pixel_unshuffle(image, self.patch)
        first_width, _ = self.stages[-1]
        x = conv(first_width, name='from_image')(x)
        for stage, (width, depth) in enumerate(reversed(self.stages), start=1):
            if stage > 1:
                x = resampling.halve(x)
            if x.shape[-1] != width:
                x = conv(width, name=f'stage{stage}_width')(x)
            for i in range(1, depth + 1):
                x = block(name=f'stage{stage}_block{i}')(x)
            intermediates[f'stage{stage}'] = x
        basis = self.param(
            'basis',
            nn.initializers.normal(0.25),
            x.shape[1:],
            self.param_dtype,
        )
        x = jnp.sum(x * basis, (1, 2))
        intermediates['pooled'] = x
        score = layers.projection_score(x, label, self.classes, self.param_dtype)
        return score, intermediates


# Examples. The docstring of `make` describes all variants.
VARIANTS = ('128x2-64x2-32x2', '128-64-32-16')


def make(
    variant: str,
    *,
    num_classes: int,
    image_shape: Sequence[int],
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    discriminator: str = '',
    patch: int = 1,
    expansion: float = 2.0,
    groups: int = 1,
    norm: str = 'none',
) -> tuple[Generator, Discriminator]:
    """Build a generator and a discriminator.

    Args:
        variant: widths of the stages from 4x4 up, '128-64-32-16' for 32 pixels. '128x2-...' has two
            blocks in the first stage. N stages are for images of patch * 4 * 2^(N - 1) pixels.
        num_classes: number of classes of a conditional GAN, 0 for none.
        image_shape: (height, width, channels) of square images.
        dtype: of the computation.
        param_dtype: of the parameters.
        discriminator: variant of the discriminator, also from 4x4 up, '' for `variant`.
        patch: side of the squares of pixels that are one pixel to the largest stage. On a CPU, the
            time saved is worth more than the omitted stage.
        expansion: width inside a block, as a multiple of the width of its input.
        groups: number of groups of the 3x3 convolutions, a divisor of the width inside each block.
            The paper's groups have 16 channels.
        norm: 'none', as in the paper, or 'batch' for batch norm in the generator, with scale and
            shift from class and latent. In short runs it keeps the images dependent on the latent.

    Returns:
        (generator, discriminator).

    Raises:
        UserError: A variant is not such a list or is for images of another size, the images
            are not square, or an option does not fit.
    """
    layers.one_of('norm', norm, NORMS)
    common = dict(
        classes=num_classes,
        patch=patch,
        expansion=expansion,
        groups=groups,
        dtype=dtype,
        param_dtype=param_dtype,
    )
    side = layers.square_side(image_shape)
    channels = image_shape[2]
    read_stages = partial(
        _read_stages, side=side, patch=patch, expansion=expansion, groups=groups
    )
    generator_stages = read_stages('model.variant', variant)
    discriminator_stages = generator_stages
    if discriminator:
        discriminator_stages = read_stages('model.options.discriminator', discriminator)
    return (
        Generator(generator_stages, channels, norm=norm, **common),
        Discriminator(discriminator_stages, **common),
    )


def _read_stages(
    field: str,
    variant: str,
    side: int,
    patch: int,
    expansion: float,
    groups: int,
) -> Stages:
    """Parse a variant, and check that it fits the images and the options.

    Args:
        field: the config field of the variant, for errors.
        variant: of the generator or the discriminator.
        side: of the images, in pixels.
        patch: as for `make`.
        expansion: as for `make`.
        groups: as for `make`.
    """
    stages = layers.stages('r3gan', variant, 1, field)
    side_of_stages = patch * 4 * 2 ** (len(stages) - 1)
    if side_of_stages != side:
        raise UserError(
            f'{field}={variant!r}: expected stages for images of {side} pixels, but '
            f'{len(stages)} stages are for {side_of_stages}. Each further stage doubles the '
            'size.'
        )
    for width, _ in stages:
        if int(expansion * width) % groups:
            raise UserError(
                f'model.options.groups={groups}: expected a divisor of the width in each '
                f'block, but it does not divide {expansion} x {width}. Change groups, '
                f'expansion or {field}.'
            )
    return stages
