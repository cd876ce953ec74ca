"""Vision Transformer: Dosovitskiy et al., "An Image Is Worth 16x16 Words", 2020.

Sizes and regularisation are those of Steiner et al., "How to train your ViT?" (AugReg), 2021.
"""

import re
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxvision.core.errors import UserError
from jaxvision.models.blocks import convolution, layers


class Attention(nn.Module):
    """Multi-head self-attention: softmax(q k^T / sqrt(d)) v, then a projection."""

    heads: int
    dense: Callable

    @nn.compact
    def __call__(self, x: Float[Array, 'b n c']) -> Float[Array, 'b n c']:
        width = x.shape[-1]
        qkv = self.dense(3 * width, name='qkv')(x)
        q, k, v = jnp.moveaxis(
            qkv.reshape(*x.shape[:2], 3, self.heads, width // self.heads), 2, 0
        )
        scores = jnp.einsum('bqhd,bkhd->bhqk', q, k) / np.sqrt(width // self.heads)
        # The softmax sums over all tokens: in float32, also when the rest is bfloat16.
        weights = nn.softmax(scores.astype(jnp.promote_types(x.dtype, jnp.float32)))
        y = jnp.einsum('bhqk,bkhd->bqhd', weights.astype(x.dtype), v)
        return self.dense(width, name='out')(y.reshape(x.shape))


class Block(nn.Module):
    """Attention, then a two-layer perceptron, each normalised before and beside an identity."""

    heads: int
    dropout: float
    drop_path: float
    gelu: str
    dense: Callable
    norm: Callable

    @nn.compact
    def __call__(
        self, x: Float[Array, 'b n c'], keys: Key[Array, 'b'] | None
    ) -> Float[Array, 'b n c']:
        width = x.shape[-1]
        y = Attention(self.heads, self.dense, name='attention')(
            self.norm(name='norm1')(x)
        )
        y = layers.Dropout(self.dropout, name='dropout1')(y, keys)
        x = x + layers.DropPath(self.drop_path, name='drop_path1')(y, keys)

        y = self.dense(4 * width, name='mlp1')(self.norm(name='norm2')(x))
        y = nn.gelu(y, approximate=self.gelu == 'tanh')
        y = layers.Dropout(self.dropout, name='dropout2')(y, keys)
        y = self.dense(width, name='mlp2')(y)
        y = layers.Dropout(self.dropout, name='dropout3')(y, keys)
        return x + layers.DropPath(self.drop_path, name='drop_path2')(y, keys)


class ViT(nn.Module):
    """Intermediates: 'embedded', 'block1', ..., 'tokens' (after the last norm), 'pooled', 'logits'.

    All but the last two are [B, N, C]; with pool 'cls' the first token is the class token.
    """

    num_classes: int
    patch: int
    width: int
    depth: int
    heads: int
    pool: str = 'cls'
    gelu: str = 'tanh'
    dropout: float = 0.0
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
        dtypes = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        dense = partial(
            nn.Dense, kernel_init=nn.initializers.xavier_uniform(), **dtypes
        )
        norm = partial(nn.LayerNorm, epsilon=1e-6, **dtypes)
        block = nn.remat(Block) if self.remat else Block
        tensors = {}

        tensors['embedded'] = x = self.embed(image, keys)
        for i, drop_path in enumerate(
            np.linspace(0, self.drop_path, self.depth).tolist(), 1
        ):
            x = block(
                self.heads,
                self.dropout,
                drop_path,
                self.gelu,
                dense,
                norm,
                name=f'block{i}',
            )(x, keys)
            tensors[f'block{i}'] = x
        tensors['tokens'] = x = norm(name='norm')(x)
        tensors['pooled'] = x = x[:, 0] if self.pool == 'cls' else x.mean(axis=1)
        tensors['logits'] = layers.head(self.num_classes, self.param_dtype)(x)
        return tensors['logits'], tensors

    def embed(self, image, keys):
        """Patches to tokens [B, N, C], a class token before them, positions added."""
        dtypes = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        patch = (self.patch, self.patch)
        if image.shape[1] % self.patch or image.shape[2] % self.patch:
            raise UserError(
                f'patches of {self.patch} do not tile images of '
                f'{image.shape[1]}x{image.shape[2]} pixels: choose another '
                'model.variant or data.image_size'
            )
        x = convolution.Conv(
            self.width,
            patch,
            patch,
            padding='VALID',
            name='patch_embedding',
            kernel_init=nn.initializers.lecun_normal(),
            **dtypes,
        )(image)
        x = x.reshape(x.shape[0], -1, self.width)
        if self.pool == 'cls':
            cls = self.param(
                'cls', nn.initializers.zeros, (1, 1, self.width), self.param_dtype
            )
            cls = jnp.broadcast_to(cls.astype(x.dtype), (x.shape[0], 1, self.width))
            x = jnp.concatenate([cls, x], axis=1)
        position = self.param(
            'position_embedding',
            nn.initializers.normal(0.02),
            (1, *x.shape[1:]),
            self.param_dtype,
        )
        return layers.Dropout(self.dropout, name='dropout')(
            x + position.astype(x.dtype), keys
        )


# size: width, depth, heads
SIZES = {
    'Ti': (192, 12, 3),
    'S': (384, 12, 6),
    'B': (768, 12, 12),
    'L': (1024, 24, 16),
}
VARIANTS = ('Ti/16', 'S/32', 'S/16', 'B/32', 'B/16', 'L/16')


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    pool: str = 'cls',
    gelu: str = 'tanh',
    dropout: float = 0.0,
    drop_path: float = 0.0,
    remat: bool = False,
    depth: int = 0,
) -> ViT:
    """Build a ViT.

    Args:
        variant: SIZE/PATCH with size Ti, S, B or L and any patch: 'B/16', 'Ti/4'.
        num_classes: length of the logits; 0 leaves out the head.
        dtype: of the computation.
        param_dtype: of the parameters.
        pool: 'cls' (a class token) or 'mean' (none).
        gelu: 'tanh', an approximation that is the authors' own, or 'exact', which
            torchvision and timm have.
        dropout: rate, in [0, 1).
        drop_path: rate of the last block; it grows linearly with depth.
        remat: recompute each block in the backward pass, which saves memory.
        depth: number of blocks; 0 for the size's own.

    Raises:
        UserError: The variant or an option is unknown.
    """
    size, _, patch = variant.partition('/')
    if size not in SIZES or not re.fullmatch(r'[1-9]\d*', patch):
        raise UserError(
            f'model.variant={variant!r} of vit is unknown; '
            f"give SIZE/PATCH with a size of {', '.join(SIZES)}, as 'S/16'"
        )
    layers.one_of('pool', pool, ('cls', 'mean'))
    layers.one_of('gelu', gelu, ('tanh', 'exact'))
    width, blocks, heads = SIZES[size]
    return ViT(
        num_classes,
        int(patch),
        width,
        depth or blocks,
        heads,
        pool,
        gelu,
        dropout,
        drop_path,
        remat,
        dtype,
        param_dtype,
    )
