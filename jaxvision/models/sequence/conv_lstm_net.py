"""A network for clips whose memory keeps places: strided convolutions of every frame, a ConvLSTM
over their maps (Shi et al. 2015, arXiv 1506.04214)."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxvision.models.backbones import strided
from jaxvision.models.blocks import layers
from jaxvision.models.blocks.conv_lstm import ConvLSTM
from jaxvision.models.sequence import frames


class ConvLSTMNet(nn.Module):
    """Intermediates: 'map' and 'states' [B, T, h, w, N], 'logits'."""

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
        keys: Key[Array, 'b'] | None = None,
    ) -> tuple[Float[Array, 'b k'], dict[str, Array]]:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        seen = frames.with_change(video) if self.change else video
        stages = strided.Stages(
            self.widths, self.shrink, self.patch, name='frame', **types
        )
        x = stages(seen.reshape(-1, *seen.shape[2:]))[-1]
        x = x.reshape(*seen.shape[:2], *x.shape[1:])
        _, states = ConvLSTM(self.hidden, name='memory', **types)(x)
        each = layers.head(self.num_classes, self.param_dtype)(states.mean((2, 3)))
        logits = frames.average(each, mask)
        return logits, {'map': x, 'states': states, 'logits': logits}


# Examples; the docstring of `make` says what others there are.
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
        variant: widths of the strided network's stages, '24-48'.
        num_classes: length of the logits; 0 leaves out the head.
        dtype: of the computation.
        param_dtype: of the parameters.
        hidden: channels of the ConvLSTM.
        shrink: see `strided.Stages`.
        patch: see `strided.Stages`.
        change: show it, beside each frame, the change since the one before.

    Raises:
        UserError: The variant is not such a list.
    """
    widths = strided.read_widths(variant)
    return ConvLSTMNet(
        num_classes,
        widths,
        shrink,
        patch,
        hidden,
        change,
        dtype,
        param_dtype,
    )
