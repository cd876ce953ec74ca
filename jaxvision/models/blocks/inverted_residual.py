"""Inverted residual networks, the common part of MobileNetV2 and EfficientNet.

Their block is an inverted residual with a depthwise convolution (MobileNetV2: Sandler et al. 2018),
in EfficientNet with squeeze-and-excitation (Hu et al. 2018).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxvision.models.blocks import convolution, layers
from jaxvision.models.types import Images, Intermediates, Keys, Maps, Outputs


class Stage(NamedTuple):
    """Consecutive blocks of one resolution and width.

    Attributes:
        expand: width inside a block, as a multiple of the width of its input.
        kernel: side of the depthwise kernel in pixels.
        stride: stride of the first block. The others have a stride of 1.
        width: number of output channels.
        depth: number of blocks.
    """

    expand: int
    kernel: int
    stride: int
    width: int
    depth: int


class Block(nn.Module):
    """Inverted residual: a 1x1 convolution widens, a depthwise one follows, and a 1x1 one narrows.

    The last convolution has no activation. If the shape stays the same, the input is
    added. With `expand` of 1, the first convolution is left out. A call is `block(x,
    keys)`, with keys for dropping, or None.

    Attributes:
        stage: the stage that the block belongs to. Its `stride` and `depth` are not used.
        stride: of the depthwise convolution.
        squeeze: number of hidden channels of squeeze-and-excitation, 0 for none.
        drop_path: rate at which the branch beside the identity is dropped in training.
        activation: the activation function.
        conv: `padded_conv` with its `padding` and further arguments set.
        norm: builds a norm from its `name`.
    """

    stage: Stage
    stride: int
    squeeze: int
    drop_path: float
    activation: Callable
    conv: Callable
    norm: Callable

    @nn.compact
    def __call__(self, x: Images, keys: Keys) -> Maps:
        width = x.shape[-1] * self.stage.expand
        y = x
        if self.stage.expand > 1:
            y = self.conv(width, 1, name='expand_conv')(y)
            y = self.activation(self.norm(name='expand_norm')(y))
        y = self.conv(
            width,
            self.stage.kernel,
            self.stride,
            feature_group_count=width,
            name='depthwise_conv',
        )(y)
        y = self.activation(self.norm(name='depthwise_norm')(y))
        if self.squeeze:
            dense = partial(self.conv, use_bias=True)
            mean = y.mean((1, 2), keepdims=True)
            hidden = self.activation(dense(self.squeeze, 1, name='squeeze')(mean))
            gate = nn.sigmoid(dense(width, 1, name='excite')(hidden))
            y = y * gate
        y = self.conv(self.stage.width, 1, name='project_conv')(y)
        y = self.norm(name='project_norm')(y)
        if y.shape != x.shape:
            return y
        return x + layers.DropPath(self.drop_path, name='drop_path')(y, keys)


class InvertedResiduals(nn.Module):
    """A stem of stride 2, stages of blocks, a wide 1x1 convolution and a head.

    A call `(image, train, keys)` returns (logits, intermediates): 'stem', 'stage1',
    'stage2', ... (one for each stage), 'last', 'pooled', 'logits'. Without a head, the
    logits are the pooled features after dropout.

    Attributes:
        num_classes: length of the logits, 0 for no head.
        stem: width of the stem.
        stages: the stages of blocks.
        last: width of the last convolution.
        activation: of the stem, the last convolution and the blocks.
        squeeze: hidden channels of squeeze-and-excitation, as a fraction of the channels of a
            block's input. 0: no squeeze-and-excitation.
        dropout: rate before the head.
        drop_path: i * drop_path / N is the rate of block i = 0, ..., N - 1 of N blocks.
        padding: 'same' (as in TensorFlow), or else 'symmetric' (half a kernel on each
            side, as in PyTorch). They differ at stride 2.
        epsilon: added to the variance in batch norm, 1e-3 in TensorFlow's weights.
        momentum: fraction of the running statistics that a training step keeps.
        dtype: of the computation.
        param_dtype: of the parameters.
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
        image: Images,
        train: bool = False,
        keys: Keys = None,
    ) -> Outputs:
        conv = partial(
            padded_conv,
            padding=self.padding,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=layers.he_normal,
            param_dtype=self.param_dtype,
        )
        norm = layers.normalization(
            'batch',
            train,
            self.dtype,
            self.param_dtype,
            self.momentum,
            self.epsilon,
        )
        intermediates = {}
        x = conv(self.stem, 3, 2, name='stem_conv')(image)
        x = self.activation(norm(name='stem_norm')(x))
        intermediates['stem'] = x
        x = self._run_stages(x, keys, conv, norm, intermediates)
        x = conv(self.last, 1, name='last_conv')(x)
        x = self.activation(norm(name='last_norm')(x))
        intermediates['last'] = x
        x = x.mean((1, 2))
        intermediates['pooled'] = x
        x = layers.Dropout(self.dropout, name='dropout')(x, keys)
        logits = layers.head(self.num_classes, self.param_dtype)(x)
        intermediates['logits'] = logits
        return logits, intermediates

    def _run_stages(
        self,
        x: Images,
        keys: Keys,
        conv: Callable,
        norm: Callable,
        intermediates: Intermediates,
    ) -> Maps:
        """Apply all blocks, and record the output of each stage."""
        depth = sum(stage.depth for stage in self.stages)
        rates = np.linspace(0, self.drop_path, depth + 1)
        number = 0
        for s, stage in enumerate(self.stages, start=1):
            for i in range(stage.depth):
                stride = 1
                if i == 0:
                    stride = stage.stride
                squeeze = 0
                if self.squeeze:
                    squeeze = max(1, int(x.shape[-1] * self.squeeze))
                drop_path = float(rates[number])
                number += 1
                x = Block(
                    stage,
                    stride,
                    squeeze,
                    drop_path,
                    self.activation,
                    conv,
                    norm,
                    name=f'block{number}',
                )(x, keys)
            intermediates[f'stage{s}'] = x
        return x


def padded_conv(
    width: int,
    kernel: int,
    stride: int = 1,
    *,
    padding: str,
    **options,
) -> nn.Module:
    """Build a square convolution, a module to be called on images [B, H, W, C].

    Args:
        width: number of output channels.
        kernel: side of the kernel in pixels.
        stride: along both axes.
        padding: 'same' (as in TensorFlow). Any other text counts as 'symmetric', half a
            kernel on each side, rounded down.
        **options: further fields of the convolution.
    """
    pads = kernel // 2
    if padding == 'same':
        pads = 'SAME'
    return convolution.Conv(width, (kernel, kernel), stride, padding=pads, **options)


def scaled(width: float, divisor: int = 8) -> int:
    """Round a width to the nearest multiple of `divisor` that is at least nine tenths of it.

    A tie is rounded up. The result is at least `divisor`.
    """
    nearest = max(divisor, int(width + divisor / 2) // divisor * divisor)
    if nearest < 0.9 * width:
        return nearest + divisor
    return nearest
