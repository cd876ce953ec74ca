"""A fake summary of videos: the lightest of a few frames, by their mean."""

import jax.numpy as jnp

from jaxvision.core import state
from jaxvision.core.fields import Field
from jaxvision.core.spec import ArraySpec, Spec
from jaxvision.core.task import Evaluation, Task
from jaxvision.data import video
from jaxvision.viz import figures

FIELDS = {
    'frames': Field(5, 'Frames of a clip.'),
    'size': Field(8, 'Side of a frame.'),
    'parts': Field(True, 'Whether it shows more than one picture.'),
}


def describe(config, source):
    frames = config.task.frames
    size = config.task.size
    return Spec(
        inputs={
            'video': ArraySpec((frames, size, size, 3)),
            'video_mask': ArraySpec((frames,), 'bool'),
        },
        targets={},
    )


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

    evaluation = Evaluation(
        evaluate=lambda state, batch: predict(state.variables, batch),
        summarize=lambda records: {'light': float(records['light'].mean())},
        metrics=('light',),
    )
    return Task(
        init=init,
        update=lambda state, batch: (state, {}),
        evaluations={'eval': evaluation},
        predict=predict,
        predictor='video',
        prepare=prepare,
        show=show,
    )
