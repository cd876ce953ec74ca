"""Images and logits of segmenters, brought to other sizes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.image.types import Size
from jaxvision.models.types import Images

Logits = Float[Array, 'b h w k']
Resized = Float[Array, 'b h2 w2 k']
Padded = Float[Array, 'b h2 w2 c']


def resized(logits: Logits, size: Size) -> Resized:
    """Resize logits bilinearly to the size of an image.

    The centres of pixels are at half integers (`align_corners=False` of PyTorch), and a
    reduction takes no means over pixels (no antialiasing).

    Args:
        logits: [B, h, w, K].
        size: (height, width) of the result, pixels.

    Returns:
        [B, height, width, K] in the dtype of the logits.
    """
    if logits.shape[1:3] == tuple(size):
        return logits
    shape = (logits.shape[0], *size, logits.shape[3])
    return jax.image.resize(logits, shape, 'bilinear', antialias=False)


def padded(image: Images, multiple: int) -> Padded:
    """Repeat the last row and column until height and width are multiples of a number.

    Args:
        image: [B, H, W, C].
        multiple: of pixels.

    Returns:
        [B, H2, W2, C] with the image at the top left; the image itself if it fits.
    """
    _, height, width, _ = image.shape
    below = -height % multiple
    right = -width % multiple
    if not below and not right:
        return image
    return jnp.pad(image, ((0, 0), (0, below), (0, right), (0, 0)), mode='edge')


def head(num_classes: int, param_dtype: DTypeLike, name: str = 'head') -> nn.Dense:
    """Build the last layer of a segmenter, which computes in the dtype of its parameters.

    Its weights start as large as those of other layers. With the small weights of a
    classifier's head (`layers.head`), a network learns the most common class first, and
    rare classes much later.

    Args:
        num_classes: number of logits of a pixel.
        param_dtype: of the parameters and of the computation.
        name: of the module.
    """
    return nn.Dense(num_classes, dtype=param_dtype, param_dtype=param_dtype, name=name)
