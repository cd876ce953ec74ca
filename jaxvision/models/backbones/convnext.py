"""ConvNeXt: Liu et al., "A ConvNet for the 2020s", 2022."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxvision.models.blocks import convolution, layers
from jaxvision.models.types import Images, Keys, Outputs

_EPSILON = 1e-6
_kernel_init = nn.initializers.truncated_normal(0.02)


class Block(nn.Module):
    """A 7x7 depthwise convolution, then a two-layer perceptron at every pixel, beside the identity.

    A call is `block(x, keys)`, with keys for dropping, or None.

    The perceptron is four times as wide inside. A learned scale starts the branch close to zero.

    Attributes:
        drop_path: rate at which the branch beside the identity is dropped in training.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    drop_path: float
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Images, keys: Keys) -> Images:
        width = x.shape[-1]
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        dense = partial(nn.Dense, kernel_init=_kernel_init, **types)
        y = convolution.Conv(
            width,
            (7, 7),
            padding=3,
            feature_group_count=width,
            kernel_init=_kernel_init,
            name='depthwise_conv',
            **types,
        )(x)
        y = nn.LayerNorm(_EPSILON, name='norm', **types)(y)
        y = dense(4 * width, name='mlp1')(y)
        y = nn.gelu(y, approximate=False)
        y = dense(width, name='mlp2')(y)
        scale = self.param(
            'layer_scale',
            nn.initializers.constant(1e-6),
            (width,),
            self.param_dtype,
        )
        y = y * scale.astype(y.dtype)
        return x + layers.DropPath(self.drop_path, name='drop_path')(y, keys)


class ConvNeXt(nn.Module):
    """A stem of 4x4 patches, then stages of blocks, each at half the resolution of the last.

    A call returns (logits, intermediates): 'stem', 'stage1', 'stage2', ..., 'pooled'
    (after the last norm), 'logits'. Without a head, the logits are the pooled features.
    `train` changes nothing: blocks are dropped if there are `keys`, one for each
    example. Last rows and columns that do not fill a patch, or a pair between stages,
    are left out.

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
        conv = partial(
            convolution.Conv,
            padding='VALID',
            kernel_init=_kernel_init,
            **types,
        )
        norm = partial(nn.LayerNorm, _EPSILON, **types)
        intermediates = {}
        x = conv(self.widths[0], (4, 4), 4, name='stem_conv')(image)
        x = norm(name='stem_norm')(x)
        intermediates['stem'] = x
        rates = np.linspace(0, self.drop_path, sum(self.depths))
        drop_paths = iter(rates.tolist())
        stages = zip(self.widths, self.depths, strict=True)
        for stage, (width, depth) in enumerate(stages, start=1):
            if stage > 1:
                x = norm(name=f'stage{stage}_norm')(x)
                x = conv(width, (2, 2), 2, name=f'stage{stage}_conv')(x)
            for i in range(1, depth + 1):
                block = Block(
                    next(drop_paths),
                    **types,
                    name=f'stage{stage}_block{i}',
                )
                x = block(x, keys)
            intermediates[f'stage{stage}'] = x
        x = norm(name='norm')(x.mean((1, 2)))
        intermediates['pooled'] = x
        logits = layers.head(self.num_classes, self.param_dtype)(x)
        intermediates['logits'] = logits
        return logits, intermediates


# (widths, depths) of each variant.
SIZES = {
    'T': ((96, 192, 384, 768), (3, 3, 9, 3)),
    'S': ((96, 192, 384, 768), (3, 3, 27, 3)),
    'B': ((128, 256, 512, 1024), (3, 3, 27, 3)),
}
VARIANTS = tuple(SIZES)


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    drop_path: float = 0.1,
) -> ConvNeXt:
    """Build a ConvNeXt.

    Args:
        variant: 'T', 'S' or 'B'.
        num_classes: length of the logits, 0 for no head.
        dtype: of the computation.
        param_dtype: of the parameters.
        drop_path: rate of the last block. It grows linearly with depth, from 0 in the first.

    Raises:
        UserError: The variant is unknown.
    """
    layers.one_of('variant', variant, VARIANTS)
    widths, depths = SIZES[variant]
    return ConvNeXt(num_classes, widths, depths, drop_path, dtype, param_dtype)
