"""Super-resolution: an image several times as large, learned from good images made poor.

With `adversarial` it is SRGAN (Ledig et al. 2017, arXiv 1609.04802), in turn with a discriminator
of patches.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.core import keys
from jaxvision.core.errors import UserError, unknown
from jaxvision.core.task import Evaluation, Task
from jaxvision.data import decode
from jaxvision.data.protocol import Unreadable
from jaxvision.image import color, degrade, geometry
from jaxvision.metrics import restoration
from jaxvision.models.generators import edsr
from jaxvision.tasks.shared import feature_extractor, image_restoration
from jaxvision.tasks.shared.networks import make_model
from jaxvision.viz import figures

DEFAULTS = dict(
    scale=2,  # 2, 3 or 4 times as large
    patch=24,  # side of the crops that are learned from, low-resolution pixels
    degradation=dict(
        blur=0.0,  # deviation of a Gaussian, high-resolution pixels
        noise=0.0,  # deviation of Gaussian noise on the low-resolution image, of 1
        jpeg=0,
    ),  # quality of the low-resolution image, 1 to 100; 0: not compressed
    pool='image',  # PSNR is of single 'image's, or of all that share a 'label'
    tile=96,  # least side of the pieces that `predict` cuts, low-resolution pixels
    **image_restoration.DEFAULTS,
)

REACH = 16  # of a model that does not tell its own


def requires(config) -> dict:
    """The package's own classifier sees patches as large as those that are learned from."""
    c = config.task
    if not c.perceptual:
        return {}
    network = feature_extractor.required(config, c.judge)
    if network.config:
        network.config.data.image_size = c.patch * c.scale
        network.config.task.crop_scale = 0.25
    return {'judge': network}


def describe(config, source) -> dict:
    """`crop` is the side of the central crop that is evaluated, high-resolution pixels: the whole
    image where all have one size, or `data.image_size`."""
    c, info = config.task, source.info
    info.check_holds('image', 'label')
    height, width, channels = info.image_shape
    crop = (
        min(side for side in (height, width, config.data.image_size) if side)
        // c.scale
        * c.scale
    )
    if not 0 < c.patch <= crop // c.scale:
        raise UserError(
            f'task.patch={c.patch}: up to {crop // c.scale}, of crops of {crop}x{crop} '
            f'pixels (the images, or data.image_size) made {c.scale} times smaller'
        )
    patch = c.patch * c.scale
    spec = {
        'class_names': list(info.class_names),
        'crop': crop,
        'restores': {'scale': c.scale},
        'inputs': {'image': {'shape': [c.tile, c.tile, channels], 'dtype': 'uint8'}},
        'targets': {'truth': {'shape': [patch, patch, channels], 'dtype': 'uint8'}},
    }
    # So that the tiles of an image are answered as the whole is.
    model = make_model(config, scale=c.scale, channels=channels)
    overlap = 2 * getattr(model, 'reach', REACH)
    spec['restores']['overlap'] = overlap
    tile = max(c.tile, crop // c.scale, 2 * overlap)
    spec['inputs']['image']['shape'] = [tile, tile, channels]
    return spec


def make(config, spec: dict) -> Task:
    _check(config)
    c, dtype = config.task, jnp.dtype(config.model.param_dtype)
    channels = spec['inputs']['image']['shape'][-1]
    model = make_model(config, scale=spec['restores']['scale'], channels=channels)

    def blank(batch):
        return color.to_float(batch['image'], dtype), color.to_float(
            batch['truth'], dtype
        )

    def read(state, batch):
        """(low resolution, truth) of each crop, turned and mirrored at random."""
        key = keys.at_step(state.key, 'read', state.step)
        turns = keys.per_example(keys.stream(key, 'dihedral'), batch['index'])
        truth = jax.vmap(geometry.random_dihedral)(
            turns, color.to_float(batch['truth'], dtype)
        )
        return made_poor(c, key, batch['index'], truth), truth

    def enlarge(params, model_state, low):
        """The images in [0, 1] or a little beyond, and the running statistics of these."""
        (image, _), new = model.apply(
            {'params': params, **model_state},
            low,
            train=True,
            mutable=list(model_state),
        )
        return image, new

    init, update = image_restoration.make(
        config,
        spec,
        image_restoration.Damage(
            blank,
            read,
            model.init,
            enlarge,
            error=lambda errors, low: (
                image_restoration.per_image(errors),
                jnp.ones(len(low), dtype),
            ),
            shown=lambda image, low: 2 * image - 1,
        ),
    )

    def predict(variables, inputs):
        low = color.to_float(jnp.asarray(inputs['image']), dtype)
        image, _ = model.apply(
            {
                'params': variables['params']['model'],
                **variables['model_state']['model'],
            },
            low,
        )
        return {'image': 255 * jnp.clip(image, 0, 1)}

    return Task(
        init,
        update,
        {'eval': _evaluation(c, spec, predict, dtype)},
        predict,
        'eval/psnr_y',
        make_prepare(config, spec),
        draw_strips,
        watch=True,
    )


def _evaluation(options, spec: dict, predict, dtype) -> Evaluation:
    tile, scale = spec['inputs']['image']['shape'][0], options.scale

    def low_resolution(batch):
        key = keys.stream(jax.random.key(0), 'evaluation')  # of all seeds the same
        return made_poor(
            options, key, batch['index'], color.to_float(batch['truth'], dtype)
        )

    def inputs(batch):
        return {
            'image': _padded(
                jnp.round(255 * low_resolution(batch)).astype(jnp.uint8), tile
            )
        }

    def record(outputs, batch):
        start = (tile - spec['crop'] // scale) // 2 * scale
        inside = slice(start, start + spec['crop'])
        bicubic = jnp.clip(edsr.bicubic(low_resolution(batch), scale), 0, 1)
        truth = color.to_float(batch['truth'], dtype)
        return {
            **jax.vmap(functools.partial(compare, border=scale))(
                outputs['image'][:, inside, inside] / 255, bicubic, truth
            ),
            'label': batch['label'],
        }

    def evaluate(state, batch):
        return record(predict(state.variables, inputs(batch)), batch)

    of_split = functools.partial(summarize, options.pool, spec['class_names'])
    return Evaluation('test', evaluate, of_split, record, inputs)


def _check(config) -> None:
    c = config.task
    if c.pool not in ('image', 'label'):
        raise unknown('task.pool: there is no', c.pool, ('image', 'label'))
    for name in ('blur', 'noise'):
        if c.degradation[name] < 0:
            raise UserError(
                f'task.degradation.{name}={c.degradation[name]}: it is at least 0'
            )
    if not 0 <= c.degradation.jpeg <= 100:
        raise UserError(
            f'task.degradation.jpeg={c.degradation.jpeg}: 1 to 100, or 0 for none'
        )
    if c.tile < 1:
        raise UserError(f'task.tile={c.tile}: it is at least 1')


def made_poor(options, key, index, images):
    """What is given for these images [B, H, W, C]: smaller by the scale, and otherwise degraded."""
    worsen = functools.partial(
        degrade.degrade, scale=options.scale, **options.degradation
    )
    return jax.vmap(worsen)(
        keys.per_example(keys.stream(key, 'degrade'), index), images
    )


def _padded(images, side: int):
    """Mirrored outwards to a tile, so that the network sees no edge where the image goes on."""
    missing = side - images.shape[1]
    around = missing // 2, missing - missing // 2
    return jnp.pad(images, ((0, 0), around, around, (0, 0)), mode='symmetric')


def make_prepare(config, spec: dict):
    """Host side: a random crop to learn from, or the central one that is evaluated."""
    channels, patch = (
        spec['inputs']['image']['shape'][-1],
        config.task.patch * config.task.scale,
    )

    def prepare(example, rng):
        image, size = (
            decode.decode(example['image'], channels),
            patch if rng else spec['crop'],
        )
        spare = np.array(image.shape[:2]) - size
        if spare.min() < 0:
            height, width, _ = image.shape
            raise Unreadable(
                f'{width}x{height} pixels are less than the crops of {size}x{size}'
            )
        top, left = rng.integers(0, spare, endpoint=True) if rng else spare // 2
        return {
            'truth': image[top : top + size, left : left + size],
            'label': example['label'],
        }

    return prepare


def compare(restored, bicubic, truth, border: int) -> dict:
    """Of one image: errors and SSIM of both answers, in 8 bits as a file holds them, on luma and
    RGB; and a strip of its middle: bicubic, restored, truth. Where no window fits there is no SSIM.
    """
    restored, bicubic = (jnp.round(255 * image) / 255 for image in (restored, bicubic))
    spaces = {'y': restoration.luma}
    if truth.shape[-1] == 3:
        spaces['rgb'] = lambda image: image
    found = {}
    for prefix, image in (('', restored), ('bicubic_', bicubic)):
        for space, of in spaces.items():
            pair = of(image), of(truth)
            found[f'{prefix}error_{space}'] = restoration.squared_error(*pair, border)
            if min(truth.shape[:2]) >= restoration.WINDOW + 2 * border:
                found[f'{prefix}ssim_{space}'] = restoration.ssim(*pair, border)
    strip = jnp.concatenate([_middle(image) for image in (bicubic, restored, truth)], 1)
    return {**found, 'strip': jnp.round(255 * strip).astype(jnp.uint8)}


def _middle(image, most: int = 96):
    side = min(most, image.shape[0])
    start = (image.shape[0] - side) // 2
    return image[start : start + side, start : start + side]


def summarize(pool: str, class_names: list[str], records: dict) -> dict[str, float]:
    """psnr in dB and ssim, on luma ('_y') and RGB ('_rgb'), the scale's border left out; 'bicubic':
    those of the bicubic image; gain_y: how much better the PSNR on luma is than bicubic's.

    With pool='label' the squared errors of a class's images are averaged first, as those of the
    tiles of one photograph, and every class counts alike; psnr_y/CLASS is its own. No image or
    class counts more than 100 dB.
    """
    names, pools = np.unique(
        records['label' if pool == 'label' else 'index'], return_inverse=True
    )

    def average(name):
        return np.bincount(pools, records[name].astype(np.float64)) / np.bincount(pools)

    def psnr(name):
        return -10 * np.log10(np.maximum(average(name), 1e-10))

    found = {}
    for space in [space for space in ('y', 'rgb') if f'error_{space}' in records]:
        found |= {
            f'psnr_{space}': psnr(f'error_{space}'),
            f'bicubic_{space}': psnr(f'bicubic_error_{space}'),
        }
        found |= {
            f'{prefix}ssim_{space}': average(f'{prefix}ssim_{space}')
            for prefix in ('', 'bicubic_')
            if f'ssim_{space}' in records
        }
    singles = dict(zip(names, found['psnr_y'])) if pool == 'label' else {}
    found = {name: float(values.mean()) for name, values in found.items()}
    return {
        'psnr_y': found['psnr_y'],
        'gain_y': found['psnr_y'] - found['bicubic_y'],
        **found,
        **{
            f'psnr_y/{class_names[label]}': float(value)
            for label, value in singles.items()
        },
    }


def draw_strips(records: dict, example) -> dict[str, np.ndarray]:
    """Of a few images: bicubic, restored, truth."""
    some = np.unique(np.linspace(0, len(records['strip']) - 1, 8).astype(int))
    return {'strips': figures.grid(list(records['strip'][some]), columns=2)}
