"""ConvNeXt: Liu et al., "A ConvNet for the 2020s", 2022."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxvision.models.blocks import convolution, layers


class Block(nn.Module):
    """A 7x7 depthwise convolution, and a perceptron in every pixel, four times as wide inside; its
    branch starts at nearly nothing."""

    drop_path: float
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, 'b h w c'], keys: Key[Array, 'b'] | None
    ) -> Float[Array, 'b h w c']:
        width, types = x.shape[-1], dict(dtype=self.dtype, param_dtype=self.param_dtype)
        dense = partial(
            nn.Dense, kernel_init=nn.initializers.truncated_normal(0.02), **types
        )
        y = convolution.Conv(
            width,
            (7, 7),
            padding=3,
            feature_group_count=width,
            kernel_init=nn.initializers.truncated_normal(0.02),
            name='depthwise_conv',
            **types,
        )(x)
        y = nn.LayerNorm(1e-6, name='norm', **types)(y)
        y = nn.gelu(dense(4 * width, name='mlp1')(y), approximate=False)
        y = dense(width, name='mlp2')(y)
        scale = self.param(
            'layer_scale', nn.initializers.constant(1e-6), (width,), self.param_dtype
        )
        return x + layers.DropPath(self.drop_path, name='drop_path')(
            y * scale.astype(y.dtype), keys
        )


class ConvNeXt(nn.Module):
    """Intermediates: 'stem', 'stage1' ... 'stage4', 'pooled', 'logits'."""

    num_classes: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    drop_path: float = 0.0
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Float[Array, 'b h w c'],
        train: bool = False,
        keys: Key[Array, 'b'] | None = None,
    ) -> tuple[Float[Array, 'b n'], dict[str, Array]]:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        conv = partial(
            convolution.Conv,
            padding='VALID',
            kernel_init=nn.initializers.truncated_normal(0.02),
            **types,
        )
        norm = partial(nn.LayerNorm, 1e-6, **types)
        x = norm(name='stem_norm')(
            conv(self.widths[0], (4, 4), 4, name='stem_conv')(image)
        )
        tensors, rates = (
            {'stem': x},
            iter(np.linspace(0, self.drop_path, sum(self.depths)).tolist()),
        )
        stages = zip(self.widths, self.depths, strict=True)
        for stage, (width, depth) in enumerate(stages, start=1):
            if stage > 1:
                x = norm(name=f'stage{stage}_norm')(x)
                x = conv(width, (2, 2), 2, name=f'stage{stage}_conv')(x)
            for i in range(1, depth + 1):
                x = Block(next(rates), **types, name=f'stage{stage}_block{i}')(x, keys)
            tensors[f'stage{stage}'] = x
        tensors['pooled'] = x = norm(name='norm')(x.mean((1, 2)))
        tensors['logits'] = layers.head(self.num_classes, self.param_dtype)(x)
        return tensors['logits'], tensors


# variant: widths, depths
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
        num_classes: length of the logits; 0 leaves out the head.
        dtype: of the computation.
        param_dtype: of the parameters.
        drop_path: rate of the last block; it grows linearly with depth.

    Raises:
        UserError: The variant is unknown.
    """
    layers.one_of('variant', variant, VARIANTS)
    return ConvNeXt(num_classes, *SIZES[variant], drop_path, dtype, param_dtype)
