"""ResNet: He et al., "Deep Residual Learning for Image Recognition", 2015.

v1 puts a bottleneck's stride in its first convolution, as the paper does, v1.5 in its 3x3
one, which is more accurate; the last scale of every block starts at zero, so that each block starts
as the identity (Goyal et al., 2017).
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxvision.models.blocks import convolution, layers, pooling

zeros = nn.initializers.zeros


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    width: int
    stride: int
    drop_path: float
    conv: Callable
    norm: Callable

    @nn.compact
    def __call__(
        self, x: Float[Array, 'b h w c'], keys: Key[Array, 'b'] | None
    ) -> Float[Array, 'b h2 w2 c2']:
        y = self.conv(self.width, (3, 3), self.stride, padding=1, name='conv1')(x)
        y = nn.relu(self.norm(name='norm1')(y))
        y = self.conv(self.width, (3, 3), padding=1, name='conv2')(y)
        y = self.norm(scale_init=zeros, name='norm2')(y)
        y = layers.DropPath(self.drop_path, name='drop_path')(y, keys)
        return nn.relu(y + shortcut(self, x, y.shape))


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, the last four times as wide, beside a shortcut."""

    width: int
    stride: int
    drop_path: float
    conv: Callable
    norm: Callable
    version = 'v1.5'

    @nn.compact
    def __call__(
        self, x: Float[Array, 'b h w c'], keys: Key[Array, 'b'] | None
    ) -> Float[Array, 'b h2 w2 c2']:
        first, second = (self.stride, 1) if self.version == 'v1' else (1, self.stride)
        y = self.conv(self.width, (1, 1), first, name='conv1')(x)
        y = nn.relu(self.norm(name='norm1')(y))
        y = self.conv(self.width, (3, 3), second, padding=1, name='conv2')(y)
        y = nn.relu(self.norm(name='norm2')(y))
        y = self.conv(4 * self.width, (1, 1), name='conv3')(y)
        y = self.norm(scale_init=zeros, name='norm3')(y)
        y = layers.DropPath(self.drop_path, name='drop_path')(y, keys)
        return nn.relu(y + shortcut(self, x, y.shape))


class FirstBottleneckBlock(BottleneckBlock):
    version = 'v1'


def shortcut(block, x, shape):
    """The identity, or a projection where the block changes the shape."""
    if x.shape == shape:
        return x
    x = block.conv(shape[-1], (1, 1), block.stride, name='shortcut_conv')(x)
    return block.norm(name='shortcut_norm')(x)


class ResNet(nn.Module):
    """Intermediates: 'stem', 'stage1' ... 'stage4', 'pooled', 'logits'."""

    num_classes: int
    block: type[nn.Module]
    depths: tuple[int, ...]
    stem: str = 'imagenet'
    norm: str = 'batch'
    momentum: float = 0.9
    drop_path: float = 0.0
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Float[Array, 'b h w c'],
        train: bool = False,
        keys: Key[Array, 'b'] | None = None,
    ) -> tuple[Float[Array, 'b n'], dict[str, Array]]:
        conv = partial(
            convolution.Conv,
            use_bias=False,
            kernel_init=layers.he_normal,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        norm = layers.normalization(
            self.norm, train, self.dtype, self.param_dtype, self.momentum
        )
        block = nn.remat(self.block) if self.remat else self.block
        tensors = {}

        if self.stem == 'imagenet':
            x = conv(64, (7, 7), 2, padding=3, name='stem_conv')(image)
        else:
            x = conv(64, (3, 3), padding=1, name='stem_conv')(image)
        tensors['stem'] = x = nn.relu(norm(name='stem_norm')(x))
        if self.stem == 'imagenet':
            # Zeros do not change a maximum behind a ReLU, and int8 has no -inf.
            x = pooling.max_pool(
                jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), (2, 2)
            )

        drop_paths = iter(np.linspace(0, self.drop_path, sum(self.depths)).tolist())
        for stage, depth in enumerate(self.depths, start=1):
            for i in range(1, depth + 1):
                stride = 2 if stage > 1 and i == 1 else 1
                x = block(
                    64 * 2 ** (stage - 1),
                    stride,
                    next(drop_paths),
                    conv,
                    norm,
                    name=f'stage{stage}_block{i}',
                )(x, keys)
            tensors[f'stage{stage}'] = x

        tensors['pooled'] = x = x.mean(axis=(1, 2))
        tensors['logits'] = layers.head(self.num_classes, self.param_dtype)(x)
        return tensors['logits'], tensors


SIZES = {
    '18': (BasicBlock, (2, 2, 2, 2)),
    '34': (BasicBlock, (3, 4, 6, 3)),
    '50': (BottleneckBlock, (3, 4, 6, 3)),
    '101': (BottleneckBlock, (3, 4, 23, 3)),
    '152': (BottleneckBlock, (3, 8, 36, 3)),
}
VARIANTS = tuple(SIZES)


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    stem: str = 'imagenet',
    version: str = 'v1.5',
    norm: str = 'batch',
    momentum: float = 0.9,
    drop_path: float = 0.0,
    remat: bool = False,
) -> ResNet:
    """Build a ResNet.

    Args:
        variant: '18', '34', '50', '101' or '152'.
        num_classes: length of the logits; 0 leaves out the head.
        dtype: of the computation.
        param_dtype: of the parameters.
        stem: 'imagenet' (7x7 of stride 2, then pooling) or 'cifar' (3x3 of stride 1).
        version: 'v1.5' or, of the bottlenecks from 50 on, 'v1'.
        norm: 'batch' or 'group'.
        momentum: share of the running statistics that a training step keeps.
        drop_path: rate of the last block; it grows linearly with depth.
        remat: recompute each block in the backward pass, which saves memory.

    Raises:
        UserError: The variant or an option is unknown.
    """
    layers.one_of('variant', variant, VARIANTS)
    layers.one_of('stem', stem, ('imagenet', 'cifar'))
    layers.one_of('norm', norm, ('batch', 'group'))
    block, depths = SIZES[variant]
    layers.one_of(
        'version', version, ('v1', 'v1.5') if block is BottleneckBlock else ('v1.5',)
    )
    block = FirstBottleneckBlock if version == 'v1' else block
    return ResNet(
        num_classes,
        block,
        depths,
        stem,
        norm,
        momentum,
        drop_path,
        remat,
        dtype,
        param_dtype,
    )
