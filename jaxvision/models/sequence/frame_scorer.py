"""A score for every frame of a video, from what comes before it and after (DSN: Zhou et al. 2018,
arXiv 1801.00054)."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxvision.core.errors import unknown
from jaxvision.models.blocks import layers
from jaxvision.models.sequence import frames


class FrameScorer(nn.Module):
    """A bidirectional LSTM over the frames' features; `frame`, an image model, makes them of
    pixels, and without one they are given.

    Intermediates: 'features', 'states' [B, T, N] and 'logits', whose sigmoid is the score.
    """

    frame: nn.Module | None
    hidden: int
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        video: frames.Clip | Float[Array, 'b t n'],
        mask: frames.Mask,
        train: bool = False,
        keys: Key[Array, 'b'] | None = None,
    ) -> tuple[Float[Array, 'b t'], dict[str, Array]]:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        features = video
        if self.frame is not None:
            features, _ = frames.of_each(self.frame, video, train, keys)
        seen = nn.LayerNorm(name='norm', **types)(features)

        def lstm(name):
            return nn.OptimizedLSTMCell(self.hidden, name=name, **types)

        before = nn.RNN(lstm('before'))(seen)
        # What fills up a video comes after its end, and before all else if it is read backwards.
        after = nn.RNN(lstm('after'), reverse=True, keep_order=True)(
            seen, seq_lengths=mask.sum(1)
        )
        states = jnp.concatenate([before, after], -1)
        logits = layers.head(1, self.param_dtype)(states)[..., 0]
        return logits, {'features': features, 'states': states, 'logits': logits}


# Examples; the docstring of `make` says what others there are.
VARIANTS = ('', '24-48-96')


def make(
    variant: str,
    *,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    hidden: int = 64,
    backbone: str = 'strided',
    features: int = 64,
    **options,
) -> FrameScorer:
    """Build a scorer of frames.

    Args:
        variant: that of the image model which sees each frame; '' for a scorer that is
            given features.
        dtype: of the computation.
        param_dtype: of the parameters.
        hidden: units of the LSTM in each direction.
        backbone: name of the image model, one of `frames.BACKBONES`.
        features: numbers that the image model answers of each frame.
        **options: those of the image model.

    Raises:
        UserError: The backbone, its variant or an option is unknown.
    """
    if variant:
        frame = frames.backbone(
            backbone, features, variant, dtype, param_dtype, **options
        )
        return FrameScorer(frame, hidden, dtype, param_dtype)
    if options:
        raise unknown(
            "frame_scorer without a variant has no frames' model, nor its option",
            next(iter(options)),
            ['hidden'],
        )
    return FrameScorer(None, hidden, dtype, param_dtype)
