"""A fake restoration of holes: what surrounds them, blurred; elsewhere it answers wrongly."""

import jax.numpy as jnp
import numpy as np
from helpers.fakes import upscaler

from jaxvision.core import state
from jaxvision.core.task import Evaluation, Task

DEFAULTS = upscaler.DEFAULTS


def describe(config, source):
    image = upscaler.describe(config, source)['inputs']['image']
    return {
        'inputs': {
            'image': image,
            'mask': {**image, 'shape': [*image['shape'][:2], 1]},
        },
        'targets': {},
        'restores': {'scale': 1, 'overlap': 6, 'blend': 6},
    }


def make(config, spec):
    resized = upscaler.make_prepare(spec)

    def init(key, batch):
        return state.create(key, {'model': {'kernel': jnp.ones((5, 5, 1, 1)) / 25}}, {})

    def prepare(example, rng):
        example = resized(example, rng)
        mask = np.zeros((*example['image'].shape[:2], 1), np.uint8)
        mask[4:9, 3:7] = 255
        return {**example, 'mask': mask}

    def predict(variables, inputs):
        kernel = variables['params']['model']['kernel']
        hole = jnp.asarray(inputs['mask'], jnp.float32) / 255
        image = jnp.asarray(inputs['image'], jnp.float32)
        mean = upscaler.convolve(image * (1 - hole), kernel) / jnp.maximum(
            upscaler.convolve(1 - hole, kernel), 1e-3
        )
        return {'image': hole * mean + (1 - hole) * (255 - image)}

    def evaluate(state, batch):
        return {'mean': predict(state.variables, batch)['image'].mean((1, 2, 3))}

    return Task(
        init,
        lambda state, batch: (state, {}),
        {'eval': Evaluation('test', evaluate, upscaler.one_number)},
        predict,
        prepare=prepare,
    )
