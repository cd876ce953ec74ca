"""The block of the small networks: inverted residuals with depthwise convolutions (MobileNetV2:
Sandler et al., 2018), and squeeze-and-excitation (Hu et al., 2018) in EfficientNet's.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxvision.models.blocks import convolution, layers


class Stage(NamedTuple):
    """Blocks of one resolution and width; `expand` is how many times as wide they are inside, and
    the first has the `stride`."""

    expand: int
    kernel: int
    stride: int
    width: int
    depth: int


class Block(nn.Module):
    """A 1x1 convolution that widens, a depthwise one and a 1x1 one back, without an activation,
    beside a shortcut where the shape stays. `squeeze` channels, if any, look at the whole image.
    """

    stage: Stage
    stride: int
    squeeze: int
    drop_path: float
    activation: Callable
    conv: Callable
    norm: Callable

    @nn.compact
    def __call__(
        self, x: Float[Array, 'b h w c'], keys: Key[Array, 'b'] | None
    ) -> Float[Array, 'b h2 w2 c2']:
        inside = x.shape[-1] * self.stage.expand
        y = x
        if self.stage.expand > 1:
            y = self.conv(inside, 1, name='expand_conv')(y)
            y = self.activation(self.norm(name='expand_norm')(y))
        y = self.conv(
            inside,
            self.stage.kernel,
            self.stride,
            feature_group_count=inside,
            name='depthwise_conv',
        )(y)
        y = self.activation(self.norm(name='depthwise_norm')(y))
        if self.squeeze:
            dense = partial(self.conv, use_bias=True)
            gate = self.activation(
                dense(self.squeeze, 1, name='squeeze')(y.mean((1, 2), keepdims=True))
            )
            y = y * nn.sigmoid(dense(inside, 1, name='excite')(gate))
        y = self.norm(name='project_norm')(
            self.conv(self.stage.width, 1, name='project_conv')(y)
        )
        if y.shape != x.shape:
            return y
        return x + layers.DropPath(self.drop_path, name='drop_path')(y, keys)


class InvertedResiduals(nn.Module):
    """A stem of half the resolution, stages of blocks, and a wide 1x1 convolution before the head.

    `squeeze` is a share of a block's input channels. `padding` is 'symmetric', PyTorch's, or
    'same', TensorFlow's, which differ where a stride is 2; `epsilon` that of batch norm, 1e-3 in
    TensorFlow's weights. Intermediates: 'stem', 'stage1' ... 'stage7', 'last', 'pooled', 'logits'.
    """

    num_classes: int
    stem: int
    stages: tuple[Stage, ...]
    last: int
    activation: Callable
    squeeze: float = 0.0
    dropout: float = 0.0
    drop_path: float = 0.0
    padding: str = 'symmetric'
    epsilon: float = 1e-5
    momentum: float = 0.9
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
            padded_conv,
            padding=self.padding,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=layers.he_normal,
            param_dtype=self.param_dtype,
        )
        norm = layers.normalization(
            'batch', train, self.dtype, self.param_dtype, self.momentum, self.epsilon
        )
        x = self.activation(
            norm(name='stem_norm')(conv(self.stem, 3, 2, name='stem_conv')(image))
        )
        tensors, number = {'stem': x}, 0
        rates = np.linspace(
            0, self.drop_path, sum(stage.depth for stage in self.stages) + 1
        )
        for s, stage in enumerate(self.stages, start=1):
            for stride in (stage.stride, *[1] * (stage.depth - 1)):
                squeeze = max(1, int(x.shape[-1] * self.squeeze)) if self.squeeze else 0
                x = Block(
                    stage,
                    stride,
                    squeeze,
                    float(rates[number]),
                    self.activation,
                    conv,
                    norm,
                    name=f'block{(number := number + 1)}',
                )(x, keys)
            tensors[f'stage{s}'] = x
        x = self.activation(
            norm(name='last_norm')(conv(self.last, 1, name='last_conv')(x))
        )
        tensors['last'] = x
        tensors['pooled'] = x = x.mean((1, 2))
        x = layers.Dropout(self.dropout, name='dropout')(x, keys)
        tensors['logits'] = layers.head(self.num_classes, self.param_dtype)(x)
        return tensors['logits'], tensors


def padded_conv(
    width: int, kernel: int, stride: int = 1, *, padding: str, **options
) -> nn.Module:
    return convolution.Conv(
        width,
        (kernel, kernel),
        stride,
        padding='SAME' if padding == 'same' else kernel // 2,
        **options,
    )


def scaled(width: float, divisor: int = 8) -> int:
    """The nearest multiple, but not less than nine tenths."""
    nearest = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return nearest + divisor * (nearest < 0.9 * width)
