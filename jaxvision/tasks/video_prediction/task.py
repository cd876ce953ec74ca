"""Video prediction: the frames that follow, after some frames of a clip."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.core import keys
from jaxvision.core.config import steps
from jaxvision.core.errors import UserError, unknown
from jaxvision.core.state import create
from jaxvision.core.task import Evaluation, Task
from jaxvision.data import decode, video
from jaxvision.data.protocol import Unreadable
from jaxvision.image import color
from jaxvision.metrics import restoration
from jaxvision.tasks.shared.networks import make_model
from jaxvision.train import optimizers, update
from jaxvision.viz import figures

DEFAULTS = dict(
    frames_in=10,  # that are given
    frames_out=10,  # that are foreseen
    stride=1,  # every so many frames of a film is one of them
    loss='mse',  # 'l1', 'mse' or 'l1+mse', of the pixels
    sampling=0.5,
)  # share of the training in which true frames are shown less and less; 0: never

LOSSES = {
    'l1': jnp.abs,
    'mse': jnp.square,
    'l1+mse': lambda x: jnp.abs(x) + jnp.square(x),
}


def describe(config, source) -> dict:
    """Frames of one size stay as they are; larger or unequal ones are brought to
    `data.image_size`, by their central square."""
    c, info, size = config.task, source.info, config.data.image_size
    info.check_holds('video')
    for name, least in (('frames_in', 2), ('frames_out', 1), ('stride', 1)):
        if c[name] < least:
            raise UserError(f'task.{name}={c[name]}: it is at least {least}')
    if info.frames is not None and info.frames < _span(c):
        raise UserError(
            f'{info.name} has clips of {info.frames} frames: task.frames_in, frames_out '
            f'and stride ask for {_span(c)}'
        )
    height, width, channels = info.image_shape
    as_it_is = None not in (height, width) and max(height, width) <= size
    frame = [height, width, channels] if as_it_is else [size, size, channels]
    return {
        'inputs': {'video': {'shape': [c.frames_in, *frame], 'dtype': 'uint8'}},
        'targets': {'future': {'shape': [c.frames_out, *frame], 'dtype': 'uint8'}},
        'resize': None if as_it_is else 'center_crop',
    }


def make(config, spec: dict) -> Task:
    c, dtype = config.task, jnp.dtype(config.model.param_dtype)
    _check(c)
    frames, *image_shape = spec['targets']['future']['shape']
    model = make_model(config, frames=frames, image_shape=image_shape)
    tx, lr = optimizers.make(config, spec['examples'])
    total = steps(config.train.steps, config.data.batch_size, spec['examples'])

    def init(key, batch):
        variables = model.init(
            keys.stream(key, 'init'), color.to_float(batch['video'], dtype)
        )
        averaged = ('model',) if config.optimizer.ema else ()
        return create(
            key, {'model': variables['params']}, {'model': tx}, averaged=averaged
        )

    def loss(params, state, batch, key):
        past, future = (
            color.to_float(batch[name], dtype) for name in ('video', 'future')
        )
        shown = draw_shown(
            key, batch['index'], c.frames_out, truth_share(c, state.step, total)
        )
        answer, _ = model.apply({'params': params}, past, future, shown)
        errors = LOSSES[c.loss](answer - future).mean((1, 2, 3, 4))
        return {c.loss: (errors, jnp.ones_like(errors))}, {}

    descend = update.from_loss(
        loss, tx, accumulate=config.optimizer.accumulate, ema=config.optimizer.ema
    )

    def step(state, batch):
        new, scalars = descend(state, batch)
        return new, {
            **scalars,
            'lr': lr(state.step),
            'truth_share': truth_share(c, state.step, total),
        }

    def predict(variables, inputs):
        past = color.to_float(jnp.asarray(inputs['video']), dtype)
        answer, _ = model.apply({'params': variables['params']['model']}, past)
        return {'video': 255 * jnp.clip(answer, 0, 1)}

    record = functools.partial(compare, dtype)
    evaluation = Evaluation(
        'test',
        lambda state, batch: record(predict(state.variables, batch), batch),
        summarize,
        record,
    )
    return Task(
        init,
        step,
        {'eval': evaluation},
        predict,
        '-eval/mse',
        make_prepare(config, spec),
        draw_strips,
        show,
        watch=True,
    )


def truth_share(options, step, total: int):
    """Scheduled sampling (Bengio et al. 2015, arXiv 1506.03099): how likely the true frame is shown
    in the place of the answer, falling from 1 to 0 over the first `sampling` of the training."""
    if not options.sampling:
        return jnp.zeros(())
    return jnp.clip(1 - step / (options.sampling * total), 0, 1)


def draw_shown(key, index, frames: int, share):
    """[B, T]: of each example and frame, whether the truth is shown."""

    def draw(key):
        return jax.random.bernoulli(key, share, (frames,))

    return jax.vmap(draw)(keys.per_example(keys.stream(key, 'shown'), index))


def make_prepare(config, spec: dict):
    """Host side: frames of one size, from anywhere in a clip to train on, else from its middle."""
    c, (side, _, channels) = config.task, spec['inputs']['video']['shape'][1:]
    resize = functools.partial(decode.resize_center_crop, fraction=1.0)

    def prepare(example, rng):
        total = video.count(example['video'])
        if total < _span(c):
            raise Unreadable(f'it has {total} frames, of {_span(c)} that are needed')
        rows = video.clip_rows(total, c.frames_in + c.frames_out, c.stride, rng)
        clip = video.read(
            example['video'], rows, side if spec['resize'] else None, channels, resize
        )
        return {'video': clip[: c.frames_in], 'future': clip[c.frames_in :]}

    return prepare


def _span(options) -> int:
    """How many frames of a clip an example covers."""
    return (options.frames_in + options.frames_out - 1) * options.stride + 1


def compare(dtype, outputs: dict, batch: dict) -> dict:
    """Of each clip and frame [B, T] the squared errors, each the sum over a frame's pixels in
    [0, 1]: of the answer, of the last frame seen, and of black. SSIM where its window fits."""
    past, truth = (color.to_float(batch[name], dtype) for name in ('video', 'future'))

    def squared_error(frames):
        return jnp.square(frames - truth).sum((2, 3, 4))

    answer = outputs['video'] / 255
    found = {
        'squared_error': squared_error(answer),
        'last_frame_squared_error': squared_error(past[:, -1:]),
        'blank_squared_error': squared_error(jnp.zeros_like(truth)),
        'predicted': jnp.round(outputs['video']).astype(jnp.uint8),
    }
    if min(truth.shape[2:4]) >= restoration.WINDOW:
        found['ssim'] = jax.vmap(jax.vmap(restoration.ssim))(answer, truth)
    return found


def summarize(records: dict) -> dict[str, float]:
    """mse: as it is counted of Moving MNIST, the sum over a frame's pixels in [0, 1], its mean over
    frames and clips; mse_last_frame and mse_blank: of the last frame seen, again and again, and of
    black; mse_ratio and blank_ratio: by that of the last frame; ssim."""

    def mean(name):
        return float(records[name].mean(dtype=np.float64))

    mse, last, blank = (
        mean(f'{name}squared_error') for name in ('', 'last_frame_', 'blank_')
    )
    least = max(last, 1e-10)  # of clips in which nothing moves
    return {
        'mse': mse,
        'mse_ratio': mse / least,
        'mse_last_frame': last,
        'mse_blank': blank,
        'blank_ratio': blank / least,
        **({'ssim': mean('ssim')} if 'ssim' in records else {}),
    }


def draw_strips(records: dict, example) -> dict[str, np.ndarray]:
    """Of a few clips: the frames given and, over the truth, those foreseen."""
    some = np.unique(np.linspace(0, len(records['index']) - 1, 6).astype(int))
    clips = [example(int(records['index'][i])) for i in some]
    return {'strips': _strips(clips, records['predicted'][some])}


def _strips(clips: list[dict], predicted) -> np.ndarray:
    frames = []
    for clip, answer in zip(clips, predicted):
        nothing = np.full_like(clip['video'], 255)
        frames += [*clip['video'], *answer, *nothing, *clip['future']]
    columns = len(clips[0]['video']) + len(predicted[0])
    return figures.grid(frames, columns, times=max(1, 64 // frames[0].shape[0]))


def show(inputs: dict, outputs: dict):
    """The mean squared errors, as `summarize` counts them; the strip of the film, and an animation
    of the frames given and foreseen."""
    truth, answer = inputs['future'] / 255, outputs['video'] / 255

    def per_frame(frames):
        return round(float(np.square(frames - truth).sum((1, 2, 3)).mean()), 4)

    told = {
        'mse': per_frame(answer),
        'mse_last_frame': per_frame(inputs['video'][-1:] / 255),
    }
    if 'original' not in inputs:
        return told, None
    predicted = np.round(outputs['video']).astype(np.uint8)
    film = np.concatenate([inputs['video'], predicted])
    colour = np.broadcast_to(film, (*film.shape[:3], 3))
    return told, {'': _strips([inputs], [predicted]), 'foreseen.gif': (colour, 5.0)}


def _check(options) -> None:
    if options.loss not in LOSSES:
        raise unknown('task.loss: there is no', options.loss, LOSSES)
    if not 0 <= options.sampling <= 1:
        raise UserError(
            f'task.sampling={options.sampling}: a share of the training, 0 to 1'
        )
