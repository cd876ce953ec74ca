"""A fake restoration: twice as large, then a random convolution of 3x3 pixels."""

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxvision.core import state
from jaxvision.core.fields import Field
from jaxvision.core.spec import ArraySpec, Spec
from jaxvision.core.task import Evaluation, Task, Tiling
from jaxvision.data import decode, resizing

FIELDS = {
    'height': Field(16, 'Height of a tile.'),
    'width': Field(12, 'Width of a tile.'),
    'channels': Field(3, 'Channels of a tile.'),
}
TILING = Tiling(scale=2, overlap=4)


def describe(config, source):
    tile = (config.task.height, config.task.width, config.task.channels)
    return Spec(inputs={'image': ArraySpec(tile)}, targets={})


def convolve(image, kernel):
    """Each channel by itself, zeros around."""
    return lax.conv_general_dilated(
        image,
        kernel * jnp.eye(image.shape[-1]),
        (1, 1),
        'SAME',
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )


def make_prepare(spec):
    height, width, channels = spec.inputs['image'].shape

    def prepare(example, rng):
        image = decode.decode(example['image'], channels)
        return {**example, 'image': resizing.resize(image, height, width)}

    return prepare


def make_evaluation(predict):
    """The mean of the images that `predict` answers."""

    def evaluate(state, batch):
        return {'mean': predict(state.variables, batch)['image'].mean((1, 2, 3))}

    def summarize(records):
        return {'mean': float(records['mean'].mean())}

    return Evaluation(evaluate=evaluate, summarize=summarize, metrics=('mean',))


def make(config, spec):
    def init(key, batch):
        kernel = jnp.array(np.random.default_rng(0).random((3, 3, 1, 1)), jnp.float32)
        return state.create(key, {'model': {'kernel': kernel / kernel.sum()}}, {})

    def predict(variables, inputs):
        image = jnp.asarray(inputs['image'], jnp.float32)
        large = image.repeat(TILING.scale, 1).repeat(TILING.scale, 2)
        return {'image': convolve(large, variables['params']['model']['kernel'])}

    return Task(
        init=init,
        update=lambda state, batch: (state, {}),
        evaluations={'eval': make_evaluation(predict)},
        predict=predict,
        predictor='restoration',
        tiling=TILING,
        prepare=make_prepare(spec),
    )
