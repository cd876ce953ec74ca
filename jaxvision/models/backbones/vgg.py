"""VGG: Simonyan and Zisserman, "Very Deep Convolutional Networks", 2014."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.models.blocks import convolution, layers, pooling
from jaxvision.models.types import Images, Intermediates, Keys, Maps, Outputs

WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Five blocks of 3x3 convolutions with pooling, then two wide layers ('fc') or a mean ('pool').

    A call `(image, train, keys)` returns (logits, intermediates) by block and layer:
    'conv3_3' (output of the convolution, before norm and ReLU), 'relu3_3', 'pool3', and
    so on; then 'fc6', 'fc7' (or 'pooled') and 'logits'. With num_classes of 0, the
    logits are the features before the head. With head 'pool', a map of one row or
    column is not pooled any more. Dropout needs `keys`. With `train`, batch norm uses
    the batch's statistics.

    Attributes:
        num_classes: length of the logits, 0 for no head.
        depths: number of convolutions of each of the five blocks.
        batch_norm: normalise after each convolution.
        bias: add a bias to each convolution.
        head: 'fc' (two layers of 4096 on the whole map, for images of one size of at least
            32 pixels) or 'pool' (global average pooling).
        dropout: rate before the head, with 'fc' after each of the two layers.
        momentum: fraction of the running statistics that a training step keeps.
        dtype: of the computation.
        param_dtype: of the parameters.
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
        image: Images,
        train: bool = False,
        keys: Keys = None,
    ) -> Outputs:
        intermediates = {}
        x = self._convolutions(image, train, intermediates)
        if self.head == 'fc':
            x = x.reshape(x.shape[0], -1)
            for name in ('fc6', 'fc7'):
                x = nn.Dense(
                    4096,
                    kernel_init=nn.initializers.normal(0.01),
                    name=name,
                    dtype=self.dtype,
                    param_dtype=self.param_dtype,
                )(x)
                x = nn.relu(x)
                intermediates[name] = x
                x = layers.Dropout(self.dropout, name=f'dropout_{name}')(x, keys)
        else:
            x = x.mean(axis=(1, 2))
            intermediates['pooled'] = x
            x = layers.Dropout(self.dropout, name='dropout')(x, keys)
        logits = layers.head(self.num_classes, self.param_dtype)(x)
        intermediates['logits'] = logits
        return logits, intermediates

    def _convolutions(
        self,
        x: Images,
        train: bool,
        intermediates: Intermediates,
    ) -> Maps:
        """Apply the five blocks, and record their intermediates."""
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = layers.normalization('batch', train, **types, momentum=self.momentum)
        for block, depth in enumerate(self.depths, start=1):
            for i in range(1, depth + 1):
                x = convolution.Conv(
                    WIDTHS[block - 1],
                    (3, 3),
                    use_bias=self.bias,
                    kernel_init=layers.he_normal,
                    name=f'conv{block}_{i}',
                    **types,
                )(x)
                intermediates[f'conv{block}_{i}'] = x
                if self.batch_norm:
                    x = norm(name=f'norm{block}_{i}')(x)
                x = nn.relu(x)
                intermediates[f'relu{block}_{i}'] = x
            # With a mean, small images are pooled down to 1 pixel and no further.
            if self.head == 'fc' or min(x.shape[1:3]) > 1:
                x = pooling.max_pool(x, (2, 2))
            intermediates[f'pool{block}'] = x
        return x


# Number of convolutions of each block.
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
        num_classes: length of the logits, 0 for no head.
        dtype: of the computation.
        param_dtype: of the parameters.
        batch_norm: normalise after each convolution.
        bias: add a bias to convolutions before batch norm too, as torchvision does. Batch norm
            cancels it. Without batch norm, convolutions always have a bias.
        head: 'fc' (the paper's two layers of 4096 on the whole map, for images of one fixed size)
            or 'pool' (global average pooling, for small images).
        dropout: rate before the head, in [0, 1), with 'fc' after each of the two layers.
        momentum: fraction of the running statistics that a training step keeps.

    Raises:
        UserError: The variant or the head is unknown.
    """
    layers.one_of('variant', variant, VARIANTS)
    layers.one_of('head', head, ('fc', 'pool'))
    return VGG(
        num_classes,
        DEPTHS[variant],
        batch_norm=batch_norm,
        bias=bias or not batch_norm,
        head=head,
        dropout=dropout,
        momentum=momentum,
        dtype=dtype,
        param_dtype=param_dtype,
    )
