"""EfficientNet: Tan and Le, "Rethinking Model Scaling for Convolutional Neural Networks", 2019; and
its Lites, which quantise better: no squeeze-and-excitation, and ReLU6 (Liu, 2020)."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.models.blocks import layers
from jaxvision.models.blocks.inverted_residual import InvertedResiduals, Stage, scaled

STAGES = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)
# variant: times as wide, times as deep, dropout; they were trained on images of SIZES pixels
SCALES = {
    'B0': (1.0, 1.0, 0.2),
    'B1': (1.0, 1.1, 0.2),
    'B2': (1.1, 1.2, 0.3),
    'B3': (1.2, 1.4, 0.3),
    'B4': (1.4, 1.8, 0.4),
    'Lite0': (1.0, 1.0, 0.2),
    'Lite1': (1.0, 1.1, 0.2),
    'Lite2': (1.1, 1.2, 0.3),
    'Lite3': (1.2, 1.4, 0.3),
    'Lite4': (1.4, 1.8, 0.3),
}
VARIANTS = tuple(SCALES)
SIZES = {
    'B0': 224,
    'B1': 240,
    'B2': 260,
    'B3': 300,
    'B4': 380,
    'Lite0': 224,
    'Lite1': 240,
    'Lite2': 260,
    'Lite3': 280,
    'Lite4': 300,
}


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    drop_path: float = 0.2,
    padding: str = 'symmetric',
    epsilon: float = 1e-5,
    momentum: float = 0.9,
) -> InvertedResiduals:
    """Build an EfficientNet.

    Args:
        variant: 'B0' to 'B4' or 'Lite0' to 'Lite4'.
        num_classes: length of the logits; 0 leaves out the head.
        dtype: of the computation.
        param_dtype: of the parameters.
        drop_path: rate of the last block; it grows linearly with depth.
        padding: 'symmetric' or 'same', see `InvertedResiduals`.
        epsilon: that of batch norm.
        momentum: share of the running statistics that a training step keeps.

    Raises:
        UserError: The variant or the padding is unknown.
    """
    layers.one_of('variant', variant, VARIANTS)
    layers.one_of('padding', padding, ('symmetric', 'same'))
    wider, deeper, dropout = SCALES[variant]
    lite = variant.startswith(
        'Lite'
    )  # whose stem and head stay, and the depth of the two ends
    stages = tuple(
        stage._replace(
            width=scaled(stage.width * wider),
            depth=stage.depth
            if lite and stage in (STAGES[0], STAGES[-1])
            else math.ceil(stage.depth * deeper),
        )
        for stage in STAGES
    )
    around = 1.0 if lite else wider
    return InvertedResiduals(
        num_classes,
        scaled(32 * around),
        stages,
        scaled(1280 * around),
        nn.relu6 if lite else nn.silu,
        0.0 if lite else 0.25,
        dropout,
        drop_path,
        padding,
        epsilon,
        momentum,
        dtype,
        param_dtype,
    )
