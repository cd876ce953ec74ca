"""Images on their way to a model: brought to one size on the host, moved about on the device."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxvision.core import keys
from jaxvision.core.errors import UserError, unknown
from jaxvision.data import decode, pillow_resize, pipeline
from jaxvision.data.wrappers import Subset
from jaxvision.image import augment, color, geometry
from jaxvision.pretrained import recipes, weights_file
from jaxvision.train import init_from, processes


def describe(config, info) -> dict:
    """The spec of images as the model sees them: as they are, resized by the task's rule, or as of
    published weights, with the mean and deviation of those."""
    recipe = find_recipe(config)
    if recipe:
        size = config.data.image_size
        return {
            **recipe.at(size).spec(),
            'inputs': {'image': {'shape': [size, size, 3], 'dtype': 'uint8'}},
        }
    size, (height, width, channels) = config.data.image_size, info.image_shape
    as_it_is = None not in (height, width) and max(height, width) <= size
    shape = [height, width, channels] if as_it_is else [size, size, channels]
    return {
        'inputs': {'image': {'shape': shape, 'dtype': 'uint8'}},
        'resize': None if as_it_is else config.task.resize,
    }


def normalized(spec: dict, measure: Callable[[], dict]) -> dict:
    """The spec with 'mean' and 'deviation': the recipe's, if it has one, or as they are measured."""
    if 'recipe' not in spec:
        return {**spec, **measure()}
    how = recipes.named(spec['recipe'])
    processes.say(f'images as of {how.at(spec["inputs"]["image"]["shape"][0])}')
    return spec


def find_recipe(config) -> recipes.Recipe | None:
    """How published weights see, where the run begins with a file of them; or `task.recipe`."""
    if config.task.recipe:
        return (
            recipes.named(config.task.recipe) if config.task.recipe != 'none' else None
        )
    files = [
        path for path in init_from.sources(config.train.init_from) if path.is_file()
    ]
    return weights_file.identify(files[0], config.model.name).recipe if files else None


def statistics(
    config,
    source,
    prepare,
    pixels=lambda batch: batch['image'][batch['present']],
    most: int = 512,
) -> dict[str, list[float]]:
    """'mean' and 'deviation' of each channel, in [0, 1], over `most` examples spread over the
    split; `pixels(batch)` are the images [N, H, W, C] of it that count."""
    rows = np.linspace(0, len(source) - 1, min(len(source), most)).astype(int)
    total, squares, count = 0.0, 0.0, 0
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
    deviation = np.maximum(np.sqrt(np.maximum(squares / count - mean**2, 0)), 1e-3)
    return {'mean': mean.tolist(), 'deviation': deviation.tolist()}


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
            image = decode.random_resized_crop(
                example['image'], rng, size, channels, scale
            )
        return {**example, 'image': image}

    return prepare


def make_resize(shape: list[int], rule: str | dict | None):
    """Encoded image -> uint8 pixels of this shape, by a rule or a recipe's for squares, or
    stretched."""
    height, width, channels = shape
    if rule is None:
        return lambda image: decode.resize(
            decode.decode(image, channels), height, width
        )
    if isinstance(rule, dict):
        return lambda image: pillow_resize.resize_then_crop(
            image, height, channels, **rule
        )
    rules = {'squash': decode.squash, 'center_crop': decode.resize_center_crop}
    if rule not in rules:
        raise unknown('task.resize: there is no rule', rule, rules)
    return lambda image: rules[rule](image, height, channels)


def check_moves(options) -> None:
    if not 0 <= options.translate <= 1:
        raise UserError(
            f'task.augment.translate={options.translate}: a share of the side, 0 to 1'
        )
    if options.rotate < 0:
        raise UserError(f'task.augment.rotate={options.rotate}: it is at least 0')


def augmented(options, key, index, images, targets) -> tuple[Any, Any]:
    """Images [B, H, W, C] in [0, 1] and targets [B, K], each example under its own keys."""
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


def moved(options, key, index, images):
    """Images [B, H, W, C] in [0, 1] mirrored, shifted and turned, each under its own keys."""

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
