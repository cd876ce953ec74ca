"""A fake summary of films: the lightest of a few frames, by their mean."""

import jax.numpy as jnp

from jaxvision.core import state
from jaxvision.core.task import Evaluation, Task
from jaxvision.data import video
from jaxvision.viz import figures

DEFAULTS = dict(frames=5, size=8, parts=True)


def describe(config, source):
    frames, size = config.task.frames, config.task.size
    return {
        'inputs': {
            'video': {'shape': [frames, size, size, 3], 'dtype': 'uint8'},
            'video_mask': {'shape': [frames], 'dtype': 'bool'},
        },
        'targets': {},
    }


def make(config, spec):
    def init(key, batch):
        return state.create(key, {'model': {'weights': jnp.ones(3) / 3}}, {})

    def prepare(example, rng):
        clip, own = video.clip(
            example['video'], config.task.frames, 1, config.task.size, 3, rng
        )
        return {'video': clip, 'video_mask': own}

    def predict(variables, inputs):
        means = jnp.asarray(inputs['video'], jnp.float32).mean((2, 3))
        return {
            'light': means
            @ variables['params']['model']['weights']
            * inputs['video_mask']
        }

    def show(inputs, outputs):
        best = int(outputs['light'].argmax())
        answer = {'lightest': best, 'light': float(outputs['light'][best])}
        if 'original' not in inputs:
            return answer, None
        film = inputs['original']
        strip = figures.grid(list(inputs['video']), columns=len(inputs['video']))
        if not config.task.parts:
            return answer, strip
        return answer, {
            '': strip,
            f'frame-{best}.png': video.read(film, [best])[0],
            'short.mp4': (video.stream(film, range(best + 1)), video.rate(film)),
            'clip.gif': (inputs['video'], 5.0),
        }

    return Task(
        init,
        lambda state, batch: (state, {}),
        {
            'eval': Evaluation(
                'test',
                lambda state, batch: predict(state.variables, batch),
                lambda records: {'light': float(records['light'].mean())},
            )
        },
        predict,
        prepare=prepare,
        show=show,
    )
