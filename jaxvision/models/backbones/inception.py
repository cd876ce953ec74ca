"""Inception-v3 as used for the FID: Szegedy et al., "Rethinking the Inception Architecture", 2015.

This is the network of TensorFlow's weights from 2015. It differs from later versions: average pools
do not count the padding, the last block has a max pool instead, and there are 1008 classes. Modules
have the names of TF-slim and of pytorch-fid's state dict.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.core.types import Tree
from jaxvision.models.blocks import convolution, layers, pooling
from jaxvision.models.types import Images, Intermediates, Maps

max_pool = partial(pooling.max_pool, window=(3, 3), strides=(2, 2))


def average_pool(x: Images) -> Images:
    """3x3 average pooling of stride 1 that does not count the padding. The size stays."""
    return nn.avg_pool(x, (3, 3), padding='SAME', count_include_pad=False)


def same_max_pool(x: Images) -> Images:
    """3x3 max pooling of stride 1. The size stays."""
    return nn.max_pool(x, (3, 3), padding='SAME')


class ConvNorm(nn.Module):
    """A convolution, batch norm that always uses its running statistics, and ReLU.

    Attributes:
        width: number of output channels.
        window: height and width of the kernel.
        strides: along both axes.
        padding: 'SAME' or 'VALID'.
        dtype: of the computation.
    """

    width: int
    window: tuple[int, int]
    strides: int = 1
    padding: str = 'SAME'
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Images) -> Maps:
        x = convolution.Conv(
            self.width,
            self.window,
            self.strides,
            self.padding,
            use_bias=False,
            dtype=self.dtype,
            name='conv',
        )(x)
        x = layers.BatchNorm(
            use_running_average=True,
            epsilon=1e-3,
            dtype=self.dtype,
            name='bn',
        )(x)
        return nn.relu(x)


class Block(nn.Module):
    """Base of the blocks: parallel branches, whose channels are concatenated."""

    dtype: DTypeLike

    def conv(
        self,
        name: str,
        width: int,
        window: tuple[int, int] = (1, 1),
        **options,
    ) -> ConvNorm:
        """Build a convolution with norm and ReLU.

        Args:
            name: of the module.
            width: number of output channels.
            window: height and width of the kernel.
            **options: further fields of `ConvNorm`.
        """
        return ConvNorm(width, window, dtype=self.dtype, name=name, **options)

    def halve(self, name: str, width: int) -> ConvNorm:
        """Build a 3x3 convolution of stride 2 without padding, with norm and ReLU."""
        return self.conv(name, width, (3, 3), strides=2, padding='VALID')


class BlockA(Block):
    """At 35x35: branches of a 1x1, a 5x5 and a double 3x3 convolution, and a pool.

    `pool_width` is the number of channels of the branch with the pool.
    """

    pool_width: int

    @nn.compact
    def __call__(self, x: Images) -> Maps:
        one = self.conv('branch1x1', 64)(x)

        five = self.conv('branch5x5_1', 48)(x)
        five = self.conv('branch5x5_2', 64, (5, 5))(five)

        double = self.conv('branch3x3dbl_1', 64)(x)
        double = self.conv('branch3x3dbl_2', 96, (3, 3))(double)
        double = self.conv('branch3x3dbl_3', 96, (3, 3))(double)

        pool = self.conv('branch_pool', self.pool_width)(average_pool(x))
        return jnp.concatenate([one, five, double, pool], -1)


class BlockB(Block):
    """From 35x35 to 17x17: a 3x3 convolution, a double one, and a max pool, side by side."""

    @nn.compact
    def __call__(self, x: Images) -> Maps:
        three = self.halve('branch3x3', 384)(x)

        double = self.conv('branch3x3dbl_1', 64)(x)
        double = self.conv('branch3x3dbl_2', 96, (3, 3))(double)
        double = self.halve('branch3x3dbl_3', 96)(double)
        return jnp.concatenate([three, double, max_pool(x)], -1)


class BlockC(Block):
    """At 17x17: branches of one and of two 7x7 convolutions, each factorised into 1x7 and 7x1.

    `width` is the number of channels inside these branches. Two more branches are a 1x1 convolution
    and a pool.
    """

    width: int

    @nn.compact
    def __call__(self, x: Images) -> Maps:
        one = self.conv('branch1x1', 192)(x)

        seven = self.conv('branch7x7_1', self.width)(x)
        seven = self.conv('branch7x7_2', self.width, (1, 7))(seven)
        seven = self.conv('branch7x7_3', 192, (7, 1))(seven)

        double = self.conv('branch7x7dbl_1', self.width)(x)
        double = self.conv('branch7x7dbl_2', self.width, (7, 1))(double)
        double = self.conv('branch7x7dbl_3', self.width, (1, 7))(double)
        double = self.conv('branch7x7dbl_4', self.width, (7, 1))(double)
        double = self.conv('branch7x7dbl_5', 192, (1, 7))(double)

        pool = self.conv('branch_pool', 192)(average_pool(x))
        return jnp.concatenate([one, seven, double, pool], -1)


class BlockD(Block):
    """From 17x17 to 8x8: a 3x3 convolution, a 7x7 and a 3x3 one, and a max pool, side by side."""

    @nn.compact
    def __call__(self, x: Images) -> Maps:
        three = self.conv('branch3x3_1', 192)(x)
        three = self.halve('branch3x3_2', 320)(three)

        seven = self.conv('branch7x7x3_1', 192)(x)
        seven = self.conv('branch7x7x3_2', 192, (1, 7))(seven)
        seven = self.conv('branch7x7x3_3', 192, (7, 1))(seven)
        seven = self.halve('branch7x7x3_4', 192)(seven)
        return jnp.concatenate([three, seven, max_pool(x)], -1)


class BlockE(Block):
    """At 8x8: a 1x1 branch, two that end in 1x3 and 3x1 side by side, and a pool.

    If `last` is True, this is a max pool, otherwise an average pool.
    """

    last: bool

    @nn.compact
    def __call__(self, x: Images) -> Maps:
        one = self.conv('branch1x1', 320)(x)

        three = self.conv('branch3x3_1', 384)(x)
        three = [
            self.conv('branch3x3_2a', 384, (1, 3))(three),
            self.conv('branch3x3_2b', 384, (3, 1))(three),
        ]

        double = self.conv('branch3x3dbl_1', 448)(x)
        double = self.conv('branch3x3dbl_2', 384, (3, 3))(double)
        double = [
            self.conv('branch3x3dbl_3a', 384, (1, 3))(double),
            self.conv('branch3x3dbl_3b', 384, (3, 1))(double),
        ]

        if self.last:
            pooled = same_max_pool(x)
        else:
            pooled = average_pool(x)
        pool = self.conv('branch_pool', 192)(pooled)
        return jnp.concatenate([one, *three, *double, pool], -1)


class InceptionV3(nn.Module):
    """Inception-v3 for inference, on images in [-1, 1] of 299x299 pixels (at least 75x75).

    A call on [B, H, W, 3] returns (logits [B, 1008], intermediates): 'Mixed_5d', 'Mixed_6e',
    'Mixed_7c', 'pooled' [B, 2048], 'logits'.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, 'b h w 3']
    ) -> tuple[Float[Array, 'b 1008'], Intermediates]:
        conv = partial(ConvNorm, dtype=self.dtype)
        intermediates = {}
        x = conv(32, (3, 3), 2, 'VALID', name='Conv2d_1a_3x3')(image)
        x = conv(32, (3, 3), 1, 'VALID', name='Conv2d_2a_3x3')(x)
        x = conv(64, (3, 3), name='Conv2d_2b_3x3')(x)
        x = max_pool(x)
        x = conv(80, (1, 1), name='Conv2d_3b_1x1')(x)
        x = conv(192, (3, 3), 1, 'VALID', name='Conv2d_4a_3x3')(x)
        x = max_pool(x)

        for letter, pool_width in zip('bcd', (32, 64, 64), strict=True):
            x = BlockA(self.dtype, pool_width, name=f'Mixed_5{letter}')(x)
        intermediates['Mixed_5d'] = x

        x = BlockB(self.dtype, name='Mixed_6a')(x)
        for letter, width in zip('bcde', (128, 160, 160, 192), strict=True):
            x = BlockC(self.dtype, width, name=f'Mixed_6{letter}')(x)
        intermediates['Mixed_6e'] = x

        x = BlockD(self.dtype, name='Mixed_7a')(x)
        x = BlockE(self.dtype, last=False, name='Mixed_7b')(x)
        x = BlockE(self.dtype, last=True, name='Mixed_7c')(x)
        intermediates['Mixed_7c'] = x

        x = x.mean((1, 2))
        intermediates['pooled'] = x
        logits = nn.Dense(1008, dtype=self.dtype, name='fc')(x)
        intermediates['logits'] = logits
        return logits, intermediates


def features(variables: Tree, images: Images) -> Float[Array, 'b 2048']:
    """Compute the features that the FID compares.

    Images are resized to 299x299 as in pytorch-fid, bilinear without antialiasing, because the FID
    depends on the resizing (Parmar et al. 2022).

    Args:
        variables: of `InceptionV3`.
        images: grey or RGB in [0, 1], of any size: [B, H, W, 1] or [B, H, W, 3].

    Returns:
        Features, [B, 2048].
    """
    batch, height, width, _ = images.shape
    rgb = jnp.broadcast_to(images, (batch, height, width, 3))
    resized = jax.image.resize(
        rgb,
        (batch, 299, 299, 3),
        'bilinear',
        antialias=False,
    )
    _, intermediates = InceptionV3().apply(variables, 2 * resized - 1)
    return intermediates['pooled']
