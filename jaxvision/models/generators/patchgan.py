"""SN-PatchGAN, the patch discriminator of Yu et al. 2019.

Paper: "Free-Form Image Inpainting with Gated Convolution".
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.models.blocks import convolution, layers
from jaxvision.models.types import Images, Intermediates


class PatchGAN(nn.Module):
    """5x5 convolutions of stride 2 with leaky ReLU, then one score for each pixel of the last map.

    All convolutions have spectral normalisation (Miyato et al. 2018). With `train`, one power
    iteration updates their singular vectors in 'batch_stats'.

    The paper takes each element of the last feature map as a score. Here a 1x1 convolution maps the
    features of a pixel to one score. A call returns (scores [B, h, w], intermediates): 'stage1',
    'stage2', ..., 'scores'. A higher score means more real. Further inputs, such as a mask, are
    additional channels of the image.

    Attributes:
        widths: of the convolutions. Each halves height and width, rounded up.
        dtype: of the computation, except of the scores.
        param_dtype: of the parameters and of the scores.
    """

    widths: tuple[int, ...]
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Images,
        train: bool = False,
    ) -> tuple[Float[Array, 'b h2 w2'], Intermediates]:
        intermediates = {}
        x = image
        for stage, width in enumerate(self.widths, start=1):
            conv = self._normalized_conv(
                width,
                (5, 5),
                2,
                f'stage{stage}',
                self.dtype,
            )
            x = conv(x, update_stats=train)
            x = nn.leaky_relu(x, 0.2)
            intermediates[f'stage{stage}'] = x
        conv = self._normalized_conv(1, (1, 1), 1, 'scores', self.param_dtype)
        scores = conv(x, update_stats=train)
        scores = scores[..., 0]
        intermediates['scores'] = scores
        return scores, intermediates

    def _normalized_conv(
        self,
        width: int,
        kernel: tuple[int, int],
        stride: int,
        name: str,
        dtype: DTypeLike,
    ) -> nn.Module:
        """Build a convolution with spectral normalisation."""
        conv = convolution.Conv(
            width,
            kernel,
            stride,
            kernel_init=layers.he_normal,
            dtype=dtype,
            param_dtype=self.param_dtype,
            name=f'{name}_conv',
        )
        return nn.SpectralNorm(
            conv,
            dtype=self.param_dtype,
            param_dtype=self.param_dtype,
            name=f'{name}_norm',
        )


def make(
    variant: str,
    *,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
) -> PatchGAN:
    """Build a patch discriminator for images of any number of channels.

    Args:
        variant: widths of the layers, '32-64-128', or '32x2-64' for two layers of width 32. Each
            layer halves the map.
        dtype: of the computation.
        param_dtype: of the parameters.

    Raises:
        UserError: The variant is not such a list. The message names `task.discriminator`,
            the field of tasks that use this discriminator.
    """
    widths = []
    stages = layers.stages('patchgan', variant, 1, 'task.discriminator')
    for width, number in stages:
        widths += [width] * number
    return PatchGAN(tuple(widths), dtype, param_dtype)
