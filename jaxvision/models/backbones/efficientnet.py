"""EfficientNet: Tan and Le, "Rethinking Model Scaling for Convolutional Neural Networks", 2019.

The Lite variants quantise better: they have ReLU6 and no squeeze-and-excitation (Liu 2020).
"""

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
# (width factor, depth factor, dropout) of each variant.
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
# Image sizes in pixels on which the authors trained the variants.
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
        variant: 'B0' to 'B4' or 'Lite0' to 'Lite4'. It also fixes the rate of dropout
            before the head.
        num_classes: length of the logits, 0 for no head.
        dtype: of the computation.
        param_dtype: of the parameters.
        drop_path: i * drop_path / N is the rate of block i = 0, ..., N - 1 of N blocks.
        padding: 'symmetric' (half a kernel on each side, as in PyTorch) or 'same' (as in
            TensorFlow).
        epsilon: added to the variance in batch norm.
        momentum: fraction of the running statistics that a training step keeps.

    Raises:
        UserError: The variant or the padding is unknown.
    """
    layers.one_of('variant', variant, VARIANTS)
    layers.one_of('padding', padding, ('symmetric', 'same'))
    width_factor, depth_factor, dropout = SCALES[variant]
    end_factor = width_factor
    activation = nn.silu
    squeeze = 0.25
    fixed_depth = ()
    if variant.startswith('Lite'):
        # The widths of stem and last layer, and the depths of the first and last stage, stay.
        end_factor = 1.0
        activation = nn.relu6
        squeeze = 0.0
        fixed_depth = (STAGES[0], STAGES[-1])
    stages = []
    for stage in STAGES:
        depth = stage.depth
        if stage not in fixed_depth:
            depth = math.ceil(depth * depth_factor)
        width = scaled(stage.width * width_factor)
        stages.append(stage._replace(width=width, depth=depth))
    return InvertedResiduals(
        num_classes,
        stem=scaled(32 * end_factor),
        stages=tuple(stages),
        last=scaled(1280 * end_factor),
        activation=activation,
        squeeze=squeeze,
        dropout=dropout,
        drop_path=drop_path,
        padding=padding,
        epsilon=epsilon,
        momentum=momentum,
        dtype=dtype,
        param_dtype=param_dtype,
    )
