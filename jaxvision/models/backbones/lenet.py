"""A small network without batch norm for small images, after LeNet-5 (LeCun et al. 1998).

Strided convolutions stand in place of pooling, and ReLU in place of tanh, as in the networks that
Wong & Kolter 2018 train against adversarial images of MNIST.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core.errors import UserError
from jaxvision.models.blocks import convolution, layers
from jaxvision.models.types import Images, Keys, Outputs


class LeNet(nn.Module):
    """4x4 convolutions with a stride of 2, then a hidden layer, each with ReLU.

    A call `(image, train, keys)` returns (logits, intermediates): 'conv1', 'conv2', ...,
    'hidden', 'logits'. Without a head the logits are the hidden features. `train` and
    `keys` change nothing.

    Attributes:
        num_classes: length of the logits, 0 for no head.
        widths: widths of the convolutions.
        hidden: width of the hidden layer.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    num_classes: int
    widths: tuple[int, ...]
    hidden: int
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Images,
        train: bool = False,
        keys: Keys = None,
    ) -> Outputs:
        del train, keys
        intermediates = {}
        x = image
        for number, width in enumerate(self.widths, start=1):
            x = convolution.Conv(
                width,
                (4, 4),
                strides=(2, 2),
                kernel_init=layers.he_normal,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=f'conv{number}',
            )(x)
            x = nn.relu(x)
            intermediates[f'conv{number}'] = x
        x = x.reshape(x.shape[0], -1)
        x = nn.Dense(
            self.hidden,
            kernel_init=layers.he_normal,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name='hidden',
        )(x)
        x = nn.relu(x)
        intermediates['hidden'] = x
        logits = layers.head(self.num_classes, self.param_dtype)(x)
        intermediates['logits'] = logits
        return logits, intermediates


# Examples. The docstring of `make` describes all variants.
VARIANTS = ('16-32-100', '32-64-256')


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
) -> LeNet:
    """Build a LeNet.

    Args:
        variant: widths of the convolutions and of the hidden layer: '16-32-100' has two
            convolutions.
        num_classes: length of the logits, 0 for no head.
        dtype: of the computation.
        param_dtype: of the parameters.

    Raises:
        UserError: The variant is not such a list.
    """
    widths = layers.widths('lenet', variant)
    if len(widths) < 2:
        raise UserError(
            f'model.variant={variant!r}: expected widths of convolutions and of a hidden '
            "layer, such as '16-32-100'."
        )
    *convolutions, hidden = widths
    return LeNet(num_classes, tuple(convolutions), hidden, dtype, param_dtype)
