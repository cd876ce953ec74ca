"""Video summary: a score for every frame, learned from people's, or from what a good summary is."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision import keys
from jaxvision.data import decode, video
from jaxvision.data.views import Converted, InMemory
from jaxvision.errors import UserError, unknown
from jaxvision.image import color, describe as descriptions
from jaxvision.metrics import summary as metrics
from jaxvision.task import Evaluation, Task
from jaxvision.tasks import classification, features
from jaxvision.train import optimizers, update
from jaxvision.train.state import create

DEFAULTS = dict(
    supervised=True,   # towards the frames' importance; False: the rewards of arXiv 1801.00054
    sees='frames',     # what the model is given: 'frames', or their fixed 'features'
    frames=120,        # of a video that are scored, at most: evenly spaced
    rate=2.0,          # of a film, frames a second, if that are not more
    features='layout',  # of a frame, that rewards compare and shots are told by; or a classifier's
    layer='pooled',     # RUN, and which of its intermediates
    episodes=5,        # summaries that are drawn of a video in a step
    expected_share=0.5,  # of the frames in them, towards which the scores are held
    regularize=0.01,   # by the square of what they differ from it, times this
    target='value')

_LARGEST_IN_MEMORY = 2**30  # bytes of sampled frames


def source(config, source, split: str):
    """Films are decoded once; what is sampled of them stays in memory if it has room there."""
    shape = _shape(config, source.info)
    sampled = Converted(source, make_sample(config, shape))
    return InMemory(sampled) if len(source) * np.prod(shape) <= _LARGEST_IN_MEMORY else sampled


def requires(config) -> dict:
    c = config.task
    return {} if c.features == 'layout' else {'judge': c.features}


def describe(config, source) -> dict:
    """Shapes, and the training frames' mean and deviation."""
    _check(config)
    info, c = source.info, config.task
    info.check_holds('video', *(['importance'] if c.supervised else []))
    shape = _shape(config, info)
    a_frame = lambda dtype: {'shape': shape[:1], 'dtype': dtype}
    targets = {'importance': a_frame('float32')} if 'importance' in info.holds else {}
    spec = {'inputs': {'video': {'shape': shape, 'dtype': 'uint8'},
                       'video_mask': a_frame('uint8')},
            'targets': {'seconds': a_frame('float32'), **targets}}
    own = lambda batch: batch['video'][(batch['video_mask'] > 0) & batch['present'][:, None]]
    return {**spec, **classification.statistics(config, source, None, own, 64)}


def _shape(config, info) -> list[int]:
    size, (height, width, channels) = config.data.image_size, info.image_shape
    as_it_is = None not in (height, width) and max(height, width) <= size
    return [config.task.frames, *((height, width) if as_it_is else (size, size)), channels]


def make(config, spec: dict) -> Task:
    c, dtype = config.task, jnp.dtype(config.model.param_dtype)
    model, describe_frames = classification.make_model(config, spec), make_features(config, spec)
    tx, lr = optimizers.make(config, spec['examples'])

    def see(frozen, inputs):
        """(what the model is given, the frames' mask, their fixed features)"""
        pixels = color.to_float(jnp.asarray(inputs['video']), dtype)
        own = jnp.asarray(inputs['video_mask'], dtype) > 0  # TFLite compares no uint8
        fixed = describe_frames(frozen, pixels) * own[..., None]
        if c.sees == 'features':
            return fixed, own, fixed
        return color.normalize(pixels, spec['mean'], spec['deviation']), own, fixed

    def init(key, batch):
        blank = jax.eval_shape(see, spec.get('requires'), batch)[0]
        variables = model.init(keys.stream(key, 'init'), jnp.zeros(blank.shape, blank.dtype),
                               batch['video_mask'] > 0)
        params = {'model': variables.pop('params')}
        averaged = ('model',) if config.optimizer.ema else ()
        return create(key, params, {'model': tx}, {'model': variables}, averaged)

    def loss(params, state, batch, key):
        given, own, fixed = see(state.frozen, batch)
        (logits, _), model_state = model.apply(
            {'params': params, **state.model_state['model']}, given, own, train=True,
            mutable=list(state.model_state['model']),
            keys=keys.per_example(keys.stream(key, 'model'), batch['index']))
        aux = {'model_state': {'model': model_state}}
        if c.supervised:
            target = batch['importance']
            if c.target == 'rank':
                less = (target[:, None, :] < target[:, :, None]) & own[:, None, :]
                equal = (target[:, None, :] == target[:, :, None]) & own[:, None, :]
                target = (less.sum(2) + 0.5 * equal.sum(2)) / own.sum(1, keepdims=True)
            errors = jnp.square(jax.nn.sigmoid(logits) - target) * own
            return {'mse': (errors.sum(1), own.sum(1, dtype=dtype))}, aux
        drawn = keys.per_example(keys.stream(key, 'episodes'), batch['index'])
        policy, reward = jax.vmap(lambda *clip: reinforce(*clip, c.episodes))(
            drawn, logits, fixed, own)
        share = (jax.nn.sigmoid(logits) * own).sum(1) / own.sum(1)
        ones = jnp.ones_like(share)
        aux['scalars'] = {'reward': (reward, ones)}
        return {'policy': (policy, ones),
                'share': (c.regularize * jnp.square(share - c.expected_share), ones)}, aux

    descend = update.from_loss(loss, tx, accumulate=config.optimizer.accumulate,
                               ema=config.optimizer.ema)

    def step(state, batch):
        new, scalars = descend(state, batch)
        return new, {**scalars, 'lr': lr(state.step)}

    def predict(variables, inputs):
        given, own, fixed = see(variables['frozen'], inputs)
        logits, _ = model.apply({'params': variables['params']['model'],
                                 **variables['model_state']['model']}, given, own)
        return {'scores': jax.nn.sigmoid(logits) * own, 'features': fixed}

    def record(outputs, batch):
        known = {name: batch[name] for name in ('importance', 'video_mask') if name in batch}
        return {'scores': outputs['scores'], 'features': outputs['features'], **known}

    evaluation = Evaluation('test', lambda state, batch: record(
        predict(state.variables, batch), batch), metrics.summarize, record)
    return Task(init, step, {'eval': evaluation}, predict,
                'eval/tau_b' if c.supervised else 'eval/reward', make_prepare(config, spec))


def reinforce(key, logits, features, own, episodes: int):
    """(a value whose gradient is that of the negative reward, the reward): the means over so many
    summaries of a clip, each frame of which is in one with the probability sigmoid(logit)."""
    chosen = jax.random.bernoulli(key, jax.nn.sigmoid(logits), (episodes, len(logits)))
    reward = jax.vmap(metrics.reward, (None, 0, None))(features, chosen, own)
    likely = jnp.where(chosen, jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits))
    likely = (likely * own).sum(1) / own.sum()
    # Their own mean is the baseline: a moving average would be one more thing to remember.
    return -((reward - reward.mean()) * likely).mean(), reward.mean()


def make_features(config, spec: dict):
    """(frozen, frames [B, T, H, W, C] in [0, 1]) -> [B, T, D] of length 1."""
    c, dtype = config.task, jnp.dtype(config.model.param_dtype)
    if c.features == 'layout':
        return lambda frozen, pixels: jax.vmap(jax.vmap(descriptions.layout))(pixels)
    see = features.perceive(spec['requires']['judge'], c.layer, dtype)

    def describe_frames(frozen, pixels):
        seen = see(frozen['judge'], pixels.reshape(-1, *pixels.shape[2:]))[c.layer]
        seen = seen.mean(range(1, seen.ndim - 1)).reshape(*pixels.shape[:2], -1)
        return seen / jnp.maximum(jnp.linalg.norm(seen, axis=-1, keepdims=True), 1e-6)
    return describe_frames


def make_sample(config, shape: list[int]):
    c, (most, height, width, channels) = config.task, shape

    def sample(example):
        """Frames that stand for a whole video, and when each is shown."""
        clip, is_film = example['video'], isinstance(example['video'], video.File)
        total, rate = video.count(clip), video.rate(clip) if is_film else 25.0
        rows = sampled_rows(total, min(most, round(total / rate * c.rate)) if is_film else most)
        pixels = video.read(clip, rows, height, channels)
        frames, own = video.padded(pixels, most)
        filled = lambda values: np.pad(values.astype(np.float32), (0, most - len(rows)))
        times = {'seconds': filled(rows / rate)}
        if 'importance' in example:
            times['importance'] = filled(example['importance'][rows])
        return {'video': frames, 'video_mask': own.astype(np.uint8), **times}
    return sample


def sampled_rows(total: int, wanted: int) -> np.ndarray:
    """So many of a video's frames, the middle ones of equal parts; all where there are fewer."""
    wanted = max(min(total, wanted), 1)
    return ((np.arange(wanted) + 0.5) * total / wanted).astype(int)


def make_prepare(config, spec: dict):
    sample = make_sample(config, spec['inputs']['video']['shape'])

    def prepare(example, rng):
        return example if 'video_mask' in example else sample(example)
    return prepare


def _check(config) -> None:
    c = config.task
    if c.sees not in ('frames', 'features'):
        raise unknown('task.sees: there is no', c.sees, ('frames', 'features'))
    for name in ('frames', 'rate', 'episodes'):
        if c[name] <= 0:
            raise UserError(f'task.{name}={c[name]}: it is above 0')
