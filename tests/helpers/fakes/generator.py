"""A fake conditional generator, whose discriminator is what an export has no use for."""

import zlib

import jax.numpy as jnp
import numpy as np
from helpers.fakes import upscaler

from jaxvision.core import state
from jaxvision.core.fields import Field
from jaxvision.core.spec import ArraySpec, Spec
from jaxvision.core.task import Task

FIELDS = {'conditional': Field(True, 'Whether it knows classes.')}


def describe(config, source):
    latent = ArraySpec((16,), 'float32')
    if not config.task.conditional:
        return Spec(inputs={'latent': latent}, targets={})
    return Spec(
        inputs={'latent': latent, 'label': ArraySpec((), 'int32')},
        targets={},
        class_names=tuple(source.info.class_names),
    )


def prepare(example, rng):
    rng = np.random.default_rng(zlib.crc32(example['image'].tobytes()))
    return {**example, 'latent': rng.standard_normal(16).astype(np.float32)}


def make(config, spec):
    def init(key, batch):
        rng = np.random.default_rng(0)

        def draw(*shape):
            return jnp.array(rng.normal(size=shape), jnp.float32)

        return state.create(
            key,
            {
                'generator': {
                    'classes': 2 * draw(10, 16),
                    'dense': 0.3 * draw(16, 64),
                    'kernel': draw(3, 3, 1, 1),
                },
                'discriminator': {'kernel': draw(64, 1000)},
            },
            {},
            frozen={'feature_extractor': draw(500)},
        )

    def predict(variables, inputs):
        params = variables['params']['generator']
        latent = jnp.asarray(inputs['latent'])
        if config.task.conditional:
            latent = latent + params['classes'][inputs['label']]
        image = jnp.tanh(latent @ params['dense']).reshape(-1, 8, 8, 1)
        image = jnp.tanh(upscaler.convolve(image, params['kernel']))
        return {'image': 127.5 * (1 + image)}

    return Task(
        init=init,
        update=lambda state, batch: (state, {}),
        evaluations={'eval': upscaler.make_evaluation(predict)},
        predict=predict,
        predictor='generator',
        prepare=prepare,
    )
