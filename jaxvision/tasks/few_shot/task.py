"""Few-shot learning: classes that training never saw, each told by a few examples.

An example of this task is an episode: a few classes, some images of each that are shown (the
support), and others that are asked for (the queries).
"""

import functools
import math
import re

import jax
import jax.numpy as jnp

from jaxvision.core import keys
from jaxvision.core.errors import UserError, unknown
from jaxvision.core.state import create
from jaxvision.core.task import Evaluation, Task
from jaxvision.core.trees import part_like
from jaxvision.data.episodes import Episodes, Form, divide
from jaxvision.data.sources import open_source
from jaxvision.data.wrappers import Converted, in_memory_if_small
from jaxvision.losses import classification as cross_entropies
from jaxvision.losses import few_shot
from jaxvision.metrics import few_shot as metrics
from jaxvision.tasks.classification import task as classification
from jaxvision.tasks.few_shot import adaptation, comparison
from jaxvision.tasks.few_shot.comparison import Backbone
from jaxvision.tasks.shared import image_input
from jaxvision.train import optimizers, update

COMPARING = 'protonet', 'matching', 'baseline', 'anil'  # features that stay as they are
WITHIN = 'maml', 'first_order_maml', 'reptile'  # all weights learn within an episode

DEFAULTS = dict(
    method='protonet',  # or another of COMPARING and WITHIN
    layer='pooled',  # of the model, whose values are the features
    ways=20,
    shots=1,
    queries=5,  # in training: classes, images of each shown and asked for
    evaluate='5x1,5x5,20x1',  # ways x shots of each evaluation; the first one is exported
    test_queries=15,
    test_episodes=600,
    class_split=0,  # seed by which the classes are divided where no split has its own,
    new_classes=0.4,  # of them this share is for evaluation
    resize='squash',  # how other sizes become data.image_size: 'squash', or 'center_crop'
    recipe='',  # or how published networks see, as classification has it
    scale=10.0,  # of cosines, by which 'matching' and 'baseline' compare
    inner_steps=5,
    inner_lr=0.1,  # of those that learn within an episode, in training;
    test_steps=10,  # and how often they step in evaluation and prediction
    augment=dict(flip=False, translate=0.0, rotate=0.0),
)  # of training's images, as classification

_EPISODES = 100_000  # of training, of which few runs see one twice


def source(config, source, split: str):
    """Episodes of training's classes, or of new ones."""
    source.info.check_holds('image', 'label')
    if source.info.multi_label:
        raise UserError(
            f'{source.info.name} has several labels an image: episodes need one'
        )
    other = open_source(config.data, 'test' if split == 'train' else 'train')
    train, test = (source, other) if split == 'train' else (other, source)
    known, new = divide(
        train.labels(), test.labels(), config.task.new_classes, config.task.class_split
    )
    images, c = _resized(config, source), config.task
    if split == 'train':
        form = Form(c.ways, c.shots, c.queries)
        return Episodes(images, known, form, _EPISODES, config.seed)
    # The same in every run, so that runs of several seeds are compared on them.
    return Episodes(images, new, _largest(c), c.test_episodes, seed=0)


def _resized(config, source):
    found = image_input.describe(config, source.info)
    if found['resize'] is None:
        return source
    shape = found['inputs']['image']['shape']
    resize = image_input.make_resize(shape, found['resize'])
    resized = Converted(
        source, lambda example: {**example, 'image': resize(example['image'])}
    )
    return in_memory_if_small(resized, math.prod(shape))


def forms(options) -> list[Form]:
    """What is evaluated."""
    if not re.fullmatch(r'[1-9]\d*x[1-9]\d*(,[1-9]\d*x[1-9]\d*)*', options.evaluate):
        raise UserError(
            f"task.evaluate={options.evaluate!r}: write WAYSxSHOTS, as '5x1,5x5'"
        )
    return [
        Form(*map(int, form.split('x')), options.test_queries)
        for form in options.evaluate.split(',')
    ]


def _largest(options) -> Form:
    """Of which the episodes of every evaluation are parts."""
    wanted = forms(options)
    return Form(
        max(form.ways for form in wanted),
        max(form.shots for form in wanted),
        options.test_queries,
    )


def part(batch: dict, form: Form) -> dict:
    """The first classes of larger episodes, and the first shots of each."""
    count = len(batch['query_label'])

    def some(x):
        return x.reshape(count, -1, form.queries, *x.shape[2:])[:, : form.ways].reshape(
            count, form.ways * form.queries, *x.shape[2:]
        )

    def shown(x):
        return x[:, : form.ways, : form.shots]

    return {
        'support': shown(batch['support']),
        'support_mask': shown(batch['support_mask']),
        'query': some(batch['query']),
        'query_label': some(batch['query_label']),
    }


def describe(config, source) -> dict:
    """Shapes, training's classes, and its images' mean and deviation."""
    _check(config.task)
    found = image_input.describe(config, source.info)
    form, image = forms(config.task)[0], found['inputs']['image']['shape']

    def array(dtype, *shape):
        return {'shape': list(shape), 'dtype': dtype}

    asked = form.ways * form.queries

    def images(batch):
        return batch['query'][batch['present']].reshape(-1, *image)

    found = image_input.normalized(
        found, lambda: image_input.statistics(config, source, None, images, most=64)
    )
    return {
        **found,
        'class_names': list(source.info.class_names),
        'image': image,
        'inputs': {
            'support': array('uint8', form.ways, form.shots, *image),
            'support_mask': array('uint8', form.ways, form.shots),
            'query': array('uint8', asked, *image),
        },
        'targets': {
            'query_label': array('int32', asked),
            'classes': array('int32', form.ways),
        },
    }


def make(config, spec: dict) -> Task:
    _check(config.task)
    c, backbone = config.task, Backbone.of(config, spec)
    tx, lr = optimizers.make(config, spec['examples'])
    scores = make_scores(c, backbone, c.test_steps)
    ema = config.optimizer.ema

    def init(key, batch):
        images = jnp.zeros((1, *spec['image']), backbone.dtype)
        variables = backbone.model.init(keys.stream(key, 'init'), images)
        params = variables.pop('params')
        if variables and c.method in WITHIN:
            raise UserError(
                f'task.method={c.method!r} learns within an episode, where '
                f'{", ".join(variables)} have no place: give a model without '
                '(strided, or norm=group)'
            )
        if c.method == 'baseline' and spec['class_names']:
            width = jax.eval_shape(backbone.features, params, variables, images)[
                0
            ].shape[-1]
            params['head'] = jax.random.normal(
                keys.stream(key, 'head'),
                (len(spec['class_names']), width),
                backbone.dtype,
            )
        averaged = ('model',) if ema else ()
        return create(
            key, {'model': params}, {'model': tx}, {'model': variables}, averaged
        )

    if c.method == 'reptile':
        descend = update.from_gradients(make_reptile(c, backbone), tx, ema=ema)
    else:
        make_loss = classify_all if c.method == 'baseline' else classify_episodes
        descend = update.from_loss(
            make_loss(c, backbone), tx, ema=ema, accumulate=config.optimizer.accumulate
        )

    def step(state, batch):
        new, scalars = descend(state, batch)
        return new, {**scalars, 'lr': lr(state.step)}

    def predict(variables, inputs):
        params, model_state = (
            variables[kind]['model'] for kind in ('params', 'model_state')
        )
        logits, _ = scores(
            params, model_state, backbone.see(inputs), backbone.mask(inputs)
        )
        return {'logits': logits, 'probabilities': jax.nn.softmax(logits)}

    evaluations = {
        f'{form.ways}way_{form.shots}shot': evaluation(predict, form)
        for form in forms(c)
    }
    return Task(
        init,
        step,
        evaluations,
        predict,
        f'{next(iter(evaluations))}/accuracy',
        make_prepare(spec),
        show=show,
    )


def make_scores(options, backbone: Backbone, steps: int):
    """(params, model_state, images, mask, **train) -> (logits [B, M, N], model_state), as
    `by_features` says, by the method of the options; `steps` if it learns within an episode."""
    compare = {
        'protonet': comparison.to_prototypes,
        'matching': comparison.to_examples(options.scale),
        'baseline': comparison.to_centres(options.scale),
        'anil': adaptation.by_head(options.inner_lr, steps),
    }
    if options.method in compare:
        return comparison.by_features(backbone, compare[options.method])
    learner = adaptation.Learner(backbone, options.inner_lr, options.method != 'maml')

    def scores(params, model_state, images, mask, train: bool = False, keys=None):
        def one(episode):
            return learner.scores(params, *episode, steps)

        # One by one when it only answers: convolutions by weights of each episode's own would be
        # grouped by the batch, whose size an exported program does not know.
        each = jax.vmap(one) if train else functools.partial(jax.lax.map, one)
        return each((images, mask)), model_state

    return scores


def classify_episodes(options, backbone: Backbone):
    """The loss of the queries, given the support."""
    scores = make_scores(options, backbone, options.inner_steps)

    def loss(params, state, batch, key):
        images, image_keys = augmented(
            options.augment, key, batch['index'], backbone.see(batch)
        )
        logits, model_state = scores(
            params,
            state.model_state['model'],
            images,
            backbone.mask(batch),
            train=True,
            keys=image_keys,
        )
        label = batch['query_label']
        return entropy(logits, label), told(logits, label, model_state)

    return loss


def classify_all(options, backbone: Backbone):
    """The loss of every image among all of training's classes, by a cosine classifier."""

    def loss(params, state, batch, key):
        images, image_keys = augmented(
            options.augment, key, batch['index'], backbone.see(batch)
        )
        features, model_state = backbone.features(
            params, state.model_state['model'], images, train=True, keys=image_keys
        )
        logits = few_shot.cosine_logits(features, params['head'], options.scale)
        label = jnp.take_along_axis(batch['classes'], positions(batch), 1)
        return entropy(logits, label), told(logits, label, model_state)

    return loss


def make_reptile(options, backbone: Backbone):
    """(state, batch) -> what an optimizer is handed, as `update.from_gradients` says."""
    learner = adaptation.Learner(backbone, options.inner_lr, first_order=True)

    def gradients(state, batch):
        key = keys.at_step(state.key, 'model', state.step)
        images, _ = augmented(options.augment, key, batch['index'], backbone.see(batch))
        whole = state.whole(state.params)['model']
        directions, losses = jax.vmap(
            lambda images: learner.reptile(whole, images, options.inner_steps)
        )(by_class(batch, images))
        direction = jax.tree.map(lambda x: x.mean(0), directions)
        return (
            part_like(direction, state.params['model']),
            state.model_state,
            {'loss': losses.mean()},
        )

    return gradients


def entropy(logits, label):
    """Terms of the loss: the cross-entropy of each episode, the mean over its images."""
    targets = jax.nn.one_hot(label, logits.shape[-1], dtype=logits.dtype)
    values = jax.vmap(cross_entropies.softmax_cross_entropy)(logits, targets).mean(1)
    return {'cross_entropy': (values, jnp.ones_like(values))}


def told(logits, label, model_state):
    """What else a loss tells."""
    accuracy = metrics.accuracy(logits, label)
    return {
        'model_state': {'model': model_state},
        'scalars': {'accuracy': (accuracy, jnp.ones_like(accuracy))},
    }


def evaluation(predict, form: Form) -> Evaluation:
    """Of the first classes and shots of the episodes; beside it the nearest centroid of raw pixels."""

    def record(outputs, batch):
        inputs = part(batch, form)

        def flat(x, axis):
            return (x.astype(jnp.float32) / 255).reshape(*x.shape[:axis], -1)

        centres = jax.vmap(few_shot.prototypes)(
            flat(inputs['support'], 3), inputs['support_mask'].astype(jnp.float32)
        )
        pixels = jax.vmap(few_shot.distance_logits)(flat(inputs['query'], 2), centres)
        return {
            'accuracy': metrics.accuracy(outputs['logits'], inputs['query_label']),
            'pixel_accuracy': metrics.accuracy(pixels, inputs['query_label']),
        }

    def evaluate(state, batch):
        return record(predict(state.variables, part(batch, form)), batch)

    return Evaluation(
        'test', evaluate, metrics.summarize, record, functools.partial(part, form=form)
    )


def positions(batch: dict):
    """Which class of its episode an image is of [B, n], in the order of `Backbone.see`."""
    count, ways, shots = batch['support_mask'].shape
    shown = jnp.broadcast_to(jnp.repeat(jnp.arange(ways), shots), (count, ways * shots))
    return jnp.concatenate([shown, batch['query_label']], 1)


def by_class(batch: dict, images):
    """[B, N, K + Q, H, W, C]: the shown and the asked for of each class."""
    count, ways, shots = batch['support_mask'].shape

    def apart(x):
        return x.reshape(count, ways, -1, *x.shape[2:])

    shown, asked = images[:, : ways * shots], images[:, ways * shots :]
    return jnp.concatenate([apart(shown), apart(asked)], 2)


def augmented(options, key, index, images):
    """Images [B, n, H, W, C] in [0, 1] each moved under its own key, and the keys [B * n]."""
    each = images.shape[1]
    numbers = (
        index[:, None] * each + jnp.arange(each)
    ).ravel()  # of all images of all episodes
    flat = images.reshape(-1, *images.shape[2:])
    moved = image_input.moved(options, key, numbers, flat)
    return moved.reshape(images.shape), keys.per_example(
        keys.stream(key, 'model'), numbers
    )


def make_prepare(spec: dict):
    """Host side: episodes are ready; a person's image gets the size of theirs."""
    resize = image_input.make_resize(spec['image'], spec['resize'])

    def prepare(example, rng):
        return (
            {**example, 'image': resize(example['image'])}
            if 'image' in example
            else example
        )

    return prepare


def show(inputs: dict, outputs: dict):
    """The likeliest of the person's 'class_names'."""
    return classification.show(inputs['class_names'], False, inputs, outputs)


def _check(options) -> None:
    if options.method not in (*COMPARING, *WITHIN):
        raise unknown('task.method: there is no', options.method, [*COMPARING, *WITHIN])
    for name in (
        'ways',
        'shots',
        'queries',
        'test_queries',
        'test_episodes',
        'scale',
        'inner_steps',
        'inner_lr',
        'test_steps',
    ):
        if options[name] <= 0:
            raise UserError(f'task.{name}={options[name]}: it is above 0')
    if not 0 < options.new_classes < 1:
        raise UserError(
            f'task.new_classes={options.new_classes}: a share, above 0 and below 1'
        )
    if (
        options.method == 'reptile'
        and options.shots + options.queries < options.inner_steps
    ):
        raise UserError(
            f'reptile deals the {options.shots} + {options.queries} images of a class '
            f'out to {options.inner_steps} steps (task.inner_steps): they are too few'
        )
    image_input.check_moves(options.augment)
