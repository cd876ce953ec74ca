"""Vision Transformer: Dosovitskiy et al., "An Image Is Worth 16x16 Words", 2020.

Sizes and regularisation follow Steiner et al., "How to train your ViT?" (AugReg), 2021.
"""

import re
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.core.errors import UserError
from jaxvision.models.blocks import convolution, layers
from jaxvision.models.types import Images, Keys, Outputs

Tokens = Float[Array, 'b n d']
# The weight of each token (last axis) in each token.
Weights = Float[Array, 'b n n']


class Attention(nn.Module):
    """Multi-head self-attention: softmax(q k^T / sqrt(d)) v, then a projection.

    A call returns (tokens, mean of the weights over the heads). Compiled programs that do not use
    the mean do not compute it.

    Attributes:
        heads: number of heads, a divisor of the width of the tokens. d is their quotient.
        dense: builds a linear layer from its width and `name`.
    """

    heads: int
    dense: Callable

    @nn.compact
    def __call__(self, x: Tokens) -> tuple[Tokens, Weights]:
        batch, tokens, width = x.shape
        head_width = width // self.heads
        qkv = self.dense(3 * width, name='qkv')(x)
        qkv = qkv.reshape(batch, tokens, 3, self.heads, head_width)
        q, k, v = jnp.moveaxis(qkv, 2, 0)
        scores = jnp.einsum('bqhd,bkhd->bhqk', q, k) / np.sqrt(head_width)
        # The softmax sums over all tokens, so it needs float32 even if the rest is bfloat16.
        precise = jnp.promote_types(x.dtype, jnp.float32)
        weights = nn.softmax(scores.astype(precise))
        weights = weights.astype(x.dtype)
        y = jnp.einsum('bhqk,bkhd->bqhd', weights, v)
        y = self.dense(width, name='out')(y.reshape(x.shape))
        return y, weights.mean(axis=1)


class Block(nn.Module):
    """Attention, then a two-layer perceptron, each after a norm and beside the identity.

    The perceptron is four times as wide inside. A call is `block(x, keys)`, with keys
    for dropout and dropping, or None. It returns (tokens, the weights of the attention).

    Attributes:
        heads: number of attention heads, a divisor of the width of the tokens.
        dropout: rate after the attention and after each layer of the perceptron.
        drop_path: rate at which each of the two branches is dropped in training.
        gelu: 'tanh' for the approximation of GELU, otherwise it is exact.
        dense: builds a linear layer from its width and `name`.
        norm: builds a norm from its `name`.
    """

    heads: int
    dropout: float
    drop_path: float
    gelu: str
    dense: Callable
    norm: Callable

    @nn.compact
    def __call__(self, x: Tokens, keys: Keys) -> tuple[Tokens, Weights]:
        width = x.shape[-1]
        attention = Attention(self.heads, self.dense, name='attention')
        y, weights = attention(self.norm(name='norm1')(x))
        y = layers.Dropout(self.dropout, name='dropout1')(y, keys)
        x = x + layers.DropPath(self.drop_path, name='drop_path1')(y, keys)

        y = self.norm(name='norm2')(x)
        y = self.dense(4 * width, name='mlp1')(y)
        y = nn.gelu(y, approximate=self.gelu == 'tanh')
        y = layers.Dropout(self.dropout, name='dropout2')(y, keys)
        y = self.dense(width, name='mlp2')(y)
        y = layers.Dropout(self.dropout, name='dropout3')(y, keys)
        x = x + layers.DropPath(self.drop_path, name='drop_path2')(y, keys)
        return x, weights


class ViT(nn.Module):
    """Patches of an image as tokens, and transformer blocks.

    A call returns (logits, intermediates): 'embedded', 'attention1', 'block1', ...,
    'tokens' (after the last norm), 'pooled', 'logits'. Tokens are [B, N, D].
    'attention1', ... are the weights of each block, averaged over its heads, [B, N, N].
    With pool 'cls' the first token is the class token. Without a head, the logits are
    the pooled features. The learned positions fix the image size. `train` changes
    nothing: dropout needs `keys`, one for each example.

    Attributes:
        num_classes: length of the logits, 0 for no head.
        patch: side of a patch in pixels.
        width: length D of a token.
        depth: number of blocks.
        heads: number of attention heads, a divisor of the width.
        pool: 'cls' for a class token, or 'mean' for the mean over the tokens.
        gelu: 'tanh', an approximation, or 'exact'.
        dropout: rate of dropout.
        drop_path: rate of the last block. It grows linearly with depth, from 0.
        remat: recompute each block in the backward pass, which saves memory.
        dtype: of the computation.
        param_dtype: of the parameters.
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
        image: Images,
        train: bool = False,
        keys: Keys = None,
    ) -> Outputs:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        xavier = nn.initializers.xavier_uniform()
        dense = partial(nn.Dense, kernel_init=xavier, **types)
        norm = partial(nn.LayerNorm, epsilon=1e-6, **types)
        block = Block
        if self.remat:
            block = nn.remat(Block)
        intermediates = {}

        x = self.embed(image, keys)
        intermediates['embedded'] = x
        rates = np.linspace(0, self.drop_path, self.depth)
        for i, drop_path in enumerate(rates.tolist(), start=1):
            x, weights = block(
                self.heads,
                self.dropout,
                drop_path,
                self.gelu,
                dense,
                norm,
                name=f'block{i}',
            )(x, keys)
            intermediates[f'attention{i}'] = weights
            intermediates[f'block{i}'] = x
        x = norm(name='norm')(x)
        intermediates['tokens'] = x
        if self.pool == 'cls':
            x = x[:, 0]
        else:
            x = x.mean(axis=1)
        intermediates['pooled'] = x
        logits = layers.head(self.num_classes, self.param_dtype)(x)
        intermediates['logits'] = logits
        return logits, intermediates

    def embed(self, image: Images, keys: Keys) -> Tokens:
        """Embed patches as tokens, prepend the class token if there is one, and add positions.

        Args:
            image: [B, H, W, C].
            keys: one key for each example, for dropout of the result, or None.

        Returns:
            Tokens [B, N, D], patches row by row. With pool 'cls', the first is the class token.

        Raises:
            UserError: H or W is no multiple of the patch.
        """
        batch, image_height, image_width, _ = image.shape
        patch = (self.patch, self.patch)
        if image_height % self.patch or image_width % self.patch:
            raise UserError(
                f'model.variant with patches of {self.patch} pixels: expected images of '
                f'a multiple of it, but they have {image_height}x{image_width}. Choose '
                'another model.variant or data.image_size.'
            )
        x = convolution.Conv(
            self.width,
            patch,
            patch,
            padding='VALID',
            name='patch_embedding',
            kernel_init=nn.initializers.lecun_normal(),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )(image)
        x = x.reshape(batch, -1, self.width)
        if self.pool == 'cls':
            cls = self.param(
                'cls',
                nn.initializers.zeros,
                (1, 1, self.width),
                self.param_dtype,
            )
            cls = cls.astype(x.dtype)
            cls = jnp.broadcast_to(cls, (batch, 1, self.width))
            x = jnp.concatenate([cls, x], axis=1)
        position = self.param(
            'position_embedding',
            nn.initializers.normal(0.02),
            (1, *x.shape[1:]),
            self.param_dtype,
        )
        x = x + position.astype(x.dtype)
        return layers.Dropout(self.dropout, name='dropout')(x, keys)


# (width, depth, heads) of each size.
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
        num_classes: length of the logits, 0 for no head.
        dtype: of the computation.
        param_dtype: of the parameters.
        pool: 'cls' for a class token, or 'mean' for the mean over the tokens.
        gelu: 'tanh', the authors' approximation, or 'exact', as in torchvision and timm.
        dropout: rate, in [0, 1).
        drop_path: rate of the last block. It grows linearly with depth, from 0 in the first.
        remat: recompute each block in the backward pass, which saves memory.
        depth: number of blocks, 0 for the depth of the size.

    Raises:
        UserError: The variant or an option is unknown.
    """
    size, _, patch = variant.partition('/')
    if size not in SIZES or not re.fullmatch(r'[1-9]\d*', patch):
        raise UserError(
            f'model.variant={variant!r}: expected SIZE/PATCH with a size of vit '
            f"({', '.join(SIZES)}) and a patch in pixels. Write it as 'S/16'."
        )
    layers.one_of('pool', pool, ('cls', 'mean'))
    layers.one_of('gelu', gelu, ('tanh', 'exact'))
    width, default_depth, heads = SIZES[size]
    return ViT(
        num_classes,
        int(patch),
        width,
        depth or default_depth,
        heads,
        pool=pool,
        gelu=gelu,
        dropout=dropout,
        drop_path=drop_path,
        remat=remat,
        dtype=dtype,
        param_dtype=param_dtype,
    )
