"""MobileNetV2: Sandler et al., "Inverted Residuals and Linear Bottlenecks", 2018."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core.errors import UserError
from jaxvision.models.blocks import layers
from jaxvision.models.blocks.inverted_residual import InvertedResiduals, Stage, scaled

STAGES = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 3, 2, 32, 3),
    Stage(6, 3, 2, 64, 4),
    Stage(6, 3, 1, 96, 3),
    Stage(6, 3, 2, 160, 3),
    Stage(6, 3, 1, 320, 1),
)

# Examples. The docstring of `make` describes all variants.
VARIANTS = ('0.5', '1.0')


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    dropout: float = 0.2,
    padding: str = 'symmetric',
    epsilon: float = 1e-5,
    momentum: float = 0.9,
) -> InvertedResiduals:
    """Build a MobileNetV2.

    Args:
        variant: the width factor, above 0 and below 100, '1.0' for the paper's widths. The last
            convolution is never narrower than the paper's.
        num_classes: length of the logits, 0 for no head.
        dtype: of the computation.
        param_dtype: of the parameters.
        dropout: rate before the head, in [0, 1).
        padding: 'symmetric' (half a kernel on each side, as in PyTorch) or 'same' (as in
            TensorFlow).
        epsilon: added to the variance in batch norm.
        momentum: fraction of the running statistics that a training step keeps.

    Raises:
        UserError: The variant is no such number, or the padding is unknown.
    """
    layers.one_of('padding', padding, ('symmetric', 'same'))
    try:
        factor = float(variant)
    except ValueError:
        factor = 0.0
    if not 0 < factor < 100:
        raise UserError(
            f'model.variant={variant!r}: expected a width factor of mobilenet_v2 above 0 '
            "and below 100. Write it as '1.0' or '0.5'."
        )
    stages = []
    for stage in STAGES:
        width = scaled(stage.width * factor)
        stages.append(stage._replace(width=width))
    return InvertedResiduals(
        num_classes,
        stem=scaled(32 * factor),
        stages=tuple(stages),
        last=scaled(1280 * max(1.0, factor)),
        activation=nn.relu6,
        dropout=dropout,
        padding=padding,
        epsilon=epsilon,
        momentum=momentum,
        dtype=dtype,
        param_dtype=param_dtype,
    )
