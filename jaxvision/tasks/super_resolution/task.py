"""Super-resolution: an image several times as large, learned from degraded images.

With `adversarial` it is SRGAN (Ledig et al. 2017, arXiv 1609.04802), with a discriminator
of patches.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, UInt8

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config, Field, Fields
from jaxvision.core.spec import ArraySpec, Spec
from jaxvision.core.state import TrainState
from jaxvision.core.task import (
    Evaluation,
    Network,
    RequiredNetwork,
    Scalars,
    Task,
    Tiling,
)
from jaxvision.core.types import Batch, Module, Prepare, Tree
from jaxvision.data import decode
from jaxvision.data.protocol import Source, Unreadable
from jaxvision.image import color, degrade, geometry
from jaxvision.models.generators import edsr
from jaxvision.tasks.shared import image_restoration
from jaxvision.tasks.shared.networks import make_model
from jaxvision.tasks.super_resolution import metrics

FIELDS: Fields = {
    'scale': Field(2, 'How many times as large the image becomes.', least=1),
    'patch': Field(
        24, 'Side of the crops of training, low-resolution pixels.', least=1
    ),
    'degradation': {
        'blur': Field(
            0.0, 'Standard deviation of a Gaussian, high-resolution pixels.', least=0
        ),
        'noise': Field(
            0.0,
            'Standard deviation of Gaussian noise at low resolution, as a fraction of '
            'the range.',
            least=0,
        ),
        'jpeg': Field(
            0,
            'JPEG quality of the low-resolution image; 0: not compressed.',
            least=0,
            most=100,
        ),
    },
    'psnr_pool': Field(
        'image',
        'PSNR of single images, or of all images that share a label.',
        choices=('image', 'label'),
    ),
    'tile': Field(
        96, 'Smallest side of the tiles of predict, low-resolution pixels.', least=1
    ),
    **image_restoration.FIELDS,
}

REACH = 16  # pixels, of a model that does not declare its reach


@dataclasses.dataclass(frozen=True)
class Details:
    """What the spec of a super-resolution run holds beyond `Spec`.

    Attributes:
        crop: side of the central crop that is evaluated, high-resolution pixels.
    """

    crop: int


def requires(config: Config) -> dict[str, RequiredNetwork]:
    """The feature extractor; a classifier of its own sees patches as large as training's."""
    networks = image_restoration.requires(config)
    for network in networks.values():
        if network.config:
            network.config.data.image_size = config.task.patch * config.task.scale
            network.config.task.crop_scale = 0.25
    return networks


def describe(config: Config, source: Source) -> Spec:
    """Describe the tiles, and the crops of training and evaluation.

    The evaluated crop is the whole image where all images have one size, or
    `data.image_size`, rounded down to a multiple of the scale.

    Raises:
        UserError: The crops are smaller than `task.patch`.
    """
    options = config.task
    info = source.info
    info.check_holds('image', 'label')
    height, width, channels = info.image_shape
    scale = options.scale
    side = min(length for length in (height, width, config.data.image_size) if length)
    low_side = side // scale
    crop = low_side * scale
    if options.patch > low_side:
        raise UserError(
            f'task.patch={options.patch}: expected at most {low_side}. The crops have '
            f'{crop}x{crop} pixels (the images, or data.image_size) and become {scale} '
            'times smaller.'
        )
    model = make_model(config, scale=scale, channels=channels)
    tile = max(options.tile, low_side, 2 * _tiling(scale, model).overlap)
    patch = options.patch * scale
    return Spec(
        inputs={'image': ArraySpec((tile, tile, channels))},
        targets={'truth': ArraySpec((patch, patch, channels))},
        class_names=tuple(info.class_names),
        details=Details(crop=crop),
    )


def _tiling(scale: int, model: Module) -> Tiling:
    """The overlap covers the reach, so tiles give the same pixels as the whole image."""
    return Tiling(scale=scale, overlap=2 * getattr(model, 'reach', REACH))


def make(config: Config, spec: Spec) -> Task:
    """Build the task of a network that enlarges images."""
    upscaler = Upscaler.build(config, spec)
    init, update = image_restoration.make(config, spec, upscaler)
    return Task(
        init=init,
        update=update,
        evaluations={'eval': upscaler.evaluation()},
        main_evaluation='eval',
        predict=upscaler.predict,
        predictor='restoration',
        tiling=_tiling(config.task.scale, upscaler.model),
        network=Network(normalize=upscaler.normalize, apply=upscaler.apply),
        best='psnr_y',
        prepare=make_prepare(config, spec),
        figures=metrics.draw_strips,
        watch=True,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Upscaler:
    """A network that enlarges images, and the degradation that makes them small.

    Attributes:
        options: `config.task`.
        spec: spec of the run.
        model: `(image [B, h, w, C]) -> (image [B, H, W, C], intermediates)`.
        dtype: dtype of the images.
    """

    options: Config
    spec: Spec
    model: Module
    dtype: DTypeLike

    @classmethod
    def build(cls, config: Config, spec: Spec) -> 'Upscaler':
        _, _, channels = spec.inputs['image'].shape
        scale = config.task.scale
        return cls(
            options=config.task,
            spec=spec,
            model=make_model(config, scale=scale, channels=channels),
            dtype=jnp.dtype(config.model.param_dtype),
        )

    def blank(self, batch: Batch) -> tuple[Array, Array]:
        """As `image_restoration.Restorer`."""
        low = color.to_float(batch['image'], self.dtype)
        return low, color.to_float(batch['truth'], self.dtype)

    def degrade(self, state: TrainState, batch: Batch) -> tuple[Array, Array]:
        """Make (low resolution, truth) of each crop, turned and mirrored at random."""
        key = keys.at_step(state.key, 'read', state.step)
        turns = keys.per_example(keys.stream(key, 'dihedral'), batch['index'])
        truth = jax.vmap(geometry.random_dihedral)(
            turns, color.to_float(batch['truth'], self.dtype)
        )
        return degrade_images(self.options, key, batch['index'], truth), truth

    def init(self, key: jax.Array, degraded: Array) -> Tree:
        """Draw the model's variables."""
        return self.model.init(key, degraded)

    def restore(
        self, params: Tree, model_state: Tree, degraded: Array
    ) -> tuple[Array, Tree]:
        """Enlarge images in training; they may lie a little outside of [0, 1]."""
        (image, _), model_state = self.model.apply(
            {'params': params, **model_state},
            degraded,
            train=True,
            mutable=list(model_state),
        )
        return image, model_state

    def error(self, errors: Array, degraded: Array) -> tuple[Array, Array]:
        """The mean error of each image, all images with the same weight."""
        weights = jnp.ones(len(degraded), self.dtype)
        return image_restoration.per_image(errors), weights

    def discriminated(self, image: Array, degraded: Array) -> Array:
        """The image in [-1, 1]."""
        return 2 * image - 1

    def normalize(self, pixels: Float[Array, '...']) -> Float[Array, '...']:
        """Return the pixels: the model takes them in [0, 1]."""
        return pixels

    def apply(self, variables: Tree, image: Array) -> tuple[Array, Scalars]:
        """The enlarged images, both in about [0, 1], and named intermediates."""
        params = variables['params']['model']
        model_state = variables['model_state']['model']
        return self.model.apply({'params': params, **model_state}, image)

    def predict(self, variables: Tree, inputs: Batch) -> Batch:
        """The enlarged images in [0, 255]."""
        low = color.to_float(jnp.asarray(inputs['image']), self.dtype)
        image, _ = self.apply(variables, low)
        return {'image': 255 * jnp.clip(image, 0, 1)}

    def evaluation(self) -> Evaluation:
        """PSNR and SSIM on the test split."""
        pool = self.options.psnr_pool
        class_names = self.spec.class_names
        _, _, channels = self.spec.inputs['image'].shape
        return Evaluation(
            evaluate=self.evaluate,
            summarize=functools.partial(metrics.summarize, pool, class_names),
            metrics=metrics.names(
                self.spec.details.crop,
                channels,
                border=self.options.scale,
                pooled_classes=class_names if pool == 'label' else (),
            ),
            record=self.record,
            inputs=self.evaluation_inputs,
        )

    def evaluate(self, state: TrainState, batch: Batch) -> Batch:
        """The records of a batch."""
        inputs = self.evaluation_inputs(batch)
        return self.record(self.predict(state.variables, inputs), batch)

    def evaluation_inputs(self, batch: Batch) -> Batch:
        """Degrade the crops and pad them to tiles, 8 bits a channel."""
        low = jnp.round(255 * self._low_resolution(batch)).astype(jnp.uint8)
        tile, _, _ = self.spec.inputs['image'].shape
        return {'image': _padded(low, tile)}

    def record(self, outputs: Batch, batch: Batch) -> Batch:
        """One record per crop."""
        scale = self.options.scale
        crop = self.spec.details.crop
        tile, _, _ = self.spec.inputs['image'].shape
        start = (tile - crop // scale) // 2 * scale
        inside = slice(start, start + crop)
        bicubic = edsr.bicubic(self._low_resolution(batch), scale)
        record = jax.vmap(functools.partial(metrics.compare, border=scale))(
            outputs['image'][:, inside, inside] / 255,
            jnp.clip(bicubic, 0, 1),
            color.to_float(batch['truth'], self.dtype),
        )
        return {**record, 'label': batch['label']}

    def _low_resolution(self, batch: Batch) -> Array:
        """The degraded crops, the same for every seed."""
        key = keys.stream(jax.random.key(0), 'evaluation')
        truth = color.to_float(batch['truth'], self.dtype)
        return degrade_images(self.options, key, batch['index'], truth)


def degrade_images(
    options: Config,
    key: jax.Array,
    index: Int[Array, 'b'],
    images: Float[Array, 'b h w c'],
) -> Float[Array, 'b h2 w2 c']:
    """Make images smaller by the scale, and otherwise degraded.

    Args:
        options: the config's task, with 'scale' and 'degradation'.
        key: random key of the step.
        index: of each example in its split.
        images: images in [0, 1].
    """
    degrade_image = functools.partial(
        degrade.degrade, scale=options.scale, **options.degradation
    )
    example_keys = keys.per_example(keys.stream(key, 'degrade'), index)
    return jax.vmap(degrade_image)(example_keys, images)


def make_prepare(config: Config, spec: Spec) -> Prepare:
    """Build the host side: a random crop in training, the central crop in evaluation."""
    _, _, channels = spec.inputs['image'].shape
    patch = config.task.patch * config.task.scale

    def prepare(example, rng):
        image = decode.decode(example['image'], channels)
        size = patch if rng else spec.details.crop
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


def _padded(images: UInt8[Array, 'b h w c'], side: int) -> UInt8[Array, 'b H W c']:
    """Mirror images outwards to a tile, so that the network sees no edge in the image."""
    missing = side - images.shape[1]
    around = missing // 2, missing - missing // 2
    return jnp.pad(images, ((0, 0), around, around, (0, 0)), mode='symmetric')
