"""A ConvLSTM over the feature maps of a clip's frames (Shi et al. 2015, arXiv 1506.04214).

Its memory keeps the position of things in the frame.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.models.backbones import strided
from jaxvision.models.blocks import layers
from jaxvision.models.blocks.conv_lstm import ConvLSTM
from jaxvision.models.sequence import frames
from jaxvision.models.types import Intermediates, Keys


class ConvLSTMNet(nn.Module):
    """Strided convolutions on every frame, a ConvLSTM over their maps, and a head.

    A call takes clips [B, T, H, W, C] and a mask [B, T], True for the valid frames,
    which come first. It returns (logits [B, K], intermediates): 'map' and 'states'
    [B, T, h, w, N], with the last of `widths` or `hidden` as N, and 'logits'. The
    logits are the logarithm of the class probabilities averaged over the valid frames.
    `train` and `keys` change nothing. Without a head, the mean of the 'states' over
    pixels counts as the logits of a frame.

    Attributes:
        num_classes: the number of classes K, 0 for no head.
        widths: of the strided convolutions.
        shrink: factor by which a frame is first reduced, by averaging.
        patch: side of the squares of pixels that become channels of one pixel.
        hidden: channels of the ConvLSTM.
        change: add to each frame its difference from the previous frame, as further channels.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    num_classes: int
    widths: tuple[int, ...]
    shrink: int
    patch: int
    hidden: int
    change: bool
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        video: frames.Clip,
        mask: frames.Mask,
        train: bool = False,
        keys: Keys = None,
    ) -> tuple[Float[Array, 'b k'], Intermediates]:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        if self.change:
            video = frames.with_change(video)
        batch, time, *image_shape = video.shape
        stages = strided.Stages(
            self.widths,
            self.shrink,
            self.patch,
            name='frame',
            **types,
        )
        images = video.reshape(-1, *image_shape)
        x = stages(images)[-1]
        x = x.reshape(batch, time, *x.shape[1:])
        _, states = ConvLSTM(self.hidden, name='memory', **types)(x)
        head = layers.head(self.num_classes, self.param_dtype)
        frame_logits = head(states.mean((2, 3)))
        logits = frames.average(frame_logits, mask)
        return logits, {'map': x, 'states': states, 'logits': logits}


# Examples. The docstring of `make` describes all variants.
VARIANTS = ('24-48',)


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    hidden: int = 32,
    shrink: int = 1,
    patch: int = 4,
    change: bool = True,
) -> ConvLSTMNet:
    """Build a ConvLSTM over the maps of a strided network.

    Args:
        variant: widths of the strided network's stages, '24-48', without an 'x'.
        num_classes: length of the logits, 0 for no head.
        dtype: of the computation.
        param_dtype: of the parameters.
        hidden: channels of the ConvLSTM.
        shrink: factor by which a frame is first reduced, by averaging.
        patch: side of the squares of pixels that become channels of one pixel. A call
            raises a UserError if a side of the frames is no multiple of shrink * patch.
        change: add to each frame its difference from the previous frame, as further channels.

    Raises:
        UserError: The variant is not such a list.
    """
    return ConvLSTMNet(
        num_classes,
        layers.widths('conv_lstm_net', variant),
        shrink=shrink,
        patch=patch,
        hidden=hidden,
        change=change,
        dtype=dtype,
        param_dtype=param_dtype,
    )
