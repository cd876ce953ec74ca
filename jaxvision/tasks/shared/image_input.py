"""Images on their way to a model: brought to one size on the host, moved about on the device."""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxvision.core import keys
from jaxvision.core.config import declared, fields
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config, Field, Fields
from jaxvision.core.spec import ArraySpec, Preprocessing, ResizeRule, Spec
from jaxvision.core.types import Prepare, Records, Value
from jaxvision.data import decode, pillow_resize, pipeline
from jaxvision.data.protocol import Source, SourceInfo
from jaxvision.data.wrappers import Subset
from jaxvision.image import augment, color, geometry
from jaxvision.pretrained import recipes
from jaxvision.train import preprocessing

FIELDS: Fields = {
    'resize': Field(
        'stretch',
        'How images of another size become squares; center_crop keeps 7/8 of them.',
        choices=('stretch', 'center_crop'),
    ),
    'recipe': Field(
        '',
        'Preprocessing of pretrained weights by name; empty: of the run or file in '
        "train.init_from; 'none': of this dataset.",
    ),
}

AUGMENT: Fields = {
    'flip': Field(False, 'Mirror every other image left to right.'),
    'translate': Field(
        0.0, 'Largest shift, as a fraction of the side.', least=0, most=1
    ),
    'rotate': Field(0.0, 'Largest rotation, degrees.', least=0),
}


def describe(config: Config, info: SourceInfo) -> tuple[ArraySpec, Preprocessing]:
    """Describe the images that a model is given.

    They are those of the weights that the run begins with where there are any, else of the
    dataset's size or resized by `task.resize`. The mean and std of the latter are measured
    later.

    Returns:
        (the shape of an image, its preprocessing).
    """
    own = Preprocessing.of_dataset(
        info.image_shape, config.data.image_size, config.task.resize
    )
    rules = ('stretch', 'center_crop', 'central_square', 'shorter_side')
    chosen = as_weights(config, own, info.image_shape, rules)
    return array_spec(chosen, info), chosen


def array_spec(chosen: Preprocessing, info: SourceInfo) -> ArraySpec:
    """The shape of an image: weights that were taken over tell the channels."""
    channels = len(chosen.mean) or info.image_shape[2]
    return ArraySpec((*chosen.size, channels))


def find_recipe(config: Config) -> recipes.Recipe | None:
    """The preprocessing that `task.recipe` names, if it names one."""
    name = config.task.get('recipe', '')
    return recipes.named(name) if name not in ('', 'none') else None


def as_weights(
    config: Config,
    own: Preprocessing,
    image_shape: Sequence[int | None],
    rules: Sequence[ResizeRule],
) -> Preprocessing:
    """Preprocess images as for the weights that a run begins with, where there are some.

    `task.recipe` overrides them. So do `task.resize` and `data.image_size`, if they are set
    to other values than their defaults and than the run that the weights are of.

    Args:
        config: of the run.
        own: what the dataset and the config alone would give, without mean and std.
        image_shape: (height, width, channels) of all images, None where they differ.
        rules: how the task can resize images, the first where no other is known.

    Returns:
        The preprocessing; without mean and std where the dataset's are to be measured.

    Raises:
        UserError: The weights are of images that these cannot be brought to.
    """
    recipe = find_recipe(config)
    origin = None
    if recipe:
        theirs = recipe.at(config.data.image_size).preprocessing()
    else:
        origin = next(preprocessing.of_weights(config), None)
        if origin is None or config.task.get('recipe') == 'none':
            return own
        theirs = origin.preprocessing
    if not theirs.mean:  # The weights saw images in [0, 1].
        theirs = theirs.with_statistics(
            (0.0,) * image_shape[2], (1.0,) * image_shape[2]
        )
    resize = config.task.get('resize', '')
    chosen = theirs
    if origin and origin.image_size:  # A run, where a file is for `data.image_size`.
        if _overrides(config, 'data.image_size', origin.image_size):
            chosen = _at_size(theirs, own)
        if resize and _overrides(config, 'task.resize', theirs.resize):
            chosen = chosen if chosen.resize == 'none' else chosen.by_rule(resize)
    elif theirs.resize not in rules:
        chosen = own.with_statistics(theirs.mean, theirs.std)
    is_ready = image_shape == (*chosen.size, len(chosen.mean))
    if chosen.resize in rules or (chosen.resize == 'none' and is_ready):
        return chosen
    return _by_rule(chosen, resize or rules[0])


def _at_size(theirs: Preprocessing, own: Preprocessing) -> Preprocessing:
    """The preprocessing of weights for images of the size that a dataset has of its own."""
    if own.resize == 'none' or theirs.resize == 'none':
        return own.with_statistics(theirs.mean, theirs.std)
    if theirs.recipe:
        return recipes.named(theirs.recipe).at(own.size[0]).preprocessing()
    return theirs.resized(own.size)


def _by_rule(theirs: Preprocessing, rule: ResizeRule) -> Preprocessing:
    """The preprocessing of weights by another rule, all of which make squares.

    Raises:
        UserError: The weights are not of squares.
    """
    height, width = theirs.size
    if height != width:
        raise UserError(
            f'train.init_from: expected images of {height}x{width} as those weights have '
            'seen, and these have other sizes or channels. Convert them, or set '
            'data.image_size'
        )
    return theirs.by_rule(rule)


def _overrides(config: Config, field: str, of_weights: Value) -> bool:
    """Whether a config sets a field to another value than its default and the weights'."""
    value = fields(config.to_dict())[field]
    return value not in (declared(config.task.name)[field].default, of_weights)


def with_statistics(
    spec: Spec,
    config: Config,
    source: Source,
    prepare: Prepare | None,
    pixels: Callable[[Records], np.ndarray] | None = None,
    most: int = 512,
) -> Spec:
    """Complete a spec by the mean and std of its training images, unless it has them.

    Args:
        spec: its preprocessing lacks them, or is that of pretrained weights.
        config: says how the data are read.
        source: the training examples.
        prepare: as `Task.prepare`.
        pixels: `(batch) -> uint8 [N, H, W, C]`, the images that count; None: 'image'.
        most: examples that are read at most, spread over the split.
    """
    if spec.preprocessing.mean:
        return spec
    mean, std = statistics(config, source, prepare, pixels or _present_images, most)
    return spec.replace(preprocessing=spec.preprocessing.with_statistics(mean, std))


def _present_images(batch: Records) -> np.ndarray:
    return batch['image'][batch['present']]


def statistics(
    config: Config,
    source: Source,
    prepare: Prepare | None,
    pixels: Callable[[Records], np.ndarray],
    most: int,
) -> tuple[list[float], list[float]]:
    """Measure the mean and std of each channel, of images in [0, 1].

    The arguments are those of `with_statistics`.
    """
    rows = np.linspace(0, len(source) - 1, min(len(source), most)).astype(int)
    total = 0.0
    squares = 0.0
    count = 0
    for batch in pipeline.eval_batches(
        Subset(source, rows, source.info.split),
        prepare,
        batch_size=32,
        threads=config.data.threads,
        on_corrupt=config.data.on_corrupt,
    ):
        values = pixels(batch).astype(np.float64) / 255
        total += values.sum((0, 1, 2))
        squares += np.square(values).sum((0, 1, 2))
        count += values.size // values.shape[-1]
    mean = total / count
    std = np.maximum(np.sqrt(np.maximum(squares / count - mean**2, 0)), 1e-3)
    return mean.tolist(), std.tolist()


def make_prepare(config: Config, spec: Spec) -> Prepare | None:
    """Decode and resize on the host; None where all images have the input's size."""
    if spec.preprocessing.resize == 'none':
        return None
    size, _, channels = spec.inputs['image'].shape
    resize = make_resize(spec.preprocessing, channels)
    smallest = config.task.crop_scale

    def prepare(example, rng):
        if rng is None or smallest >= 1:
            image = resize(example['image'])
        else:
            image = decode.random_resized_crop(
                example['image'], rng, size, channels, (smallest, 1.0)
            )
        return {**example, 'image': image}

    return prepare


def make_resize(
    preprocessing: Preprocessing, channels: int
) -> Callable[[decode.Encoded], np.ndarray]:
    """Build a function from an encoded image to uint8 [H, W, C] of the input's size."""
    height, width = preprocessing.size
    rule = preprocessing.resize
    if rule == 'none':
        return lambda image: decode.resize(
            decode.decode(image, channels), height, width
        )
    if rule == 'shorter_side':
        return lambda image: pillow_resize.resize_then_crop(
            image,
            height,
            channels,
            preprocessing.shorter,
            preprocessing.interpolation,
        )
    rules = {
        'stretch': decode.stretch,
        'center_crop': decode.resize_center_crop,
        'central_square': functools.partial(decode.resize_center_crop, fraction=1.0),
    }
    return lambda image: rules[rule](image, height, channels)


def augmented(
    options: Config,
    key: PRNGKeyArray,
    index: Int[Array, 'b'],
    images: Float[Array, 'b h w c'],
    targets: Float[Array, 'b k'],
) -> tuple[Float[Array, 'b h w c'], Float[Array, 'b k']]:
    """Change images and targets at random, each example by its own key.

    Args:
        options: the fields of `task.augment`.
        key: of the step.
        index: number of each example.
        images: in [0, 1].
        targets: probability of each class.

    Returns:
        (images, targets); only mixup and CutMix change the targets.
    """
    side = min(images.shape[1:3])

    def example_keys(name):
        return keys.per_example(keys.stream(key, name), index)

    def each(name, function):
        return jax.vmap(function)(example_keys(name), images)

    images = moved(options, key, index, images)
    if options.color:
        amount = options.color
        images = each(
            'color',
            lambda k, x: color.random_color_jitter(
                k, x, amount, amount, amount, amount / 4
            ),
        )
    if options.randaugment:
        images = each(
            'randaugment',
            lambda k, x: augment.randaugment(k, x, options.randaugment, magnitude=9),
        )
    if options.cutout:
        hole = max(1, round(options.cutout * side))
        images = each('cutout', lambda k, x: augment.cutout(k, x, hole))
    if options.mixup and options.cutmix:
        mix = jax.random.bernoulli(keys.stream(key, 'mix'))
        return jax.lax.cond(
            mix,
            lambda: augment.mixup(
                example_keys('mixup'), images, targets, options.mixup
            ),
            lambda: augment.cutmix(
                example_keys('mixup'), images, targets, options.cutmix
            ),
        )
    if options.mixup:
        return augment.mixup(example_keys('mixup'), images, targets, options.mixup)
    if options.cutmix:
        return augment.cutmix(example_keys('mixup'), images, targets, options.cutmix)
    return images, targets


def moved(
    options: Config,
    key: PRNGKeyArray,
    index: Int[Array, 'b'],
    images: Float[Array, 'b h w c'],
) -> Float[Array, 'b h w c']:
    """Flip, shift and rotate images in [0, 1] at random, as `augmented` takes them."""

    def each(name, function):
        return jax.vmap(function)(
            keys.per_example(keys.stream(key, name), index), images
        )

    if options.flip:
        images = each('flip', geometry.random_flip)
    if options.translate:
        shift = max(1, round(options.translate * min(images.shape[1:3])))
        images = each('translate', lambda k, x: geometry.random_translate(k, x, shift))
    if options.rotate:
        images = each(
            'rotate', lambda k, x: geometry.random_rotate(k, x, options.rotate)
        )
    return images
