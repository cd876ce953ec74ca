"""A fake restoration of holes: what surrounds them, blurred; elsewhere it answers wrongly."""

import jax.numpy as jnp
import numpy as np
from helpers.fakes import upscaler

from jaxvision.core import state
from jaxvision.core.spec import ArraySpec, Spec
from jaxvision.core.task import Task, Tiling

FIELDS = upscaler.FIELDS


def describe(config, source):
    image = upscaler.describe(config, source).inputs['image']
    height, width, _ = image.shape
    mask = ArraySpec((height, width, 1))
    return Spec(inputs={'image': image, 'mask': mask}, targets={})


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

    return Task(
        init=init,
        update=lambda state, batch: (state, {}),
        evaluations={'eval': upscaler.make_evaluation(predict)},
        predict=predict,
        predictor='restoration',
        tiling=Tiling(scale=1, overlap=6, blend=6),
        prepare=prepare,
    )
