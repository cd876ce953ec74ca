"""A small convolutional network for small images: 3x3 convolutions, with pooling between stages."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core.errors import UserError
from jaxvision.models.blocks import convolution, layers, pooling
from jaxvision.models.types import Images, Keys, Outputs


class CNN(nn.Module):
    """Stages of 3x3 convolutions with batch norm and ReLU, then global average pooling.

    A call `(image, train, keys)` returns (logits, intermediates): 'stage1', 'stage2',
    ... (before their pooling), 'pooled', 'logits'. Without a head, the logits are the
    pooled features after dropout, which needs `keys`. Each stage after the first halves
    the image, rounded down. Images too small for this raise a UserError.

    Attributes:
        num_classes: length of the logits, 0 for no head.
        stages: (width, number of convolutions) of each stage.
        dropout: rate before the head.
        momentum: fraction of the running statistics that a training step keeps.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    num_classes: int
    stages: tuple[tuple[int, int], ...]
    dropout: float = 0.0
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
        norm = layers.normalization(
            'batch',
            train,
            self.dtype,
            self.param_dtype,
            self.momentum,
        )
        intermediates = {}
        _, height, width, _ = image.shape
        x = image
        for stage, (features, depth) in enumerate(self.stages, start=1):
            if stage > 1:
                if min(x.shape[1:3]) < 2:
                    raise UserError(
                        f'model.variant with {len(self.stages)} stages: expected fewer '
                        f'for images of {height}x{width} pixels, as each stage after '
                        'the first halves them. Remove stages.'
                    )
                x = pooling.max_pool(x, (2, 2))
            for i in range(1, depth + 1):
                x = convolution.Conv(
                    features,
                    (3, 3),
                    use_bias=False,
                    kernel_init=layers.he_normal,
                    dtype=self.dtype,
                    param_dtype=self.param_dtype,
                    name=f'stage{stage}_conv{i}',
                )(x)
                x = nn.relu(norm(name=f'stage{stage}_norm{i}')(x))
            intermediates[f'stage{stage}'] = x
        x = x.mean(axis=(1, 2))
        intermediates['pooled'] = x
        x = layers.Dropout(self.dropout, name='dropout')(x, keys)
        logits = layers.head(self.num_classes, self.param_dtype)(x)
        intermediates['logits'] = logits
        return logits, intermediates


# Examples. The docstring of `make` describes all variants.
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
        variant: widths of the stages, '16-32-64'. A stage has two convolutions, or the number after
            an 'x': '16x1-64x2-128x2'.
        num_classes: length of the logits, 0 for no head.
        dtype: of the computation.
        param_dtype: of the parameters.
        dropout: rate before the head, in [0, 1).
        momentum: fraction of the running statistics that a training step keeps.

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
