"""A small convolutional network for small pictures: 3x3 convolutions, halved between stages."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxvision.core.errors import UserError
from jaxvision.models.blocks import convolution, layers, pooling


class CNN(nn.Module):
    """Stages of 3x3 convolutions, each with batch norm and ReLU; global average pooling.

    Intermediates: 'stage1', 'stage2', ... (before their pooling), 'pooled', 'logits'.
    """

    num_classes: int
    stages: tuple[tuple[int, int], ...]  # (width, convolutions)
    dropout: float = 0.0
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
        norm = layers.normalization(
            'batch', train, self.dtype, self.param_dtype, self.momentum
        )
        tensors = {}
        x = image
        for stage, (width, depth) in enumerate(self.stages, start=1):
            if stage > 1:
                if min(x.shape[1:3]) < 2:
                    raise UserError(
                        f'model.variant has {len(self.stages)} stages: too many for '
                        f'images of {image.shape[1]}x{image.shape[2]} pixels'
                    )
                x = pooling.max_pool(x, (2, 2))
            for i in range(1, depth + 1):
                x = convolution.Conv(
                    width,
                    (3, 3),
                    use_bias=False,
                    kernel_init=layers.he_normal,
                    dtype=self.dtype,
                    param_dtype=self.param_dtype,
                    name=f'stage{stage}_conv{i}',
                )(x)
                x = nn.relu(norm(name=f'stage{stage}_norm{i}')(x))
            tensors[f'stage{stage}'] = x
        tensors['pooled'] = x = x.mean(axis=(1, 2))
        x = layers.Dropout(self.dropout, name='dropout')(x, keys)
        tensors['logits'] = layers.head(self.num_classes, self.param_dtype)(x)
        return tensors['logits'], tensors


# Examples; the docstring of `make` says what others there are.
VARIANTS = ('16-32-64', '16x1-64-128')


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    dropout: float = 0.0,
    momentum: float = 0.9,
) -> CNN:
    """Build a CNN.

    Args:
        variant: the stages' widths, '16-32-64', each of two convolutions, or of as many
            as 'x' says: '16x1-64x2-128x2'.
        num_classes: length of the logits; 0 leaves out the head.
        dtype: of the computation.
        param_dtype: of the parameters.
        dropout: rate before the head, in [0, 1).
        momentum: share of the running statistics that a training step keeps.

    Raises:
        UserError: The variant is not such a list.
    """
    return CNN(
        num_classes,
        layers.stages('cnn', variant, 2),
        dropout,
        momentum,
        dtype,
        param_dtype,
    )
