"""A segmentation network without weights: the colour of a pixel is its class and its centrality."""

import numpy as np

from jaxvision.cli.predict.model import Model
from jaxvision.core import config as configs
from jaxvision.core.spec import ArraySpec, Preprocessing, Spec
from jaxvision.core.task import Task
from jaxvision.tasks.segmentation import preparation

CLASSES = ('background', 'red', 'blue')


def values(pixels):
    """Probabilities [..., 3] and centrality [...] of pixels: red, blue and green of them."""
    red, green, blue = np.moveaxis(np.float32(pixels) / 255, -1, 0)
    probabilities = np.stack([1 - red - blue, red, blue], axis=-1)
    return probabilities, green


def predict(with_objects, inputs):
    probabilities, center = values(inputs['image'])
    outputs = {'probabilities': probabilities}
    if with_objects:
        outputs |= {'center': center, 'border': np.zeros_like(center)}
    return outputs


def model(size=64, with_objects=True, takes_any_size=True, contrast=False, window=()):
    """The network, for canvases of size x size pixels."""
    spec = Spec(
        inputs={'image': ArraySpec((size, size, 3))},
        targets=preparation.targets((size, size), with_objects),
        class_names=CLASSES,
        preprocessing=Preprocessing(
            size=(size, size), resize='letterbox', contrast=contrast, window=window
        ),
    )
    config = configs.default('segmentation')
    task = Task(
        init=lambda key, batch: None,
        update=lambda state, batch: None,
        evaluations={},
        predict=lambda variables, inputs: inputs,
        predictor='segmenter',
        prepare=preparation.make_prepare(config, spec),
    )
    return Model(
        name='colours',
        task=task,
        spec=spec,
        predict=lambda inputs: predict(with_objects, inputs),
        threads=2,
        takes_any_size=takes_any_size,
    )


def scene(height, width, discs):
    """Draw discs: (y, x, radius, class) each; their centres are cores of objects."""
    image = np.full((height, width, 3), 10, np.uint8)
    ys, xs = np.mgrid[:height, :width] + 0.5
    for y, x, radius, number in discs:
        distance = np.hypot(ys - y, xs - x)
        color = {1: (230, 40, 5), 2: (5, 40, 230)}[number]
        image[distance < radius] = color
        image[distance < 0.6 * radius, 1] = 220
    return image
