"""LRCN, a long-term recurrent convolutional network: an image model on every frame, an LSTM over
them (Donahue et al. 2015, arXiv 1411.4389)."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxvision.models.blocks import layers
from jaxvision.models.sequence import frames

PREDICTIONS = ('logits', 'probabilities', 'last')


class LRCN(nn.Module):
    """Intermediates: 'features' and 'states' [B, T, N], 'logits'."""

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
        keys: Key[Array, 'b'] | None = None,
    ) -> tuple[Float[Array, 'b k'], dict[str, Array]]:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        seen = frames.with_change(video) if self.change else video
        features, _ = frames.of_each(self.frame, seen, train, keys)
        # Or an image model's last layer, which starts small, would tell the LSTM next to nothing.
        features = nn.LayerNorm(name='norm', **types)(features)
        # What fills up a clip comes after its end: no frame's state knows of it.
        states = nn.RNN(nn.OptimizedLSTMCell(self.hidden, name='lstm', **types))(
            features
        )
        head = layers.head(self.num_classes, self.param_dtype)
        if self.prediction == 'probabilities':
            logits = frames.average(head(states), mask)
        else:  # the head is linear: of the mean state it makes the mean of the frames' logits
            logits = head(
                (frames.last if self.prediction == 'last' else frames.mean)(
                    states, mask
                )
            )
        return logits, {'features': features, 'states': states, 'logits': logits}


# Examples; the docstring of `make` says what others there are.
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
        variant: that of the image model which sees each frame.
        num_classes: length of the logits; 0 leaves out the head.
        dtype: of the computation.
        param_dtype: of the parameters.
        backbone: name of the image model, one of `frames.BACKBONES`.
        features: numbers that the image model answers of each frame.
        hidden: units of the LSTM.
        change: show it, beside each frame, the change since the one before: for the
            optical flow that the paper's second network sees.
        prediction: average the frames' 'logits' or, as the paper does, their
            'probabilities', or take those of the 'last' frame.
        **options: those of the image model.

    Raises:
        UserError: The prediction, the backbone, its variant or an option is unknown.
    """
    layers.one_of('prediction', prediction, PREDICTIONS)
    frame = frames.backbone(backbone, features, variant, dtype, param_dtype, **options)
    return LRCN(num_classes, frame, hidden, change, prediction, dtype, param_dtype)
