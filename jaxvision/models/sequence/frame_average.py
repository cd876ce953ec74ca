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


# Examples; the docstring of `make` says what others there are.
VARIANTS = ('24-48-96',)


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    backbone: str = 'strided',
    **options,
) -> FrameAverage:
    """Build the average over frames of an image model.

    Args:
        variant: that of the image model.
        num_classes: length of the logits; 0 leaves out the head.
        dtype: of the computation.
        param_dtype: of the parameters.
        backbone: name of the image model, one of `frames.BACKBONES`.
        **options: those of the image model.

    Raises:
        UserError: The backbone, its variant or an option is unknown.
    """
    return FrameAverage(
        frames.backbone(backbone, num_classes, variant, dtype, param_dtype, **options)
    )
