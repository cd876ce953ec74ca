"""A score for every frame of a video, from all its frames.

DSN: Zhou et al. 2018 (arXiv 1801.00054).
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.core.errors import unknown
from jaxvision.models.blocks import layers
from jaxvision.models.sequence import frames
from jaxvision.models.types import Intermediates, Keys


class FrameScorer(nn.Module):
    """A bidirectional LSTM over the features of the frames.

    A call takes videos [B, T, H, W, C], or features [B, T, N] without `frame`, and a mask [B, T],
    True for the valid frames, which must come first. It returns (logits [B, T], intermediates):
    'features' [B, T, N], 'states' [B, T, 2 * hidden] and 'logits'. The sigmoid of a
    logit is the score of a frame. Logits of padding have no meaning.

    Attributes:
        frame: an image model that computes features, or None for inputs that are features.
        hidden: units of the LSTM in each direction.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    frame: nn.Module | None
    hidden: int
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        video: frames.Clip | frames.PerFrame,
        mask: frames.Mask,
        train: bool = False,
        keys: Keys = None,
    ) -> tuple[Float[Array, 'b t'], Intermediates]:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        features = video
        if self.frame is not None:
            features, _ = frames.of_each(self.frame, video, train, keys)
        normalized = nn.LayerNorm(name='norm', **types)(features)

        def lstm(name):
            return nn.OptimizedLSTMCell(self.hidden, name=name, **types)

        forwards = nn.RNN(lstm('before'))
        before = forwards(normalized)
        # The lengths make the backward LSTM skip the padding, which would otherwise come first.
        backwards = nn.RNN(lstm('after'), reverse=True, keep_order=True)
        after = backwards(normalized, seq_lengths=mask.sum(1))
        states = jnp.concatenate([before, after], -1)
        logits = layers.head(1, self.param_dtype)(states)
        logits = logits[..., 0]
        return logits, {'features': features, 'states': states, 'logits': logits}


# Examples. The docstring of `make` describes all variants.
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
    """Build a frame scorer.

    Args:
        variant: of the image model for the frames, or '' for inputs that are features.
        dtype: of the computation.
        param_dtype: of the parameters.
        hidden: units of the LSTM in each direction.
        backbone: name of the image model: 'strided', 'cnn', 'resnet', 'vgg' or 'vit'. It is
            ignored for the variant ''.
        features: number of features that the image model computes for each frame. It is ignored
            for the variant ''.
        **options: further keyword arguments of the image model's `make`, none for the variant ''.

    Raises:
        UserError: The backbone, its variant or an option is unknown, or there are options for the
            variant ''.
    """
    if variant:
        frame = frames.backbone(
            backbone,
            features,
            variant,
            dtype,
            param_dtype,
            **options,
        )
        return FrameScorer(frame, hidden, dtype, param_dtype)
    if options:
        raise unknown(
            'frame_scorer without model.variant has no image model, and no option',
            next(iter(options)),
            ['hidden'],
        )
    return FrameScorer(None, hidden, dtype, param_dtype)
