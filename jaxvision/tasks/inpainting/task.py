"""Inpainting: what is missing from an image, filled in from what is around it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.core import keys
from jaxvision.core.errors import UserError, unknown
from jaxvision.core.task import Evaluation, Task
from jaxvision.data import decode
from jaxvision.data.wrappers import Numbered
from jaxvision.image import color, fill, masks
from jaxvision.tasks.shared import feature_extractor, image_input, image_restoration
from jaxvision.tasks.shared.networks import make_model
from jaxvision.viz import figures

DEFAULTS = dict(
    mask='box',  # what is missing: a 'box' anywhere, 'free_form' strokes of a brush, the 'border'
    hole=12,  # side of the box, pixels
    share=0.25,  # of the image, under the brush
    margin=4,  # width of the border, pixels
    crop=0,  # side of the random crops that are trained on, pixels; 0: whole images
    crop_scale=0.5,  # smallest share of the area in a random resized crop of larger, unequal images
    augment=dict(
        flip=False,  # left to right, every other image
        translate=0.0,  # largest shift, a share of the side
        rotate=0.0,
    ),  # largest angle, degrees
    **{**image_restoration.DEFAULTS, 'loss': 'mse', 'adversarial_loss': 'hinge'},
)


def source(config, source, split: str):
    return Numbered(source)


def requires(config) -> dict:
    if not config.task.perceptual:
        return {}
    return {'judge': feature_extractor.required(config, config.task.judge)}


def describe(config, source) -> dict:
    """Images of one size stay as they are; larger or unequal ones are brought to
    `data.image_size`, in evaluation by their central square."""
    info, size = source.info, config.data.image_size
    info.check_holds('image', 'label')
    height, width, channels = info.image_shape
    as_it_is = None not in (height, width) and max(height, width) <= size
    height, width = (height, width) if as_it_is else (size, size)
    overlap = min(height, width) // 4
    return {
        'inputs': {
            'image': {'shape': [height, width, channels], 'dtype': 'uint8'},
            'mask': {'shape': [height, width, 1], 'dtype': 'uint8'},
        },
        'targets': {},
        'resize': None if as_it_is else 'center_crop',
        # The plate knows the whole tile, so tiles fade into each other.
        'restores': {'scale': 1, 'overlap': overlap, 'blend': overlap},
    }


def make(config, spec: dict) -> Task:
    _check(config, spec)
    c, dtype = config.task, jnp.dtype(config.model.param_dtype)
    model = make_model(config, channels=spec['inputs']['image']['shape'][-1])

    def restore(params, model_state, image, hole, **train):
        """The image [0, 1] with its hole filled: smoothly, and by what the network adds to that;
        with train=True also the new model state."""
        smooth = plate(image, hole)
        answer = model.apply({'params': params, **model_state}, smooth, hole, **train)
        (more, _), *new = answer if train else (answer,)
        return jnp.where(hole, smooth + more, image), *new

    def blank(batch):
        image = color.to_float(batch['image'], dtype)
        return (image, jnp.zeros((*image.shape[:3], 1), bool)), image

    def read(state, batch):
        """((images, their holes), images), augmented."""
        key = keys.at_step(state.key, 'read', state.step)
        image = image_input.moved(
            c.augment, key, batch['index'], color.to_float(batch['image'], dtype)
        )
        drawn = keys.per_example(keys.stream(key, 'mask'), batch['index'])
        return (image, jax.vmap(draw_mask(c, spec, image.shape[1:3]))(drawn)), image

    def of_missing(errors, given):
        """Errors are zero outside the hole."""
        image, hole = given
        missing = image.shape[-1] * hole.sum((1, 2, 3), dtype=dtype)
        return errors.sum((1, 2, 3)), missing

    init, update = image_restoration.make(
        config,
        spec,
        image_restoration.Damage(
            blank,
            read,
            init=lambda key, given: model.init(key, *given),
            restore=lambda params, model_state, given: restore(
                params, model_state, *given, train=True, mutable=list(model_state)
            ),
            error=of_missing,
            shown=lambda image, given: jnp.concatenate(
                [2 * image - 1, given[1].astype(image.dtype)], -1
            ),
        ),
    )

    def predict(variables, inputs):
        given = jnp.asarray(inputs['image'])
        hole = jnp.asarray(inputs['mask'], dtype) > 0  # TFLite compares no uint8
        (filled,) = restore(
            variables['params']['model'],
            variables['model_state']['model'],
            color.to_float(given, dtype),
            hole,
        )
        # Pixels outside the hole are the given ones, not what is left of them after a division.
        return {
            'image': jnp.where(hole, 255 * jnp.clip(filled, 0, 1), given.astype(dtype))
        }

    record = functools.partial(compare, dtype)
    evaluation = Evaluation(
        'test',
        lambda state, batch: record(predict(state.variables, batch), batch),
        summarize,
        record,
    )
    return Task(
        init,
        update,
        {'eval': evaluation},
        predict,
        'eval/psnr_hole',
        make_prepare(config, spec),
        draw_strips,
        watch=True,
    )


def plate(image, hole):
    """The holes of images [B, H, W, C] in [0, 1] filled smoothly."""
    return jnp.clip(jax.vmap(fill.thin_plate)(image, hole), 0, 1)


def compare(dtype, outputs: dict, batch: dict) -> dict:
    """Of each image: the squared errors in its hole, of the answer and of the smooth filling alone,
    and how many values are missing."""
    truth, hole = color.to_float(batch['image'], dtype), batch['mask'] > 0

    def squared_error(image):
        return jnp.square(image - truth).sum((1, 2, 3))

    return {
        'squared_error': squared_error(outputs['image'] / 255),
        'plate_squared_error': squared_error(plate(truth, hole)),
        'missing': truth.shape[-1] * hole.sum((1, 2, 3), dtype=jnp.int32),
        'filled': jnp.round(outputs['image']).astype(jnp.uint8),
    }


def draw_mask(options, spec: dict, size: tuple[int, int]):
    """key -> the hole [H, W, 1] of an image, or of a crop of one: then the brush is as wide as in
    the whole."""
    whole = tuple(spec['inputs']['image']['shape'][:2])
    return {
        'box': lambda key: masks.box(key, size, options.hole),
        'border': lambda key: masks.border(size, options.margin),
        'free_form': lambda key: masks.free_form(key, whole, options.share)[
            : size[0], : size[1]
        ],
    }[options.mask]


def make_prepare(config, spec: dict):
    """Host side: images of one size; random crops to train on, else a hole that is a function of
    the example's row alone."""
    c, (height, width, channels) = config.task, spec['inputs']['image']['shape']
    draw = jax.jit(
        lambda row: draw_mask(c, spec, (height, width))(
            jax.random.fold_in(keys.stream(jax.random.key(0), 'evaluation'), row)
        )
    )

    def fitting(image, rng):
        if spec['resize'] is None:
            return image
        if rng is None:
            return decode.resize_center_crop(image, height, channels, fraction=1.0)
        return decode.random_resized_crop(
            image, rng, height, channels, (c.crop_scale, 1.0)
        )

    def prepare(example, rng):
        image, row = fitting(example['image'], rng), example.get('row')
        if rng is None and row is not None:
            mask = {'mask': 255 * np.asarray(draw(row)).astype(np.uint8)}
        elif rng is not None and c.crop:
            mask, (top, left) = (
                {},
                rng.integers(0, (height - c.crop, width - c.crop), endpoint=True),
            )
            image = image[top : top + c.crop, left : left + c.crop]
        else:
            mask = {}
        rest = {name: value for name, value in example.items() if name != 'row'}
        return {**rest, 'image': image, **mask}

    return prepare


def summarize(records: dict) -> dict[str, float]:
    """psnr_hole, dB: of all missing values of the split together; plate_psnr_hole: of what the
    network adds to; mse_hole."""

    def mean(name):
        return records[name].sum(dtype=np.float64) / records['missing'].sum()

    def psnr(mse):
        return float(-10 * np.log10(max(mse, 1e-10)))

    mse = mean('squared_error')
    return {
        'psnr_hole': psnr(mse),
        'plate_psnr_hole': psnr(mean('plate_squared_error')),
        'mse_hole': float(mse),
    }


def draw_strips(records: dict, example) -> dict[str, np.ndarray]:
    """Of a few images: given, filled, truth."""
    images = []
    for i in np.unique(np.linspace(0, len(records['index']) - 1, 16).astype(int)):
        truth = example(int(records['index'][i]))
        given = np.where(truth['mask'] > 0, np.uint8(127), truth['image'])
        images += [given, records['filled'][i], truth['image']]
    return {
        'strips': figures.grid(
            images, columns=6, times=max(1, 96 // images[0].shape[0])
        )
    }


def _check(config, spec: dict) -> None:
    c, side = config.task, min(spec['inputs']['image']['shape'][:2])
    if c.mask not in ('box', 'free_form', 'border'):
        raise unknown('task.mask: there is no', c.mask, ('box', 'free_form', 'border'))
    if not 0 <= c.crop <= side:
        raise UserError(
            f'task.crop={c.crop}: images have {side} pixels a side; 0: whole images'
        )
    smallest = c.crop or side
    if c.mask == 'box' and not 0 < c.hole <= smallest:
        raise UserError(f'task.hole={c.hole}: 1 to {smallest} pixels')
    if c.mask == 'border' and not 0 < 2 * c.margin < smallest:
        raise UserError(
            f'task.margin={c.margin}: at least 1, less than half of {smallest} pixels'
        )
    if c.mask == 'free_form' and not 0 < c.share <= 1:
        raise UserError(f'task.share={c.share}: a share of the image, above 0, up to 1')
    if not 0 < c.crop_scale <= 1:
        raise UserError(f'task.crop_scale={c.crop_scale}: it is above 0, up to 1')
    image_input.check_moves(c.augment)
