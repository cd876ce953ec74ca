"""The Inception-v3 of the FID: Szegedy et al., "Rethinking the Inception Architecture", 2015.

It is the network of TensorFlow's 2015 weights, which differs from later ones: its average pools do
not count the padding, its last block takes a maximum instead, and it has 1008 classes. Modules have
TF-slim's names, which are those of pytorch-fid's state dict too.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.models.blocks import convolution, layers, pooling

max_pool = partial(pooling.max_pool, window=(3, 3), strides=(2, 2))


def average_pool(x: Float[Array, 'b h w c']) -> Float[Array, 'b h w c']:
    return nn.avg_pool(x, (3, 3), padding='SAME', count_include_pad=False)


def same_max_pool(x: Float[Array, 'b h w c']) -> Float[Array, 'b h w c']:
    return nn.max_pool(x, (3, 3), padding='SAME')


class ConvNorm(nn.Module):
    """A convolution, batch norm with stored statistics, ReLU."""

    width: int
    window: tuple[int, int]
    strides: int = 1
    padding: str = 'SAME'
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b h2 w2 c2']:
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
            use_running_average=True, epsilon=1e-3, dtype=self.dtype, name='bn'
        )(x)
        return nn.relu(x)


class Block(nn.Module):
    """Branches beside each other, their channels concatenated."""

    dtype: DTypeLike

    def conv(
        self, name: str, width: int, window: tuple[int, int] = (1, 1), **how
    ) -> ConvNorm:
        return ConvNorm(width, window, dtype=self.dtype, name=name, **how)

    def halve(self, name: str, width: int) -> ConvNorm:
        return self.conv(name, width, (3, 3), strides=2, padding='VALID')


class BlockA(Block):
    """35x35: 1x1, 5x5 and two 3x3."""

    pool_width: int

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b h w c2']:
        one = self.conv('branch1x1', 64)(x)

        five = self.conv('branch5x5_1', 48)(x)
        five = self.conv('branch5x5_2', 64, (5, 5))(five)

        double = self.conv('branch3x3dbl_1', 64)(x)
        double = self.conv('branch3x3dbl_2', 96, (3, 3))(double)
        double = self.conv('branch3x3dbl_3', 96, (3, 3))(double)

        pool = self.conv('branch_pool', self.pool_width)(average_pool(x))
        return jnp.concatenate([one, five, double, pool], -1)


class BlockB(Block):
    """35x35 to 17x17."""

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b h2 w2 c2']:
        three = self.halve('branch3x3', 384)(x)

        double = self.conv('branch3x3dbl_1', 64)(x)
        double = self.conv('branch3x3dbl_2', 96, (3, 3))(double)
        double = self.halve('branch3x3dbl_3', 96)(double)
        return jnp.concatenate([three, double, max_pool(x)], -1)


class BlockC(Block):
    """17x17: a 7x7 and two 7x7, each as a row and a column."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b h w 768']:
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
    """17x17 to 8x8."""

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b h2 w2 c2']:
        three = self.conv('branch3x3_1', 192)(x)
        three = self.halve('branch3x3_2', 320)(three)

        seven = self.conv('branch7x7x3_1', 192)(x)
        seven = self.conv('branch7x7x3_2', 192, (1, 7))(seven)
        seven = self.conv('branch7x7x3_3', 192, (7, 1))(seven)
        seven = self.halve('branch7x7x3_4', 192)(seven)
        return jnp.concatenate([three, seven, max_pool(x)], -1)


class BlockE(Block):
    """8x8: rows and columns of three beside each other."""

    last: bool

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b h w 2048']:
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

        pooled = same_max_pool(x) if self.last else average_pool(x)
        pool = self.conv('branch_pool', 192)(pooled)
        return jnp.concatenate([one, *three, *double, pool], -1)


class InceptionV3(nn.Module):
    """Images in [-1, 1], 299x299 (at least 75x75); it only infers.

    Intermediates: 'Mixed_5d', 'Mixed_6e', 'Mixed_7c', 'pooled' (2048), 'logits' (1008).
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, 'b h w 3']
    ) -> tuple[Float[Array, 'b 1008'], dict[str, Array]]:
        conv = partial(ConvNorm, dtype=self.dtype)
        tensors = {}
        x = conv(32, (3, 3), 2, 'VALID', name='Conv2d_1a_3x3')(image)
        x = conv(32, (3, 3), 1, 'VALID', name='Conv2d_2a_3x3')(x)
        x = max_pool(conv(64, (3, 3), name='Conv2d_2b_3x3')(x))
        x = conv(80, (1, 1), name='Conv2d_3b_1x1')(x)
        x = max_pool(conv(192, (3, 3), 1, 'VALID', name='Conv2d_4a_3x3')(x))

        for letter, pool_width in zip('bcd', (32, 64, 64), strict=True):
            x = BlockA(self.dtype, pool_width, name=f'Mixed_5{letter}')(x)
        tensors['Mixed_5d'] = x

        x = BlockB(self.dtype, name='Mixed_6a')(x)
        for letter, width in zip('bcde', (128, 160, 160, 192), strict=True):
            x = BlockC(self.dtype, width, name=f'Mixed_6{letter}')(x)
        tensors['Mixed_6e'] = x

        x = BlockD(self.dtype, name='Mixed_7a')(x)
        x = BlockE(self.dtype, last=False, name='Mixed_7b')(x)
        tensors['Mixed_7c'] = x = BlockE(self.dtype, last=True, name='Mixed_7c')(x)

        tensors['pooled'] = x = x.mean((1, 2))
        tensors['logits'] = nn.Dense(1008, dtype=self.dtype, name='fc')(x)
        return tensors['logits'], tensors


def features(
    variables: dict, images: Float[Array, 'b h w c']
) -> Float[Array, 'b 2048']:
    """What the FID compares: the pooled features of images in [0, 1], grey or RGB, of any size.

    Resized to 299x299 as pytorch-fid does, bilinearly and without antialiasing: an FID depends on
    it (Parmar et al. 2022).
    """
    images = jnp.broadcast_to(images, (*images.shape[:3], 3))
    images = jax.image.resize(
        images, (len(images), 299, 299, 3), 'bilinear', antialias=False
    )
    _, tensors = InceptionV3().apply(variables, 2 * images - 1)
    return tensors['pooled']
