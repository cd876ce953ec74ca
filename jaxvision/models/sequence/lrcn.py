"""LRCN, a long-term recurrent convolutional network (Donahue et al. 2015, arXiv 1411.4389).

An image model computes features of every frame, and an LSTM runs over them.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.models.blocks import layers
from jaxvision.models.sequence import frames
from jaxvision.models.types import Intermediates, Keys

PREDICTIONS = ('logits', 'probabilities', 'last')


class LRCN(nn.Module):
    """An image model on every frame, an LSTM and a head.

    A call takes clips [B, T, H, W, C] and a mask [B, T], True for the valid frames,
    which must come first. It returns (logits [B, K], intermediates): 'features'
    [B, T, N], 'states' [B, T, hidden] and 'logits'. `keys` are one random key for each
    clip, in training. Without a head, the states count as the logits of a frame.

    Attributes:
        num_classes: length of the logits, 0 for no head.
        frame: an image model, `(images, train, keys) -> (features, intermediates)`.
        hidden: units of the LSTM.
        change: add to each frame its difference from the previous frame, as further channels.
        prediction: 'logits' for the mean of the frames' logits. 'probabilities' for the logarithm
            of the mean of their probabilities. 'last' for the logits of the last valid frame.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    num_classes: int
    frame: nn.Module
    hidden: int
    change: bool
    prediction: str
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
        features, _ = frames.of_each(self.frame, video, train, keys)
        # The last layer of an image model starts small: without a norm the LSTM would hardly react.
        features = nn.LayerNorm(name='norm', **types)(features)
        # Padding follows the end of a clip, so no state of a valid frame depends on it.
        cell = nn.OptimizedLSTMCell(self.hidden, name='lstm', **types)
        states = nn.RNN(cell)(features)
        head = layers.head(self.num_classes, self.param_dtype)
        if self.prediction == 'probabilities':
            logits = frames.average(head(states), mask)
        elif self.prediction == 'last':
            logits = head(frames.last(states, mask))
        else:
            # The head is linear: it maps the mean state to the mean of the frames' logits.
            logits = head(frames.mean(states, mask))
        return logits, {'features': features, 'states': states, 'logits': logits}


# Examples. The docstring of `make` describes all variants.
VARIANTS = ('24-48-96',)


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    backbone: str = 'strided',
    features: int = 64,
    hidden: int = 128,
    change: bool = True,
    prediction: str = 'logits',
    **options,
) -> LRCN:
    """Build an LRCN.

    Args:
        variant: of the image model for the frames.
        num_classes: length of the logits, 0 for no head.
        dtype: of the computation.
        param_dtype: of the parameters.
        backbone: name of the image model: 'strided', 'cnn', 'resnet', 'vgg' or 'vit'.
        features: number of features that the image model computes for each frame.
        hidden: units of the LSTM.
        change: add to each frame its difference from the previous frame, as further channels. It
            replaces the optical flow of the paper's second network.
        prediction: average the 'logits' of the frames or, as in the paper, their 'probabilities',
            or take the 'last' valid frame.
        **options: further keyword arguments of the image model's `make`.

    Raises:
        UserError: The prediction, the backbone, its variant or an option is unknown.
    """
    layers.one_of('prediction', prediction, PREDICTIONS)
    frame = frames.backbone(
        backbone,
        features,
        variant,
        dtype,
        param_dtype,
        **options,
    )
    return LRCN(
        num_classes,
        frame,
        hidden=hidden,
        change=change,
        prediction=prediction,
        dtype=dtype,
        param_dtype=param_dtype,
    )
