"""R3GAN: Huang et al., "The GAN is dead; long live the GAN! A modern GAN baseline", 2024.

Residual blocks without normalisation on both sides, which the relativistic loss with its two exact
penalties keeps stable. Images are in [-1, 1].
"""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxvision.core.errors import UserError
from jaxvision.models.blocks import convolution, layers, resampling

leaky_relu = partial(nn.leaky_relu, negative_slope=0.2)


class Block(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside the identity, as which the block starts.

    The first two start smaller the more blocks there are, the last at zero (Zhang et al., 2019).
    """

    expansion: float
    groups: int
    depth: int  # blocks of the whole network
    dtype: DTypeLike
    param_dtype: DTypeLike
    norm: Callable | None = None  # with the condition's own scale and shift

    @nn.compact
    def __call__(
        self, x: Float[Array, 'b h w c'], condition: Float[Array, 'b d'] | None = None
    ) -> Float[Array, 'b h w c']:
        norm = self.norm or (lambda name: lambda x, condition: x)
        scaled = nn.initializers.variance_scaling(
            2 / (1 + 0.2**2) / self.depth**0.5, 'fan_in', 'normal'
        )
        conv = partial(convolution.Conv, dtype=self.dtype, param_dtype=self.param_dtype)
        width = int(self.expansion * x.shape[-1])
        y = conv(width, (1, 1), kernel_init=scaled, name='conv1')(x)
        y = leaky_relu(norm(name='norm1')(y, condition))
        y = conv(
            width,
            (3, 3),
            kernel_init=scaled,
            feature_group_count=self.groups,
            name='conv2',
        )(y)
        y = leaky_relu(norm(name='norm2')(y, condition))
        return x + conv(
            x.shape[-1],
            (1, 1),
            use_bias=False,
            kernel_init=nn.initializers.zeros,
            name='conv3',
        )(y)


class Generator(nn.Module):
    """From a learned 4x4 basis, weighted by the latent, to the image, twice as large each stage."""

    stages: tuple[tuple[int, int], ...]  # (width, blocks), from 4x4 up
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
        label: Int[Array, 'b'] | None = None,
        train: bool = False,
    ) -> Float[Array, 'b h w c']:
        conv = partial(
            convolution.Conv,
            kernel_size=(1, 1),
            use_bias=False,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = (
            None
            if self.norm == 'none'
            else partial(layers.ConditionalNorm, train, **types)
        )
        block = partial(
            Block,
            self.expansion,
            self.groups,
            sum(n for _, n in self.stages),
            norm=norm,
            **types,
        )
        width, _ = self.stages[0]
        basis = self.param(
            'basis', nn.initializers.normal(1.0), (4, 4, width), self.param_dtype
        )
        weights = nn.Dense(width, use_bias=False, name='weights', **types)(latent)
        condition = [latent / latent.shape[-1] ** 0.5]
        if self.classes:
            condition.append(jax.nn.one_hot(label, self.classes, dtype=latent.dtype))
            if not norm:  # as loud as the latent
                weights += nn.Dense(
                    width,
                    use_bias=False,
                    name='of_class',
                    **types,
                    kernel_init=nn.initializers.normal(1.0),
                )(condition[-1])
        condition = jnp.concatenate(condition, -1)
        x = basis * weights[:, None, None]
        for stage, (width, depth) in enumerate(self.stages, start=1):
            if x.shape[-1] != width:
                x = conv(width, name=f'stage{stage}_width')(x)
            if stage > 1:  # after the narrowing, which is cheaper on fewer pixels
                x = resampling.double(x)
            for i in range(1, depth + 1):
                x = block(name=f'stage{stage}_block{i}')(x, condition)
        x = conv(self.channels * self.patch**2, name='to_image')(x)
        return resampling.pixel_shuffle(x, self.patch)


class Discriminator(nn.Module):
    """The generator turned round; where classes are given, it looks for the one that is said
    (Miyato and Koyama, 2018). Intermediates: 'stage1', ..., 'pooled'."""

    stages: tuple[
        tuple[int, int], ...
    ]  # (width, blocks), from 4x4 up, as the generator's
    classes: int
    patch: int
    expansion: float
    groups: int
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        image: Float[Array, 'b h w c'],
        label: Int[Array, 'b'] | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, 'b'], dict[str, Array]]:
        conv = partial(
            convolution.Conv,
            kernel_size=(1, 1),
            use_bias=False,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        block = partial(
            Block,
            self.expansion,
            self.groups,
            sum(n for _, n in self.stages),
            self.dtype,
            self.param_dtype,
        )
        tensors = {}
        x = resampling.pixel_unshuffle(image, self.patch)
        x = conv(self.stages[-1][0], name='from_image')(x)
        for stage, (width, depth) in enumerate(reversed(self.stages), start=1):
            if stage > 1:
                x = resampling.halve(x)
            if x.shape[-1] != width:
                x = conv(width, name=f'stage{stage}_width')(x)
            for i in range(1, depth + 1):
                x = block(name=f'stage{stage}_block{i}')(x)
            tensors[f'stage{stage}'] = x
        basis = self.param(
            'basis', nn.initializers.normal(0.25), x.shape[1:], self.param_dtype
        )
        tensors['pooled'] = x = jnp.sum(x * basis, (1, 2))
        return layers.projection_score(
            x, label, self.classes, self.param_dtype
        ), tensors


# Examples; the docstring of `make` says what others there are.
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
        variant: the stages' widths from 4x4 up, '128-64-32-16' for 32 pixels; '128x2-...'
            has two blocks a stage.
        num_classes: classes that they are told of; 0 for none.
        image_shape: (height, width, channels), of which the first two are equal.
        dtype: of the computation.
        param_dtype: of the parameters.
        discriminator: variant of the discriminator; '' for that of the generator.
        patch: the largest stage makes, and reads, `patch` x `patch` pixels as one, which on
            a CPU is worth more than the stage that it saves.
        expansion: how many times as wide a block is inside as outside.
        groups: groups of its 3x3 convolution (the paper's are 16 wide).
        norm: 'none', as in the paper, or 'batch' in the generator, whose scale and shift
            are functions of class and latent. It keeps the latent's part in the image
            from vanishing in short runs.

    Raises:
        UserError: The variant makes images of another size, or an option does not fit.
    """
    layers.one_of('norm', norm, ('none', 'batch'))
    common = dict(
        classes=num_classes,
        patch=patch,
        expansion=expansion,
        groups=groups,
        dtype=dtype,
        param_dtype=param_dtype,
    )
    theirs = [
        layers.stages('r3gan', widths, 1)
        for widths in (variant, discriminator or variant)
    ]
    height, _, channels = image_shape
    for stages in theirs:
        made = patch * 4 * 2 ** (len(stages) - 1)
        if made != height:
            raise UserError(
                f'a variant of {len(stages)} stages makes images of {made} pixels; '
                f'these have {height}'
            )
        if any(int(expansion * width) % groups for width, _ in stages):
            raise UserError(
                f'model.options.groups={groups} does not divide {expansion} times each '
                f'width of {stages}'
            )
    return Generator(theirs[0], channels, norm=norm, **common), Discriminator(
        theirs[1], **common
    )
