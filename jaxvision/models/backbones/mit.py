"""Mix Transformer: Xie et al., "SegFormer", 2021 (arXiv 2105.15203).

Attention to means of cells that a strided convolution computes, and no position embeddings. A
depthwise convolution in each perceptron tells positions instead, so that images have any size.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxvision.core.errors import UserError
from jaxvision.models.blocks import convolution, layers
from jaxvision.models.types import Images, Keys, Outputs

# Windows and strides of the embeddings of each stage, and strides of the keys in its attention.
WINDOWS = (7, 3, 3, 3)
STRIDES = (4, 2, 2, 2)
REDUCTIONS = (8, 4, 2, 1)
HEADS = (1, 2, 5, 8)

_EXPANSION = 4  # of the perceptrons
_EPSILON = 1e-5
_dense_init = nn.initializers.truncated_normal(0.02)
# The number of inputs of a depthwise convolution does not depend on the number of channels.
_depthwise_init = nn.initializers.variance_scaling(2.0, 'fan_in', 'normal')


class Attention(nn.Module):
    """Multi-head attention of all cells to the cells of a smaller map.

    A call maps [B, H, W, C] to the same shape.

    Attributes:
        heads: number of heads, a divisor of C.
        reduction: cells of the map along each axis for one cell of the smaller map.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    heads: int
    reduction: int
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Images) -> Images:
        """Compute the attention.

        Raises:
            UserError: The map is smaller than a cell of the smaller map.
        """
        batch, height, width, channels = x.shape
        if min(height, width) < self.reduction:
            raise UserError(
                f'model.variant: expected images of at least 32 pixels a side, but a map has '
                f'{height}x{width} cells, and mit averages {self.reduction}x'
                f'{self.reduction}. Use larger images'
            )
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        dense = functools.partial(nn.Dense, channels, kernel_init=_dense_init, **types)
        smaller = x
        if self.reduction > 1:
            window = (self.reduction, self.reduction)
            smaller = convolution.Conv(
                channels,
                window,
                window,
                padding='VALID',
                kernel_init=layers.he_normal,
                name='reduction',
                **types,
            )(x)
            smaller = nn.LayerNorm(_EPSILON, name='reduction_norm', **types)(smaller)
        by_head = (batch, -1, self.heads, channels // self.heads)
        query = dense(name='query')(x).reshape(by_head)
        key = dense(name='key')(smaller).reshape(by_head)
        value = dense(name='value')(smaller).reshape(by_head)
        scale = 1 / np.sqrt(channels // self.heads)
        scores = jnp.einsum('bqhd,bkhd->bhqk', query * scale, key)
        # The softmax sums over all keys, so it needs float32 even if the rest is bfloat16.
        precise = jnp.promote_types(x.dtype, jnp.float32)
        weights = nn.softmax(scores.astype(precise)).astype(x.dtype)
        y = jnp.einsum('bhqk,bkhd->bqhd', weights, value)
        return dense(name='out')(y.reshape(x.shape))


class Block(nn.Module):
    """Attention and a perceptron with a 3x3 depthwise convolution, each beside the identity.

    A call is `block(x, keys)`, with keys for dropping, or None.

    Attributes:
        heads: number of heads of the attention.
        reduction: of the attention.
        drop_path: rate at which a branch beside the identity is dropped in training.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    heads: int
    reduction: int
    drop_path: float
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Images, keys: Keys) -> Images:
        width = x.shape[-1]
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = functools.partial(nn.LayerNorm, _EPSILON, **types)
        dense = functools.partial(nn.Dense, kernel_init=_dense_init, **types)
        attention = Attention(self.heads, self.reduction, name='attention', **types)
        y = attention(norm(name='norm1')(x))
        x = x + layers.DropPath(self.drop_path, name='drop_path1')(y, keys)

        y = dense(_EXPANSION * width, name='mlp1')(norm(name='norm2')(x))
        y = convolution.Conv(
            _EXPANSION * width,
            (3, 3),
            padding=1,
            feature_group_count=_EXPANSION * width,
            kernel_init=_depthwise_init,
            name='depthwise_conv',
            **types,
        )(y)
        y = nn.gelu(y, approximate=False)
        y = dense(width, name='mlp2')(y)
        return x + layers.DropPath(self.drop_path, name='drop_path2')(y, keys)


class MiT(nn.Module):
    """Four stages of blocks, with maps of strides 4, 8, 16 and 32.

    A call returns (logits, intermediates): 'stage1', ..., 'stage4', 'pooled', 'logits'.
    Without a head, the logits are the pooled features. `train` changes nothing: blocks
    are dropped if there are `keys`, one for each example.

    Attributes:
        num_classes: length of the logits, 0 for no head.
        widths: of the stages.
        depths: number of blocks of each stage.
        drop_path: rate of the last block. It grows linearly with depth, from 0.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    num_classes: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    drop_path: float = 0.0
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Images,
        train: bool = False,
        keys: Keys = None,
    ) -> Outputs:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = functools.partial(nn.LayerNorm, _EPSILON, **types)
        rates = np.linspace(0, self.drop_path, sum(self.depths))
        drop_paths = iter(rates.tolist())
        intermediates = {}
        x = image
        stages = zip(self.widths, self.depths, strict=True)
        for stage, (width, depth) in enumerate(stages, start=1):
            window = WINDOWS[stage - 1]
            x = convolution.Conv(
                width,
                (window, window),
                STRIDES[stage - 1],
                padding=window // 2,
                kernel_init=layers.he_normal,
                name=f'stage{stage}_embedding',
                **types,
            )(x)
            x = norm(name=f'stage{stage}_embedding_norm')(x)
            for i in range(1, depth + 1):
                block = Block(
                    HEADS[stage - 1],
                    REDUCTIONS[stage - 1],
                    next(drop_paths),
                    name=f'stage{stage}_block{i}',
                    **types,
                )
                x = block(x, keys)
            x = norm(name=f'stage{stage}_norm')(x)
            intermediates[f'stage{stage}'] = x
        x = x.mean((1, 2))
        intermediates['pooled'] = x
        logits = layers.head(self.num_classes, self.param_dtype)(x)
        intermediates['logits'] = logits
        return logits, intermediates

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of a cell of the map of each stage."""
        return tuple(np.cumprod(STRIDES).tolist())


# (widths, depths) of each variant.
SIZES = {
    'b0': ((32, 64, 160, 256), (2, 2, 2, 2)),
    'b1': ((64, 128, 320, 512), (2, 2, 2, 2)),
    'b2': ((64, 128, 320, 512), (3, 4, 6, 3)),
    'b3': ((64, 128, 320, 512), (3, 4, 18, 3)),
    'b4': ((64, 128, 320, 512), (3, 8, 27, 3)),
    'b5': ((64, 128, 320, 512), (3, 6, 40, 3)),
}
VARIANTS = tuple(SIZES)


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    drop_path: float = 0.1,
) -> MiT:
    """Build a Mix Transformer.

    Args:
        variant: 'b0' to 'b5'.
        num_classes: length of the logits, 0 for no head.
        dtype: of the computation.
        param_dtype: of the parameters.
        drop_path: rate of the last block. It grows linearly with depth, from 0 in the first.

    Raises:
        UserError: The variant is unknown.
    """
    layers.one_of('variant', variant, VARIANTS)
    widths, depths = SIZES[variant]
    return MiT(num_classes, widths, depths, drop_path, dtype, param_dtype)
