"""VGG: Simonyan and Zisserman, "Very Deep Convolutional Networks", 2014."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxvision.models.blocks import convolution, layers, pooling


class VGG(nn.Module):
    """Five blocks of 3x3 convolutions, each pooled; then two wide layers ('fc') or a mean ('pool').

    Intermediates: 'conv3_3' (the convolution's own output, before norm and ReLU), 'relu3_3',
    'pool3' and so on by block and layer, 'fc6', 'fc7' (or 'pooled'), 'logits'.
    """

    num_classes: int
    depths: tuple[int, ...]
    batch_norm: bool = False
    bias: bool = True
    head: str = 'fc'
    dropout: float = 0.5
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
        dtypes = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = layers.normalization('batch', train, **dtypes, momentum=self.momentum)
        tensors = {}
        x = image
        for block, (depth, width) in enumerate(
            zip(self.depths, (64, 128, 256, 512, 512), strict=False), 1
        ):
            for i in range(1, depth + 1):
                tensors[f'conv{block}_{i}'] = x = convolution.Conv(
                    width,
                    (3, 3),
                    use_bias=self.bias,
                    kernel_init=layers.he_normal,
                    name=f'conv{block}_{i}',
                    **dtypes,
                )(x)
                if self.batch_norm:
                    x = norm(name=f'norm{block}_{i}')(x)
                tensors[f'relu{block}_{i}'] = x = nn.relu(x)
            if (
                self.head == 'fc' or min(x.shape[1:3]) > 1
            ):  # a small picture is pooled to 1 pixel
                x = pooling.max_pool(x, (2, 2))
            tensors[f'pool{block}'] = x

        if self.head == 'fc':
            x = x.reshape(x.shape[0], -1)
            for name in ('fc6', 'fc7'):
                x = nn.Dense(
                    4096, kernel_init=nn.initializers.normal(0.01), name=name, **dtypes
                )(x)
                tensors[name] = x = nn.relu(x)
                x = layers.Dropout(self.dropout, name=f'dropout_{name}')(x, keys)
        else:
            tensors['pooled'] = x = x.mean(axis=(1, 2))
            x = layers.Dropout(self.dropout, name='dropout')(x, keys)
        tensors['logits'] = layers.head(self.num_classes, self.param_dtype)(x)
        return tensors['logits'], tensors


DEPTHS = {
    '11': (1, 1, 2, 2, 2),
    '13': (2, 2, 2, 2, 2),
    '16': (2, 2, 3, 3, 3),
    '19': (2, 2, 4, 4, 4),
}
VARIANTS = tuple(DEPTHS)


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    batch_norm: bool = False,
    bias: bool = False,
    head: str = 'fc',
    dropout: float = 0.5,
    momentum: float = 0.9,
) -> VGG:
    """Build a VGG.

    Args:
        variant: '11', '13', '16' or '19'.
        num_classes: length of the logits; 0 leaves out the head.
        dtype: of the computation.
        param_dtype: of the parameters.
        batch_norm: normalise after each convolution.
        bias: give the convolutions a bias before batch norm too, as torchvision does.
            Batch norm takes it out again.
        head: 'fc' (two layers of 4096 over the whole map: the paper's, which fixes the
            image's size) or 'pool' (global average pooling, for small images).
        dropout: rate before the head, in [0, 1).
        momentum: share of the running statistics that a training step keeps.

    Raises:
        UserError: The variant or the head is unknown.
    """
    layers.one_of('variant', variant, VARIANTS)
    layers.one_of('head', head, ('fc', 'pool'))
    return VGG(
        num_classes,
        DEPTHS[variant],
        batch_norm,
        bias or not batch_norm,
        head,
        dropout,
        momentum,
        dtype,
        param_dtype,
    )
