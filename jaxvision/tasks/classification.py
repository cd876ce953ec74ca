"""Image classification: one label an image (softmax) or several (sigmoid)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision import figures, keys
from jaxvision.config import call, resolve
from jaxvision.data import decode, pipeline, published_resize
from jaxvision.data.views import Subset
from jaxvision.errors import UserError, unknown
from jaxvision.image import augment, color, geometry
from jaxvision.losses import classification as losses
from jaxvision.metrics import classification as metrics
from jaxvision.task import Evaluation, Task
from jaxvision.train import initial, optimizers, processes, update
from jaxvision.train.state import create
from jaxvision.weights import published, recipes

DEFAULTS = dict(
    label_smoothing=0.0,
    resize='squash',   # how other sizes become data.image_size: 'squash', or 'center_crop' 7/8
    recipe='',         # or how published networks see, of weights/recipes.py: resized and cropped
                       # to data.image_size, normalised, grey repeated to RGB; '': as the weights in
                       # train.init_from, if they are a file; 'none': all the same
    crop_scale=1.0,    # smallest share of the area in a random resized crop of those; 1: none
    augment=dict(
        flip=False,      # left to right, every other image
        translate=0.0,   # largest shift, a share of the side
        rotate=0.0,      # largest angle, degrees
        color=0.0,       # jitter of brightness, contrast and saturation, and a quarter of it of hue
        randaugment=0,   # operations an image, at magnitude 9 of 10
        cutout=0.0,      # side of the erased square, a share of the image's
        mixup=0.0,       # alpha
        cutmix=0.0))     # alpha; with both, a step has the one or the other


def source(config, source, split: str):
    """As it is, unless its classes are none of training's."""
    if source.info.new_classes:
        raise UserError(f'{source.info.name}: the classes of its split {source.info.split!r} are '
                        'none of training; to learn to tell such apart, see configs/few_shot.py')
    return source


def describe(config, source) -> dict:
    """Shapes, class names, the resize rule, and the training images' mean and deviation, or those
    of the recipe."""
    info, recipe = source.info, find_recipe(config)
    info.check_holds('image', 'label')
    spec = {'class_names': list(info.class_names), 'multi_label': info.multi_label,
            'targets': {'label': target(info)}, **image_input(config, info)}
    if recipe:
        size = config.data.image_size
        processes.say(f'images as of {recipe.at(size)}')
        image = {'shape': [size, size, 3], 'dtype': 'uint8'}
        return {**spec, **recipe.at(size).spec(), 'inputs': {'image': image}}
    return {**spec, **statistics(config, source, make_prepare(config, spec))}


def image_input(config, info) -> dict:
    """The spec of images as the model sees them: as they are, or resized by the task's rule."""
    size, (height, width, channels) = config.data.image_size, info.image_shape
    as_it_is = None not in (height, width) and max(height, width) <= size
    shape = [height, width, channels] if as_it_is else [size, size, channels]
    return {'inputs': {'image': {'shape': shape, 'dtype': 'uint8'}},
            'resize': None if as_it_is else config.task.resize}


def find_recipe(config) -> recipes.Recipe | None:
    """How published weights see, where the run begins with a file of them; or `task.recipe`."""
    if config.task.recipe:
        return recipes.named(config.task.recipe) if config.task.recipe != 'none' else None
    files = [path for path in initial.sources(config.train.init_from) if path.is_file()]
    return published.read(files[0], config.model.name).recipe if files else None


def target(info) -> dict:
    """The shape and dtype of a label."""
    return {'shape': [len(info.class_names)], 'dtype': 'float32'} if info.multi_label \
        else {'shape': [], 'dtype': 'int32'}


def statistics(config, source, prepare, pixels=lambda batch: batch['image'][batch['present']],
               most: int = 512) -> dict[str, list[float]]:
    """'mean' and 'deviation' of each channel, in [0, 1], over `most` examples spread over the
    split; `pixels(batch)` are the images [N, H, W, C] of it that count."""
    rows = np.linspace(0, len(source) - 1, min(len(source), most)).astype(int)
    total, squares, count = 0.0, 0.0, 0
    for batch in pipeline.eval_batches(
            Subset(source, rows, source.info.split), prepare,
            batch_size=32, threads=config.data.threads, on_corrupt=config.data.on_corrupt):
        values = pixels(batch).astype(np.float64) / 255
        total += values.sum((0, 1, 2))
        squares += np.square(values).sum((0, 1, 2))
        count += values.size // values.shape[-1]
    mean = total / count
    deviation = np.maximum(np.sqrt(np.maximum(squares / count - mean**2, 0)), 1e-3)
    return {'mean': mean.tolist(), 'deviation': deviation.tolist()}


def make(config, spec: dict) -> Task:
    _check(config, spec)
    dtype, names = jnp.dtype(config.model.param_dtype), spec['class_names']
    image = lambda example: example['image']
    return classifier(
        config, spec, lambda inputs: (color.to_float(jnp.asarray(image(inputs)), dtype),),
        functools.partial(augmented, config.task.augment), prepare=make_prepare(config, spec),
        draw=functools.partial(draw_figures, names, image),
        show=functools.partial(show, names, spec['multi_label']))


def classifier(config, spec: dict, see, augment, *, prepare, draw, show) -> Task:
    """The task of a model that gives logits of what it sees.

    `see(inputs) -> (pixels in [0, 1], *others)`, of which the pixels are augmented in training,
    `augment(key, index, pixels, targets) -> (pixels, targets)`, and normalised; with the others
    they are what the model is given. `draw` is Task.figures where there is one label.
    """
    model, smoothing = make_model(config, spec), config.task.label_smoothing
    tx, lr = optimizers.make(config, spec['examples'])
    classes, multi_label = len(spec['class_names']), spec['multi_label']
    dtype = jnp.dtype(config.model.param_dtype)
    if not 0 <= smoothing < 1 or smoothing and multi_label:
        raise UserError(f'task.label_smoothing={smoothing}: it is at least 0 and less than 1, and '
                        '0 where an example has several labels')

    def apply(params, model_state, pixels, *others, **train):
        pixels = color.normalize(pixels, spec['mean'], spec['deviation'])
        return model.apply({'params': params, **model_state}, pixels, *others, **train)

    def init(key, batch):
        variables = model.init(keys.stream(key, 'init'), *see(batch))
        params = {'model': variables.pop('params')}
        averaged = ('model',) if config.optimizer.ema else ()
        return create(key, params, {'model': tx}, {'model': variables}, averaged)

    def loss(params, state, batch, key):
        pixels, *others = see(batch)
        targets = batch['label'] if multi_label else losses.one_hot_targets(
            batch['label'], classes, smoothing, dtype)
        pixels, targets = augment(key, batch['index'], pixels, targets)
        (logits, _), model_state = apply(
            params, state.model_state['model'], pixels, *others, train=True,
            mutable=list(state.model_state['model']),
            keys=keys.per_example(keys.stream(key, 'model'), batch['index']))
        entropy = (losses.sigmoid_cross_entropy if multi_label
                   else losses.softmax_cross_entropy)(logits, targets)
        return {'cross_entropy': (entropy, jnp.ones_like(entropy))}, {
            'model_state': {'model': model_state}}

    descend = update.from_loss(loss, tx, accumulate=config.optimizer.accumulate,
                               ema=config.optimizer.ema)

    def step(state, batch):
        new, scalars = descend(state, batch)
        return new, {**scalars, 'lr': lr(state.step)}

    def predict(variables, inputs):
        logits, _ = apply(variables['params']['model'], variables['model_state']['model'],
                          *see(inputs))
        probabilities = (jax.nn.sigmoid if multi_label else jax.nn.softmax)(logits)
        return {'logits': logits, 'probabilities': probabilities}

    def record(outputs, batch):
        of = metrics.record_multilabel if multi_label else metrics.record
        return of(outputs['logits'], batch['label'])

    def evaluate(state, batch):
        return record(predict(state.variables, batch), batch)

    summarize = metrics.summarize_multilabel if multi_label \
        else functools.partial(metrics.summarize, classes=classes)
    evaluation = Evaluation('test', evaluate, summarize, record)
    return Task(init, step, {'eval': evaluation}, predict,
                'eval/mean_average_precision' if multi_label else 'eval/accuracy',
                prepare, None if multi_label else draw, show)


def _check(config, spec: dict) -> None:
    options = config.task.augment
    check_moves(options)
    if not 0 <= options.cutout <= 1:
        raise UserError(f'task.augment.cutout={options.cutout}: a share of the side, 0 to 1')
    for name in ('color', 'randaugment', 'mixup', 'cutmix'):
        if options[name] < 0:
            raise UserError(f'task.augment.{name}={options[name]}: it is at least 0')
    part = config.data.batch_size // max(config.optimizer.accumulate, 1)
    if (options.mixup or options.cutmix) and part % 2:
        raise UserError(f'mixup and cutmix pair neighbours, and batches of {part} have an odd one')
    if not 0 < config.task.crop_scale <= 1:
        raise UserError(f'task.crop_scale={config.task.crop_scale}: it is above 0, up to 1')


def check_moves(options) -> None:
    if not 0 <= options.translate <= 1:
        raise UserError(f'task.augment.translate={options.translate}: a share of the side, 0 to 1')
    if options.rotate < 0:
        raise UserError(f'task.augment.rotate={options.rotate}: it is at least 0')


def make_model(config, spec: dict):
    """The config's model, its options checked."""
    c = config.model
    module = resolve('models', c.name)
    return call(module.make, f'model {c.name!r}', spec, c.variant, dtype=jnp.dtype(c.dtype),
                param_dtype=jnp.dtype(c.param_dtype), options=c.options)


def make_prepare(config, spec: dict):
    """Host side: decode and bring to the spec's one size; None where images have it already."""
    if spec['resize'] is None:
        return None
    size, _, channels = shape = spec['inputs']['image']['shape']
    resize, scale = make_resize(shape, spec['resize']), (config.task.crop_scale, 1.0)

    def prepare(example, rng):
        if rng is None or scale[0] >= 1:
            image = resize(example['image'])
        else:
            image = decode.random_resized_crop(example['image'], rng, size, channels, scale)
        return {**example, 'image': image}
    return prepare


def make_resize(shape: list[int], rule: str | dict | None):
    """Encoded image -> uint8 pixels of this shape, by a rule or a recipe's for squares, or
    stretched."""
    height, width, channels = shape
    if rule is None:
        return lambda image: decode.resize(decode.decode(image, channels), height, width)
    if isinstance(rule, dict):
        return lambda image: published_resize.resize_then_crop(image, height, channels, **rule)
    rules = {'squash': decode.squash, 'center_crop': decode.resize_center_crop}
    if rule not in rules:
        raise unknown('task.resize: there is no rule', rule, rules)
    return lambda image: rules[rule](image, height, channels)


def augmented(options, key, index, images, targets) -> tuple[Any, Any]:
    """Images [B, H, W, C] in [0, 1] and targets [B, K], each example under its own keys."""
    side = min(images.shape[1:3])
    example_keys = lambda name: keys.per_example(keys.stream(key, name), index)
    each = lambda name, function: jax.vmap(function)(example_keys(name), images)
    images = moved(options, key, index, images)
    if options.color:
        amount = options.color
        images = each('color', lambda k, x: color.random_color_jitter(
            k, x, amount, amount, amount, amount / 4))
    if options.randaugment:
        images = each('randaugment',
                      lambda k, x: augment.randaugment(k, x, options.randaugment, magnitude=9))
    if options.cutout:
        hole = max(1, round(options.cutout * side))
        images = each('cutout', lambda k, x: augment.cutout(k, x, hole))
    if options.mixup and options.cutmix:
        mix = jax.random.bernoulli(keys.stream(key, 'mix'))
        return jax.lax.cond(
            mix, lambda: augment.mixup(example_keys('mixup'), images, targets, options.mixup),
            lambda: augment.cutmix(example_keys('mixup'), images, targets, options.cutmix))
    if options.mixup:
        return augment.mixup(example_keys('mixup'), images, targets, options.mixup)
    if options.cutmix:
        return augment.cutmix(example_keys('mixup'), images, targets, options.cutmix)
    return images, targets


def moved(options, key, index, images):
    """Images [B, H, W, C] in [0, 1] mirrored, shifted and turned, each under its own keys."""
    each = lambda name, function: jax.vmap(function)(
        keys.per_example(keys.stream(key, name), index), images)
    if options.flip:
        images = each('flip', geometry.random_flip)
    if options.translate:
        shift = max(1, round(options.translate * min(images.shape[1:3])))
        images = each('translate', lambda k, x: geometry.random_translate(k, x, shift))
    if options.rotate:
        images = each('rotate', lambda k, x: geometry.random_rotate(k, x, options.rotate))
    return images


def show(class_names: list[str], multi_label: bool, inputs: dict, outputs: dict
         ) -> tuple[dict, np.ndarray | None]:
    """The five most likely classes; of several labels, also all that are more likely than not."""
    probabilities = [round(float(p), 6) for p in outputs['probabilities']]
    order = sorted(range(len(probabilities)), key=lambda k: -probabilities[k])
    top = [{'class': class_names[k], 'probability': probabilities[k]} for k in order[:5]]
    answer = {**top[0], 'top': top}
    if multi_label:
        answer = {'classes': [class_names[k] for k in order if probabilities[k] > 0.5], **answer}
    if 'original' not in inputs:
        return answer, None
    return answer, figures.bars(
        inputs['original'], [(likely['class'], likely['probability']) for likely in top])


def draw_figures(class_names: list[str], picture, records: dict, example
                 ) -> dict[str, np.ndarray]:
    """The confusion matrix, and the most confident mistakes, of each `picture(example)`."""
    wrong = np.flatnonzero(records['prediction'] != records['label'])
    worst = wrong[np.argsort(-records['confidence'][wrong], kind='stable')][:24]
    captions = [f'{class_names[records["label"][i]]}, said {class_names[records["prediction"][i]]} '
                f'({records["confidence"][i]:.0%})' for i in worst]
    images = [picture(example(int(records['index'][i]))) for i in worst]
    return {'confusion': figures.matrix(metrics.confusion_matrix(records, len(class_names)),
                                        class_names),
            'mistakes': figures.gallery(images, captions)}
