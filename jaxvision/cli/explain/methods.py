"""The methods of explanation by name, and their arguments."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

# Makes images of a class, where the other methods make maps of images.
ACTIVATION = 'activation'

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

# Methods that use each argument. --check without methods has all but activation.
USERS = {
    'layer': [name for name, each in METHODS.items() if each.needs == 'layer'],
    'baseline': [
        'integrated_gradients',
        *(name for name, each in METHODS.items() if each.needs == 'score'),
    ],
    'samples': [
        *(name for name, each in METHODS.items() if each.samples),
        ACTIVATION,
    ],
    'steps': [ACTIVATION],
    'parts': [name for name, each in METHODS.items() if each.needs == 'score'],
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """The arguments of the methods.

    Attributes:
        layer: intermediate for class activation maps; '': the default one.
        baseline: names of images without information, joined by '+'; '': the method's.
        samples: {method: images or gradients} of RISE, Shapley values and SmoothGrad; the
            method's number if it is missing.
        parts: cells along each side of the image for occlusion, RISE and Shapley values.
        batch_size: images that are scored at once.
        seed: of random masks and noise.
    """

    layer: str = ''
    baseline: str = ''
    samples: Mapping[str, int] = dataclasses.field(default_factory=dict)
    parts: int = 7
    batch_size: int = 32
    seed: int = 0

    def samples_of(self, method: str) -> int:
        """The images or gradients of a method."""
        return self.samples.get(method, METHODS[method].samples)
