"""Preparing images for a model: resize on the host, augmentation on the device."""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxvision.core import keys
from jaxvision.core.config import declared, fields
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config, Field, Fields
from jaxvision.core.rows import evenly_spaced
from jaxvision.core.spec import ArraySpec, Preprocessing, ResizeRule, Spec
from jaxvision.core.types import Prepare, Records, Value
from jaxvision.data import decode, pillow_resize, pipeline, resizing
from jaxvision.data.protocol import Source, SourceInfo
from jaxvision.data.wrappers import Subset
from jaxvision.image import augment, color, geometry
from jaxvision.models.types import Images
from jaxvision.pretrained import recipes
from jaxvision.train import preprocessing

FIELDS: Fields = {
    'resize': Field(
        'stretch',
        'How images become squares: stretched, or by a center_crop of 7/8 of the shorter side.',
        choices=('stretch', 'center_crop'),
    ),
    'recipe': Field(
        '',
        'Recipe of pretrained weights that defines the preprocessing; empty: that of the run '
        "or file in train.init_from; 'none': that of this dataset.",
    ),
}

AUGMENT: Fields = {
    'flip': Field(False, 'Mirror images left to right, with probability 0.5.'),
    'translate': Field(
        0.0, 'Largest shift, as a fraction of the shorter side.', least=0, most=1
    ),
    'rotate': Field(0.0, 'Largest rotation, in degrees.', least=0),
}


def describe(config: Config, info: SourceInfo) -> tuple[ArraySpec, Preprocessing]:
    """Choose the shape and preprocessing of a model's input images.

    A run that begins with pretrained weights has the preprocessing of the weights. Otherwise
    images of one size up to `data.image_size` are unchanged, and others are resized to it by
    `task.resize`. Their mean and std are then empty, for `with_statistics` to measure.

    Returns:
        (the shape and dtype of an image, its preprocessing).

    Raises:
        UserError: The recipe is unknown, or the images do not fit the pretrained weights.
    """
    of_dataset = Preprocessing.of_dataset(
        info.image_shape, config.data.image_size, config.task.resize
    )
    rules = ('stretch', 'center_crop', 'central_square', 'shorter_side')
    chosen = as_weights(config, of_dataset, info.image_shape, rules)
    return array_spec(chosen, info), chosen


def array_spec(chosen: Preprocessing, info: SourceInfo) -> ArraySpec:
    """Return the shape (height, width, channels) and dtype, uint8, of an image.

    The number of channels is that of `chosen.mean` if it is not empty, as with pretrained
    weights, else the dataset's.
    """
    channels = len(chosen.mean) or info.image_shape[2]
    return ArraySpec((*chosen.size, channels))


def find_recipe(config: Config) -> recipes.Recipe | None:
    """Return the recipe of pretrained weights that `task.recipe` names.

    Returns:
        The recipe; None if the field is '', 'none' or missing.

    Raises:
        UserError: There is no such recipe.
    """
    name = config.task.get('recipe', '')
    if name in ('', 'none'):
        return None
    return recipes.named(name)


def as_weights(
    config: Config,
    of_dataset: Preprocessing,
    image_shape: Sequence[int | None],
    rules: Sequence[ResizeRule],
) -> Preprocessing:
    """Choose the preprocessing of the pretrained weights that a run begins with.

    A recipe in `task.recipe` comes before the weights in `train.init_from`, of which the first
    run or file with a preprocessing counts. If this is a run, `task.resize` and
    `data.image_size` override its preprocessing if they differ both from their defaults and from
    the run.

    Args:
        config: config of the run.
        of_dataset: preprocessing by dataset and config alone, without mean and std.
        image_shape: (height, width, channels) of all images; None for sides that differ.
        rules: resize rules that the task supports. If the rule of the weights is another one,
            a recipe or a file gets the rule and size of `of_dataset`. A run gets `task.resize`,
            or the first of `rules` if the task has no such field. The rule 'none' of a run
            stays if the images have the size and channels of its weights.

    Returns:
        The preprocessing of the weights, always with mean and std. `of_dataset` if there are no
        weights, or `task.recipe` is 'none'.

    Raises:
        UserError: The recipe is unknown. Or the weights were trained on images that are not
            square, and the dataset has images of another size.
    """
    recipe = find_recipe(config)
    origin = None
    if recipe:
        pretrained = recipe.at(config.data.image_size).preprocessing()
    else:
        origin = next(preprocessing.of_weights(config), None)
        if origin is None or config.task.get('recipe') == 'none':
            return of_dataset
        pretrained = origin.preprocessing
    if not pretrained.mean:
        # The weights were trained on images in [0, 1].
        channels = image_shape[2]
        pretrained = pretrained.with_statistics((0.0,) * channels, (1.0,) * channels)
    resize = config.task.get('resize', '')
    chosen = pretrained
    # A run has its own image size. The preprocessing of a file is for `data.image_size`.
    is_run = origin is not None and origin.image_size > 0
    if is_run:
        if _overrides(config, 'data.image_size', origin.image_size):
            chosen = _at_size(pretrained, of_dataset)
        is_resize_set = resize and _overrides(config, 'task.resize', pretrained.resize)
        if is_resize_set and chosen.resize != 'none':
            chosen = chosen.by_rule(resize)
    elif pretrained.resize not in rules:
        chosen = of_dataset.with_statistics(pretrained.mean, pretrained.std)
    is_ready = image_shape == (*chosen.size, len(chosen.mean))
    if chosen.resize in rules or (chosen.resize == 'none' and is_ready):
        return chosen
    return _by_rule(chosen, resize or rules[0])


def _at_size(pretrained: Preprocessing, of_dataset: Preprocessing) -> Preprocessing:
    """Adapt the preprocessing of weights to the image size of the dataset."""
    if 'none' in (of_dataset.resize, pretrained.resize):
        return of_dataset.with_statistics(pretrained.mean, pretrained.std)
    if pretrained.recipe:
        recipe = recipes.named(pretrained.recipe)
        return recipe.at(of_dataset.size[0]).preprocessing()
    return pretrained.resized(of_dataset.size)


def _by_rule(pretrained: Preprocessing, rule: ResizeRule) -> Preprocessing:
    """Change the resize rule of the preprocessing of weights; every rule makes squares.

    Raises:
        UserError: The weights were trained on images that are not square.
    """
    height, width = pretrained.size
    if height != width:
        raise UserError(
            f'train.init_from: expected images of {height}x{width} pixels, on which the '
            'weights were trained, but the dataset has other sizes or channels. Convert the '
            'images, or set data.image_size to a side that is neither its default nor that of '
            'the weights.'
        )
    return pretrained.by_rule(rule)


def _overrides(config: Config, field: str, of_weights: Value) -> bool:
    """Whether a field differs both from its default and from its value in the weights' run."""
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
    """Measure the mean and std of training images in [0, 1], and add them to a copy of a spec.

    Args:
        spec: spec of the run. It is returned unchanged if its preprocessing has a mean, as
            with pretrained weights.
        config: config of the run, which says how examples are read.
        source: the training examples.
        prepare: `(example, None) -> example`, without augmentation; None: not needed.
        pixels: `(batch) -> uint8 [N, H, W, C]`, the images to measure; None: 'image'. It must
            leave out rows that are padding, where `batch['present']` is False.
        most: largest number of examples that are read, evenly spaced in the split.

    Raises:
        UserError: There is no image to measure, or an example is unreadable and
            data.on_corrupt is 'stop'.
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
    """Measure the mean and std of each channel, for images in [0, 1].

    An unreadable example is left out with data.on_corrupt='replace'.

    Args:
        config: config of the run, which says how examples are read.
        source: the examples.
        prepare: `(example, None) -> example`, without augmentation; None: not needed.
        pixels: `(batch) -> uint8 [N, H, W, C]`, the images to measure. It must leave out rows
            that are padding, where `batch['present']` is False.
        most: largest number of examples that are read, evenly spaced in the split.

    Returns:
        (mean of each channel, std of each channel; at least 0.001).

    Raises:
        UserError: There is no image to measure, or an example is unreadable and
            data.on_corrupt is 'stop'.
    """
    rows = evenly_spaced(len(source), most)
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
    if not count:
        info = source.info
        raise UserError(
            f'the split {info.split!r} of {info.name} has no images to measure their mean '
            'and std: expected at least 1. Name another split.'
        )
    mean = total / count
    # Rounding can make the variance of a constant channel negative.
    variance = np.maximum(squares / count - mean**2, 0)
    std = np.maximum(np.sqrt(variance), 1e-3)
    return mean.tolist(), std.tolist()


def make_prepare(config: Config, spec: Spec) -> Prepare | None:
    """Build the host function that decodes and resizes images; None if no image needs it.

    The function replaces 'image' of an example by uint8 [height, width, channels]. No image
    needs it if the resize rule of the preprocessing is 'none'. In training, where the
    function gets a random generator, it makes random resized crops if `task.crop_scale` is below
    1. This is the smallest fraction of the image area in a crop.
    """
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
    """Build the function that decodes and resizes an image to the model's input.

    Args:
        preprocessing: size and resize rule: 'none', 'stretch', 'center_crop', 'central_square' or
            'shorter_side'. With 'none', images of another size are stretched. All other
            rules make squares of the height in `size`. A 'center_crop' shows 7/8 of the
            shorter side, a 'central_square' all of it. With 'shorter_side', this side
            becomes `preprocessing.shorter` pixels, then the centre is cropped.
        channels: 1 or 3.

    Returns:
        `(encoded bytes, path or uint8 array) -> uint8 [height, width, channels]`.
    """
    height, width = preprocessing.size
    rule = preprocessing.resize
    if rule == 'none':
        return lambda image: resizing.resize(
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


def augment_images(
    options: Config,
    key: PRNGKeyArray,
    index: Int[Array, 'b'],
    images: Images,
    targets: Float[Array, 'b k'],
) -> tuple[Images, Float[Array, 'b k']]:
    """Augment images and targets at random, with one random key per example.

    The order is flip, shift, rotation, colour, RandAugment, cutout, then mixup or
    CutMix. Mixup and CutMix combine the examples 2i and 2i + 1. If both are on, one of
    the two is chosen at random for the whole batch.

    Args:
        options: `config.task.augment`. An augmentation is off if its field is 0 or False.
        key: random key of the step.
        index: row of each example in its split, from which its random key is made.
        images: images in [0, 1], [B, H, W, C].
        targets: target probability of each class, [B, K].

    Returns:
        (images, targets). Only mixup and CutMix change the targets.

    Raises:
        ValueError: Mixup or CutMix is on, and the batch size is odd.
    """
    side = min(images.shape[1:3])
    hole = max(1, round(options.cutout * side))

    def example_keys(name):
        return keys.per_example(keys.stream(key, name), index)

    def jitter(key, image):
        return color.random_jitter(key, image, options.color)

    def randaugment(key, image):
        return augment.randaugment(key, image, options.randaugment, magnitude=9)

    def cutout(key, image):
        return augment.cutout(key, image, hole)

    images = augment_geometry(options, key, index, images)
    if options.color:
        images = jax.vmap(jitter)(example_keys('color'), images)
    if options.randaugment:
        images = jax.vmap(randaugment)(example_keys('randaugment'), images)
    if options.cutout:
        images = jax.vmap(cutout)(example_keys('cutout'), images)

    def mixup():
        return augment.mixup(example_keys('mixup'), images, targets, options.mixup)

    def cutmix():
        return augment.cutmix(example_keys('mixup'), images, targets, options.cutmix)

    if options.mixup and options.cutmix:
        is_mixup = jax.random.bernoulli(keys.stream(key, 'mix'))
        return jax.lax.cond(is_mixup, mixup, cutmix)
    if options.mixup:
        return mixup()
    if options.cutmix:
        return cutmix()
    return images, targets


def augment_geometry(
    options: Config,
    key: PRNGKeyArray,
    index: Int[Array, 'b'],
    images: Images,
) -> Images:
    """Flip, shift and rotate images at random, with one random key per example.

    Args:
        options: `config.task.augment` with 'flip' (left and right are exchanged in half
            of the images), 'translate' (largest shift as a fraction of the shorter
            side, at least a pixel) and 'rotate' (largest angle in degrees, in both
            directions). Each is off if it is 0.
        key: random key of the step.
        index: row of each example in its split, from which its random key is made.
        images: images in [0, 1], [B, H, W, C].

    Returns:
        Images of the same shape, black where nothing moved in.
    """
    side = min(images.shape[1:3])
    shift = max(1, round(options.translate * side))

    def example_keys(name):
        return keys.per_example(keys.stream(key, name), index)

    def translate(key, image):
        return geometry.random_translate(key, image, shift)

    def rotate(key, image):
        return geometry.random_rotate(key, image, options.rotate)

    if options.flip:
        images = jax.vmap(geometry.random_flip)(example_keys('flip'), images)
    if options.translate:
        images = jax.vmap(translate)(example_keys('translate'), images)
    if options.rotate:
        images = jax.vmap(rotate)(example_keys('rotate'), images)
    return images
