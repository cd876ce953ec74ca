"""Layers that the heads of segmenters share."""

import flax.linen as nn
from jax.typing import DTypeLike

from jaxvision.models.blocks import convolution, layers
from jaxvision.models.types import FeatureMap


class ConvNorm(nn.Module):
    """A convolution, batch norm and ReLU.

    A call `(x, train)` maps [B, H, W, C] to [B, H, W, width].

    Attributes:
        width: number of output channels.
        window: side of the kernel, 1 or 3 cells.
        dilation: cells from one tap of the kernel to the next.
        momentum: fraction of the running statistics that a training step keeps.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    width: int
    window: int
    momentum: float
    dtype: DTypeLike
    param_dtype: DTypeLike
    dilation: int = 1

    @nn.compact
    def __call__(self, x: FeatureMap, train: bool) -> FeatureMap:
        """Convolve feature maps; `train` is for the statistics of the batch."""
        x = convolution.Conv(
            self.width,
            (self.window, self.window),
            padding=self.dilation * (self.window // 2),
            kernel_dilation=self.dilation,
            use_bias=False,
            kernel_init=layers.he_normal,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name='conv',
        )(x)
        norm = layers.normalization(
            'batch', train, self.dtype, self.param_dtype, self.momentum
        )
        return nn.relu(norm(name='norm')(x))
