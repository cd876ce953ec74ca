"""SN-PatchGAN: the patch discriminator of Yu et al., "Free-Form Image Inpainting with Gated
Convolution", 2019."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.models.blocks import convolution, layers


class PatchGAN(nn.Module):
    """5x5 convolutions of stride 2 and leaky ReLU, each spectrally normalised (Miyato et al. 2018),
    then one score for every place of the last map.

    The paper takes each element of the last map of features for a score; here a 1x1 convolution
    makes one score of them, so that the map of scores is [B, h, w]. What else is given beside the
    image, such as a mask, is further channels of it. With `train` the singular vectors move on, in
    'batch_stats'. Intermediates: 'stage1', 'stage2', ..., 'scores'.
    """

    widths: tuple[int, ...]
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, 'b h w c'], train: bool = False
    ) -> tuple[Float[Array, 'b h2 w2'], dict[str, Array]]:
        tensors, x = {}, image
        for stage, width in enumerate(self.widths, start=1):
            x = self._normalized_conv(width, (5, 5), 2, f'stage{stage}', self.dtype)(
                x, update_stats=train
            )
            tensors[f'stage{stage}'] = x = nn.leaky_relu(x, 0.2)
        scores = self._normalized_conv(1, (1, 1), 1, 'scores', self.param_dtype)(
            x, update_stats=train
        )
        tensors['scores'] = scores[..., 0]
        return tensors['scores'], tensors

    def _normalized_conv(self, width, kernel, stride, name, dtype):
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
    """Build a discriminator for images of any number of channels.

    Args:
        variant: the layers' widths, '32-64-128'; each layer halves the map.
        dtype: of the computation.
        param_dtype: of the parameters.

    Raises:
        UserError: The variant is not such a list.
    """
    stages = layers.stages('patchgan', variant, depth=1)
    return PatchGAN(
        tuple(width for width, n in stages for _ in range(n)), dtype, param_dtype
    )
