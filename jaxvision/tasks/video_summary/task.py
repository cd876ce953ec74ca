"""Video summary: a score for every frame, learned from people's, or from what a good summary is."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.core import keys
from jaxvision.core.errors import UserError, unknown
from jaxvision.core.state import create
from jaxvision.core.task import Evaluation, RequiredNetwork, Task
from jaxvision.data import decode, video
from jaxvision.data.montages import Montages
from jaxvision.data.wrappers import Converted, in_memory_if_small
from jaxvision.image import color, descriptors
from jaxvision.tasks.shared import feature_extractor, image_input
from jaxvision.tasks.shared.networks import make_model
from jaxvision.tasks.video_summary import losses, metrics, selection, similarity
from jaxvision.train import optimizers, update
from jaxvision.viz import figures

DEFAULTS = dict(
    supervised=True,  # towards the frames' importance; False: what arXiv 1801.00054 rewards
    regress='rank',  # of a frame's importance in its video, or the importance itself, 'value'
    sees='frames',  # what the model is given: 'frames', or their 'similarity' to each other
    frames=120,  # of a video that are scored, at most: evenly spaced
    rate=2.0,  # of them a second of a film, or 20 of a shorter one
    features='layout',  # that rewards and shots compare frames by; or the RUN of a classifier,
    layer='pooled',  # and which of its intermediates
    montages=0,  # trained on, put together of the films; 0: the films as they are
    episodes=30,
)  # summaries that are drawn of a video in a step

_FEWEST = 20  # frames of a film: of fewer, a summary has less than three
_MOST_KEY_FRAMES = 24  # in a storyboard


def source(config, source, split: str):
    """Films are read once, and montages put together once: they stay in memory if there is room."""
    options = config.task
    shape = _shape(config, source.info)
    video_bytes = math.prod(shape)
    sampled = Converted(source, make_sample(options, shape))
    videos = in_memory_if_small(sampled, video_bytes)
    if options.montages > 0 and split == 'train':
        return in_memory_if_small(Montages(videos, options.montages), video_bytes)
    return videos


def requires(config) -> dict:
    c = config.task
    if c.features == 'layout':
        return {}
    return {'judge': RequiredNetwork(run=c.features)}


def describe(config, source) -> dict:
    """Shapes, and the training frames' mean and deviation."""
    _check(config.task)
    info = source.info
    info.check_holds('video', *(['importance'] if config.task.supervised else []))
    shape = _shape(config, info)

    def of_frames(dtype):
        return {'shape': shape[:1], 'dtype': dtype}

    spec = {
        'inputs': {
            'video': {'shape': shape, 'dtype': 'uint8'},
            'video_mask': of_frames('uint8'),
        },
        'targets': {'importance': of_frames('float32')}
        if 'importance' in info.holds
        else {},
    }

    def own(batch):
        return batch['video'][(batch['video_mask'] > 0) & batch['present'][:, None]]

    return {**spec, **image_input.statistics(config, source, None, own, most=64)}


def _shape(config, info) -> list[int]:
    size, (height, width, channels) = config.data.image_size, info.image_shape
    as_it_is = None not in (height, width) and max(height, width) <= size
    return [
        config.task.frames,
        *((height, width) if as_it_is else (size, size)),
        channels,
    ]


def make(config, spec: dict) -> Task:
    c, dtype = config.task, jnp.dtype(config.model.param_dtype)
    model = make_model(config)
    fixed_features = make_features(config, spec)
    tx, lr = optimizers.make(config, spec['examples'])

    def see(frozen, inputs):
        """(what the model is given, which frames are the video's own, their fixed features)"""
        pixels = color.to_float(jnp.asarray(inputs['video']), dtype)
        own = jnp.asarray(inputs['video_mask'], dtype) > 0  # TFLite compares no uint8
        fixed = fixed_features(frozen, pixels) * own[..., None].astype(dtype)
        if c.sees == 'similarity':
            return jax.vmap(similarity.similarity)(fixed, own), own, fixed
        return color.normalize(pixels, spec['mean'], spec['deviation']), own, fixed

    def init(key, batch):
        shape = batch['video'].shape
        given = shape if c.sees == 'frames' else (*shape[:2], similarity.WIDTH)
        variables = model.init(
            keys.stream(key, 'init'), jnp.zeros(given, dtype), jnp.ones(shape[:2], bool)
        )
        params = {'model': variables.pop('params')}
        averaged = ('model',) if config.optimizer.ema else ()
        return create(key, params, {'model': tx}, {'model': variables}, averaged)

    def loss(params, state, batch, key):
        given, own, fixed = see(state.frozen, batch)
        (logits, _), model_state = model.apply(
            {'params': params, **state.model_state['model']},
            given,
            own,
            train=True,
            mutable=list(state.model_state['model']),
            keys=keys.per_example(keys.stream(key, 'model'), batch['index']),
        )
        aux = {'model_state': {'model': model_state}}
        if c.supervised:
            return {'mse': regression(c, logits, batch['importance'], own)}, aux
        drawn = keys.per_example(keys.stream(key, 'episodes'), batch['index'])
        policy, reward = jax.vmap(
            functools.partial(losses.reinforce, episodes=c.episodes)
        )(drawn, losses.bounded(logits), fixed, own)
        ones = jnp.ones_like(reward)
        return {'policy': (policy, ones)}, {
            **aux,
            'scalars': {'reward': (reward, ones)},
        }

    descend = update.from_loss(
        loss, tx, accumulate=config.optimizer.accumulate, ema=config.optimizer.ema
    )

    def step(state, batch):
        new, scalars = descend(state, batch)
        return new, {**scalars, 'lr': lr(state.step)}

    def predict(variables, inputs):
        given, own, fixed = see(variables['frozen'], inputs)
        logits, _ = model.apply(
            {
                'params': variables['params']['model'],
                **variables['model_state']['model'],
            },
            given,
            own,
        )
        logits = logits if c.supervised else losses.bounded(logits)
        return {'scores': jax.nn.sigmoid(logits) * own.astype(dtype), 'features': fixed}

    def record(outputs, batch):
        known = {
            name: batch[name] for name in ('video_mask', 'importance') if name in batch
        }
        return {'scores': outputs['scores'], 'features': outputs['features'], **known}

    evaluation = Evaluation(
        'test',
        lambda state, batch: record(predict(state.variables, batch), batch),
        metrics.summarize,
        record,
    )
    return Task(
        init,
        step,
        {'eval': evaluation},
        predict,
        'eval/tau_b' if c.supervised else 'eval/reward',
        make_prepare(c, spec),
        draw_scores,
        show,
    )


def regression(options, logits, importance, own):
    """(squared errors, frames) of each video [B]."""
    wanted = (
        jax.vmap(losses.ranks)(importance, own)
        if options.regress == 'rank'
        else importance
    )
    errors = jnp.where(own, jnp.square(jax.nn.sigmoid(logits) - wanted), 0)
    return errors.sum(1), own.sum(1, dtype=errors.dtype)


def make_features(config, spec: dict):
    """(frozen, frames [B, T, H, W, C] in [0, 1]) -> [B, T, D] of length 1 at most: features that no
    training changes."""
    c, dtype = config.task, jnp.dtype(config.model.param_dtype)
    if c.features == 'layout':
        return lambda frozen, frames: jax.vmap(jax.vmap(descriptors.layout))(frames)
    see = feature_extractor.perceive(spec['requires']['judge'], c.layer, dtype)

    def seen(frozen, frames):
        found = see(frozen['judge'], frames.reshape(-1, *frames.shape[2:]))[c.layer]
        found = found.mean(range(1, found.ndim - 1)).reshape(*frames.shape[:2], -1)
        return found / jnp.maximum(
            jnp.sqrt(jnp.square(found).sum(-1, keepdims=True)), 1e-6
        )

    return seen


def make_sample(options, shape: list[int]):
    """Host side: frames that stand for a whole video."""
    most, height, width, channels = shape

    def fitting(frame, size, channels):
        pixels = decode.decode(frame, channels)
        same = pixels.shape[:2] == (height, width)
        return pixels if same else decode.resize(pixels, height, width)

    def sample(example):
        """With 'spans' [T, 2]: from when until when, in seconds, a frame stands for the video."""
        clip, is_film = example['video'], isinstance(example['video'], video.File)
        total, rate = video.count(clip), video.rate(clip) if is_film else 25.0
        wanted = max(round(total / rate * options.rate), _FEWEST) if is_film else total
        wanted = min(wanted, total, most)
        edges = np.arange(wanted + 1) * total / wanted
        rows = ((edges[:-1] + edges[1:]) / 2).astype(int)
        frames, own = video.padded(
            video.read(clip, rows, height, channels, fitting), most
        )
        found = {'spans': np.stack([edges[:-1], edges[1:]], 1) / rate}
        if 'importance' in example:
            found['importance'] = example['importance'][rows]
        filled = {
            name: np.concatenate(
                [values, np.zeros((most - wanted, *values.shape[1:]))]
            ).astype(np.float32)
            for name, values in found.items()
        }
        return {'video': frames, 'video_mask': own.astype(np.uint8), **filled}

    return sample


def make_prepare(options, spec: dict):
    sample = make_sample(options, spec['inputs']['video']['shape'])

    def prepare(example, rng):
        return example if 'video_mask' in example else sample(example)

    return prepare


def show(inputs: dict, outputs: dict):
    """What is kept of a film; and of 'original', its path, a storyboard, the key frames, the scores
    and the short film."""
    own = inputs['video_mask'] > 0
    scores, spans = (
        x[own].astype(np.float64) for x in (outputs['scores'], inputs['spans'])
    )
    boundaries, selected = selection.shorten(scores, outputs['features'][own])
    found = selection.key_frames(scores, boundaries, selected)
    # Of many the best, in order of time.
    found = np.sort(found[np.argsort(-scores[found], kind='stable')[:_MOST_KEY_FRAMES]])
    middles = spans[found].mean(1)
    times = [_clock(seconds) for seconds in middles]
    kept = [
        [float(spans[first, 0]), float(spans[end - 1, 1])]
        for first, end in selection.stretches(selected)
    ]
    answer = {
        'seconds': float(spans[-1, 1]),
        'seconds_kept': sum(end - start for start, end in kept),
        'key_frames': times,
        'kept': kept,
        'scores': scores.round(6).tolist(),
    }
    if 'original' not in inputs:
        return answer, None
    film, rate = inputs['original'], video.rate(inputs['original'])
    pictures = list(video.read(film, (middles * rate).astype(int)))

    def in_film(seconds):
        return int(round(seconds * rate))

    short = [
        frame for start, end in kept for frame in range(in_film(start), in_film(end))
    ]
    return answer, {
        '': figures.gallery(pictures, times),
        'scores.png': figures.scores(spans.mean(1), scores, selected),
        **{
            f'key-{time.replace(":", ".")}.png': picture
            for time, picture in zip(times, pictures)
        },
        'summary.mp4': (video.stream(film, short), rate),
    }


def draw_scores(records: dict, example) -> dict[str, np.ndarray]:
    """Of a few videos: the scores, what is kept, and the importance if it is known."""
    pictures = []
    for i in np.unique(np.linspace(0, len(records['index']) - 1, 4).astype(int)):
        own = records['video_mask'][i] > 0
        scores = records['scores'][i][own].astype(np.float64)
        _, selected = selection.shorten(scores, records['features'][i][own])
        known = [records['importance'][i][own]] if 'importance' in records else []
        pictures.append(
            figures.scores(np.arange(len(scores)), scores, selected, *known)
        )
    return {'scores': np.concatenate(pictures)}


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds, 1), 60)
    return f'{minutes:.0f}:{seconds:04.1f}'


def _check(options) -> None:
    for name, known in (
        ('sees', ('frames', 'similarity')),
        ('regress', ('rank', 'value')),
    ):
        if options[name] not in known:
            raise unknown(f'task.{name}: there is no', options[name], known)
    for name in ('frames', 'rate'):
        if options[name] <= 0:
            raise UserError(f'task.{name}={options[name]}: it is above 0')
    for name, least in (('montages', 0), ('episodes', 2)):
        if options[name] < least:
            raise UserError(f'task.{name}={options[name]}: it is at least {least}')
    if options.supervised and options.montages:
        raise UserError(
            'task.montages: importance is of whole videos; with task.supervised=False'
        )
