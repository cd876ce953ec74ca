"""A fake restoration: twice as large, then a random convolution of 3x3 pixels."""

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxvision.core import state
from jaxvision.core.task import Evaluation, Task
from jaxvision.data import decode

DEFAULTS = dict(height=16, width=12, channels=3)  # of a tile
SCALE, OVERLAP = 2, 4


def describe(config, source):
    tile = [config.task.height, config.task.width, config.task.channels]
    return {
        'inputs': {'image': {'shape': tile, 'dtype': 'uint8'}},
        'targets': {},
        'restores': {'scale': SCALE, 'overlap': OVERLAP},
    }


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
    height, width, channels = spec['inputs']['image']['shape']

    def prepare(example, rng):
        image = decode.decode(example['image'], channels)
        return {**example, 'image': decode.resize(image, height, width)}

    return prepare


def one_number(records):
    return {'mean': float(records['mean'].mean())}


def make(config, spec):
    def init(key, batch):
        kernel = jnp.array(np.random.default_rng(0).random((3, 3, 1, 1)), jnp.float32)
        return state.create(key, {'model': {'kernel': kernel / kernel.sum()}}, {})

    def predict(variables, inputs):
        image = jnp.asarray(inputs['image'], jnp.float32)
        large = image.repeat(SCALE, 1).repeat(SCALE, 2)
        return {'image': convolve(large, variables['params']['model']['kernel'])}

    def evaluate(state, batch):
        return {'mean': predict(state.variables, batch)['image'].mean((1, 2, 3))}

    return Task(
        init,
        lambda state, batch: (state, {}),
        {'eval': Evaluation('test', evaluate, one_number)},
        predict,
        prepare=make_prepare(spec),
    )
