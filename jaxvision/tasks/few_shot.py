"""Few-shot learning: classes that training never saw, each told by a few examples.

An example of this task is an episode: a few classes, some images of each that are shown (the
support), and others that are asked for (the queries).
"""

import dataclasses
import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision import keys
from jaxvision.data.episodes import Episodes, Form, divide
from jaxvision.data.sources import open_source
from jaxvision.data.views import Converted, InMemory
from jaxvision.errors import UserError, unknown
from jaxvision.image import color
from jaxvision.losses import classification as cross_entropies, few_shot
from jaxvision.metrics import few_shot as metrics
from jaxvision.task import Evaluation, Task
from jaxvision.tasks import classification
from jaxvision.train import optimizers, update
from jaxvision.train.state import create

DEFAULTS = dict(
    method='protonet',       # or 'matching', or 'baseline', which learns to tell training's classes
    layer='pooled',          # of the model, whose values are the features
    ways=20, shots=1, queries=5,  # in training: classes, images of each shown and asked for
    evaluate='5x1,5x5,20x1',      # ways x shots of each evaluation; the first one is exported
    test_queries=15, test_episodes=600,
    class_split=0,           # seed by which the classes are divided where no split has its own,
    new_classes=0.4,         # of them this share is for evaluation
    resize='squash',         # how other sizes become data.image_size: 'squash', or 'center_crop'
    scale=10.0,              # of cosines, where the method compares by these
    augment=dict(flip=False, translate=0.0, rotate=0.0))  # of training's images, as classification

_EPISODES = 100_000          # of training, of which few runs see one twice
_LARGEST_IN_MEMORY = 2**30   # bytes of images


def source(config, source, split: str):
    """Episodes of training's classes, or of new ones."""
    source.info.check_holds('image', 'label')
    if source.info.multi_label:
        raise UserError(f'{source.info.name} has several labels an image: episodes need one')
    other = open_source(config.data, 'test' if split == 'train' else 'train')
    train, test = (source, other) if split == 'train' else (other, source)
    known, new = divide(train.labels(), test.labels(), config.task.new_classes,
                        config.task.class_split)
    images, c = _resized(config, source), config.task
    if split == 'train':
        form = Form(c.ways, c.shots, c.queries)
        return Episodes(images, known, form, _EPISODES, config.seed)
    # The same in every run, so that runs of several seeds are compared on them.
    return Episodes(images, new, _largest(c), c.test_episodes, seed=0)


def _resized(config, source):
    found = classification.image_input(config, source.info)
    if found['resize'] is None:
        return source
    shape = found['inputs']['image']['shape']
    resize = classification.make_resize(shape, found['resize'])
    resized = Converted(source, lambda example: {**example, 'image': resize(example['image'])})
    small = len(source) * np.prod(shape) <= _LARGEST_IN_MEMORY
    return InMemory(resized) if small else resized


def forms(options) -> list[Form]:
    """What is evaluated."""
    if not re.fullmatch(r'[1-9]\d*x[1-9]\d*(,[1-9]\d*x[1-9]\d*)*', options.evaluate):
        raise UserError(f"task.evaluate={options.evaluate!r}: write WAYSxSHOTS, as '5x1,5x5'")
    return [Form(*map(int, form.split('x')), options.test_queries)
            for form in options.evaluate.split(',')]


def _largest(options) -> Form:
    """Of which the episodes of every evaluation are parts."""
    wanted = forms(options)
    return Form(max(form.ways for form in wanted), max(form.shots for form in wanted),
                options.test_queries)


def part(batch: dict, form: Form) -> dict:
    """The first classes of larger episodes, and the first shots of each."""
    count = len(batch['label'])
    some = lambda x: x.reshape(count, -1, form.queries, *x.shape[2:])[:, :form.ways].reshape(
        count, form.ways * form.queries, *x.shape[2:])
    shown = lambda x: x[:, :form.ways, :form.shots]
    return {'support': shown(batch['support']), 'support_mask': shown(batch['support_mask']),
            'query': some(batch['query']), 'label': some(batch['label'])}


def describe(config, source) -> dict:
    """Shapes, training's classes, and its images' mean and deviation."""
    _check(config.task)
    found = classification.image_input(config, source.info)
    form, image = forms(config.task)[0], found['inputs']['image']['shape']
    array = lambda dtype, *shape: {'shape': list(shape), 'dtype': dtype}
    asked = form.ways * form.queries
    spec = {'class_names': list(source.info.class_names), 'image': image,
            'resize': found['resize'],
            'inputs': {'support': array('uint8', form.ways, form.shots, *image),
                       'support_mask': array('uint8', form.ways, form.shots),
                       'query': array('uint8', asked, *image)},
            'targets': {'label': array('int32', asked), 'classes': array('int32', form.ways)}}
    images = lambda batch: batch['query'][batch['present']].reshape(-1, *image)
    return {**spec, **classification.statistics(config, source, None, images, most=64)}


def make(config, spec: dict) -> Task:
    _check(config.task)
    c, backbone = config.task, Backbone.of(config, spec)
    tx, lr = optimizers.make(config, spec['examples'])
    compare = COMPARISONS[c.method]

    def init(key, batch):
        images = jnp.zeros((1, 1, *spec['image']), backbone.dtype)
        variables = backbone.model.init(keys.stream(key, 'init'), images[0])
        params = {'backbone': variables.pop('params')}
        if c.method == 'baseline':
            features, _ = jax.eval_shape(backbone.features, params, variables, images)
            params['head'] = jax.random.normal(
                keys.stream(key, 'head'), (len(spec['class_names']), features.shape[-1]),
                backbone.dtype)
        averaged = ('model',) if config.optimizer.ema else ()
        return create(key, {'model': params}, {'model': tx}, {'model': variables}, averaged)

    def logits_of(params, features, mask):
        """Of each query [B, M, N], by the features of the support and of the queries."""
        shown = mask.shape[1] * mask.shape[2]
        support = features[:, :shown].reshape(*mask.shape, -1)
        return jax.vmap(functools.partial(compare, c.scale))(
            features[:, shown:], support, mask.astype(features.dtype))

    def loss(params, state, batch, key):
        images, image_keys = augmented(c.augment, key, batch['index'], backbone.see(batch))
        features, model_state = backbone.features(
            params, state.model_state['model'], images, train=True, keys=image_keys)
        if c.method == 'baseline':
            logits = few_shot.cosine_logits(features, params['head'], c.scale)
            label = batch['classes'][jnp.arange(len(images))[:, None], positions(batch)]
        else:
            logits, label = logits_of(params, features, batch['support_mask']), batch['label']
        entropy = jax.vmap(cross_entropies.softmax_cross_entropy)(
            logits, jax.nn.one_hot(label, logits.shape[-1], dtype=logits.dtype)).mean(1)
        ones = jnp.ones_like(entropy)
        return {'cross_entropy': (entropy, ones)}, {
            'model_state': {'model': model_state},
            'scalars': {'accuracy': (metrics.accuracy(logits, label), ones)}}

    descend = update.from_loss(loss, tx, accumulate=config.optimizer.accumulate,
                               ema=config.optimizer.ema)

    def step(state, batch):
        new, scalars = descend(state, batch)
        return new, {**scalars, 'lr': lr(state.step)}

    def predict(variables, inputs):
        params, model_state = (variables[kind]['model'] for kind in ('params', 'model_state'))
        features, _ = backbone.features(params, model_state, backbone.see(inputs))
        logits = logits_of(params, features, inputs['support_mask'])
        return {'logits': logits, 'probabilities': jax.nn.softmax(logits)}

    evaluations = {f'{form.ways}way_{form.shots}shot': evaluation(predict, form)
                   for form in forms(c)}
    return Task(init, step, evaluations, predict, f'{next(iter(evaluations))}/accuracy')


def evaluation(predict, form: Form) -> Evaluation:
    """Of the first classes and shots of the episodes; beside it the nearest centroid of raw pixels.
    """
    def record(outputs, batch):
        inputs = part(batch, form)
        flat = lambda x, axis: (x.astype(jnp.float32) / 255).reshape(*x.shape[:axis], -1)
        centres = jax.vmap(few_shot.prototypes)(
            flat(inputs['support'], 3), inputs['support_mask'].astype(jnp.float32))
        pixels = jax.vmap(few_shot.distance_logits)(flat(inputs['query'], 2), centres)
        return {'accuracy': metrics.accuracy(outputs['logits'], inputs['label']),
                'pixel_accuracy': metrics.accuracy(pixels, inputs['label'])}

    def evaluate(state, batch):
        return record(predict(state.variables, part(batch, form)), batch)
    return Evaluation('test', evaluate, metrics.summarize, record,
                      functools.partial(part, form=form))


COMPARISONS = {
    'protonet': lambda scale, query, support, mask: few_shot.distance_logits(
        query, few_shot.prototypes(support, mask)),
    'matching': lambda scale, query, support, mask: few_shot.attention_logits(
        query, support, mask, scale),
    'baseline': lambda scale, query, support, mask: few_shot.cosine_logits(
        query, few_shot.prototypes(few_shot.unit(support), mask), scale)}


def positions(batch: dict):
    """Of each image of an episode, support and then queries: which of its classes it is of [B, n].
    """
    count, ways, shots = batch['support_mask'].shape
    shown = jnp.broadcast_to(jnp.repeat(jnp.arange(ways), shots), (count, ways * shots))
    return jnp.concatenate([shown, batch['label']], 1)


def augmented(options, key, index, images):
    """Images [B, n, H, W, C] in [0, 1] each moved under its own key, and the keys [B * n]."""
    count, each = images.shape[:2]
    numbers = (index[:, None].astype(jnp.uint32) * each + jnp.arange(each, dtype=jnp.uint32)).ravel()
    flat = images.reshape(-1, *images.shape[2:])
    moved = classification.moved(options, key, numbers, flat)
    return moved.reshape(images.shape), keys.per_example(keys.stream(key, 'model'), numbers)


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A model as features of images: the values of one of its intermediates, in a row."""
    model: Any
    layer: str
    mean: list[float]
    deviation: list[float]
    dtype: Any

    @staticmethod
    def of(config, spec: dict) -> 'Backbone':
        model = classification.make_model(config, {**spec, 'class_names': []})
        _, known = jax.eval_shape(
            model.init_with_output, jax.random.key(0), jnp.zeros((1, *spec['image'])))[0]
        if config.task.layer not in known:
            raise unknown(f'task.layer: {config.model.name!r} has no intermediate',
                          config.task.layer, known)
        return Backbone(model, config.task.layer, spec['mean'], spec['deviation'],
                        jnp.dtype(config.model.param_dtype))

    def see(self, inputs: dict):
        """The images of each episode [B, N * K + M, H, W, C] in [0, 1], the support's first."""
        support, query = (jnp.asarray(inputs[name]) for name in ('support', 'query'))
        support = support.reshape(support.shape[0], -1, *support.shape[3:])
        return color.to_float(jnp.concatenate([support, query], 1), self.dtype)

    def features(self, params, model_state, images, train: bool = False, keys=None):
        """([B, n, D] of images [B, n, H, W, C], new model state)"""
        flat = color.normalize(images.reshape(-1, *images.shape[2:]), self.mean, self.deviation)
        (_, named), model_state = self.model.apply(
            {'params': params['backbone'], **model_state}, flat, train=train, keys=keys,
            mutable=list(model_state))
        return named[self.layer].reshape(*images.shape[:2], -1), model_state


def _check(options) -> None:
    if options.method not in COMPARISONS:
        raise unknown('task.method: there is no', options.method, COMPARISONS)
    for name in ('ways', 'shots', 'queries', 'test_queries', 'test_episodes', 'scale'):
        if options[name] <= 0:
            raise UserError(f'task.{name}={options[name]}: it is above 0')
    if not 0 < options.new_classes < 1:
        raise UserError(f'task.new_classes={options.new_classes}: a share, above 0 and below 1')
    classification.check_moves(options.augment)
