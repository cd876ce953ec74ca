"""A clip classifier without memory: an image model on every frame, averaged over the frames."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.models.sequence import frames
from jaxvision.models.types import Intermediates, Keys


class FrameAverage(nn.Module):
    """The single-frame baseline of LRCN (Donahue et al. 2015, arXiv 1411.4389, table 1).

    A call takes clips [B, T, H, W, C] and a mask [B, T], True for the valid frames. It returns
    (logits [B, K], intermediates): 'frames' (logits of each frame [B, T, K]) and 'logits'. The
    logits are the logarithm of the class probabilities averaged over the valid frames. `keys` are
    one random key for each clip, in training.

    Attributes:
        frame: an image classifier, `(images, train, keys) -> (logits, intermediates)`.
    """

    frame: nn.Module

    @nn.compact
    def __call__(
        self,
        video: frames.Clip,
        mask: frames.Mask,
        train: bool = False,
        keys: Keys = None,
    ) -> tuple[Float[Array, 'b k'], Intermediates]:
        frame_logits, _ = frames.of_each(self.frame, video, train, keys)
        logits = frames.average(frame_logits, mask)
        return logits, {'frames': frame_logits, 'logits': logits}


# Examples. The docstring of `make` describes all variants.
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
    """Build an image model whose class probabilities are averaged over the frames.

    Args:
        variant: of the image model.
        num_classes: length of the logits. With 0 the image model has no head, and its
            features count as the logits of a frame.
        dtype: of the computation.
        param_dtype: of the parameters.
        backbone: name of the image model: 'strided', 'cnn', 'resnet', 'vgg' or 'vit'.
        **options: further keyword arguments of the image model's `make`.

    Raises:
        UserError: The backbone, its variant or an option is unknown.
    """
    frame = frames.backbone(
        backbone,
        num_classes,
        variant,
        dtype,
        param_dtype,
        **options,
    )
    return FrameAverage(frame)
