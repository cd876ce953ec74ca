"""A clip by its single frames: the mean of what an image model says of each, in whatever order."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxvision.models.sequence import frames


class FrameAverage(nn.Module):
    """The baseline beside LRCN (Donahue et al. 2015, arXiv 1411.4389, table 1, 'single frame').

    Intermediates: 'frames' (logits of each) and 'logits'.
    """

    frame: nn.Module

    @nn.compact
    def __call__(
        self,
        video: frames.Clip,
        mask: frames.Mask,
        train: bool = False,
        keys: Key[Array, 'b'] | None = None,
    ) -> tuple[Float[Array, 'b k'], dict[str, Array]]:
        logits, _ = frames.of_each(self.frame, video, train, keys)
        tensors = {'frames': logits, 'logits': frames.average(logits, mask)}
        return tensors['logits'], tensors


def make(
    spec: dict,
    variant: str,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    backbone: str = 'strided',
    **options,
) -> FrameAverage:
    """An image model by the name of `backbone`, of its `variant` and `options`, on each frame."""
    return FrameAverage(
        frames.backbone(
            backbone, len(spec['class_names']), variant, dtype, param_dtype, **options
        )
    )
