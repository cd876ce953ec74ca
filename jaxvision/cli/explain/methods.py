"""The methods of explanation by name."""

import dataclasses
from typing import Literal

# What a method asks of a model.
Needs = Literal['gradient', 'layer', 'attention', 'score']


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """A way to explain a score by a map of pixels.

    Attributes:
        title: for pictures.
        needs: 'gradient' of the score by pixels, gradient at a 'layer', 'attention' of a
            transformer, or the 'score' alone, as exported models have it.
        signed: whether values below 0 speak against the target.
        unit: the meaning of a value, for the colour bar.
        samples: images that are scored, or gradients that are averaged; 0: no choice.
        additive: whether the values of pixels sum to a difference of scores.
    """

    title: str
    needs: Needs
    signed: bool
    unit: str
    samples: int = 0
    additive: bool = False


METHODS = {
    'gradient': Method(
        title='gradient',
        needs='gradient',
        signed=False,
        unit='|gradient|, largest channel',
    ),
    'input_x_gradient': Method(
        title='input x gradient',
        needs='gradient',
        signed=True,
        unit='input x gradient',
        additive=True,
    ),
    'smooth_grad': Method(
        title='SmoothGrad',
        needs='gradient',
        signed=False,
        unit='|mean gradient|, largest channel',
        samples=16,
    ),
    'integrated_gradients': Method(
        title='integrated gradients',
        needs='gradient',
        signed=True,
        unit='contribution to the score',
        additive=True,
    ),
    'grad_cam': Method(
        title='Grad-CAM', needs='layer', signed=False, unit='positive evidence'
    ),
    'grad_cam_plus_plus': Method(
        title='Grad-CAM++', needs='layer', signed=False, unit='positive evidence'
    ),
    'hires_cam': Method(
        title='HiResCAM', needs='layer', signed=False, unit='positive evidence'
    ),
    'rollout': Method(
        title='attention rollout',
        needs='attention',
        signed=False,
        unit='attention weight',
    ),
    'occlusion': Method(
        title='occlusion', needs='score', signed=True, unit='loss of score if hidden'
    ),
    'rise': Method(
        title='RISE',
        needs='score',
        signed=True,
        unit='gain of score if visible',
        samples=1000,
    ),
    'shapley': Method(
        title='Shapley values',
        needs='score',
        signed=True,
        unit='contribution of a part to the score',
        samples=1000,
    ),
}
