"""Super-resolution: enlarge images, trained on images that are made small.

With an adversarial loss it is SRGAN (Ledig et al. 2017, arXiv 1609.04802) with a patch
discriminator.
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
    'scale': Field(2, 'Factor by which height and width grow.', least=1),
    'patch': Field(
        24, 'Side of the crops in training, in low-resolution pixels.', least=1
    ),
    'degradation': {
        'blur': Field(
            0.0, 'Std of a Gaussian blur, in high-resolution pixels.', least=0
        ),
        'noise': Field(
            0.0,
            'Std of Gaussian noise on the low-resolution image, whose values are in [0, 1].',
            least=0,
        ),
        'jpeg': Field(
            0,
            'JPEG quality of the low-resolution image; 0: no compression.',
            least=0,
            most=100,
        ),
    },
    'psnr_pool': Field(
        'image',
        'PSNR per image, or of the pooled errors of all images with the same label.',
        choices=('image', 'label'),
    ),
    'tile': Field(
        96,
        'Smallest side of the tiles in prediction, in low-resolution pixels.',
        least=1,
    ),
    **image_restoration.FIELDS,
}

# Reach in pixels of a model that does not declare it: an output pixel depends on no input
# pixel further away.
REACH = 16


@dataclasses.dataclass(frozen=True)
class Details:
    """The part of the spec that only this task has.

    Attributes:
        crop: side of the evaluated central crop, in high-resolution pixels.
    """

    crop: int


def requires(config: Config) -> dict[str, RequiredNetwork]:
    """List the network that the perceptual loss needs.

    A small classifier that is trained for this run has images of the size of a training crop,
    in high-resolution pixels.

    Returns:
        {'feature_extractor': the classifier}, or {} if `task.perceptual_weight` is 0.
    """
    networks = image_restoration.requires(config)
    for network in networks.values():
        if network.config:
            network.config.data.image_size = config.task.patch * config.task.scale
            network.config.task.crop_scale = 0.25
    return networks


def describe(config: Config, source: Source) -> Spec:
    """Describe the tiles, and the crops of training and evaluation.

    Evaluation measures a central crop. Its side is the smallest of `data.image_size` and the
    sides of the images, rounded down to a multiple of the scale. A height or width that
    differs between images is left out of this minimum.

    Raises:
        UserError: Examples have no image or no label, the crops are smaller than `task.patch`,
            or the model is wrong.
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
            f'task.patch={options.patch}: expected at most {low_side}, because the images '
            f'have {crop}x{crop} pixels (data.image_size) and become {scale} times smaller. '
            'Choose a smaller patch or larger images.'
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
    """Choose an overlap of twice the model's reach: tiles give the pixels of the whole image."""
    return Tiling(scale=scale, overlap=2 * getattr(model, 'reach', REACH))


def make(config: Config, spec: Spec) -> Task:
    """Build the task of a network that enlarges images.

    Raises:
        UserError: The model, the optimizer, the discriminator or the feature extractor is wrong.
    """
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
    """A network that enlarges images, and the degradation of its training images.

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
        """Build the network of a config.

        Raises:
            UserError: The model, its variant or an option is wrong.
        """
        _, _, channels = spec.inputs['image'].shape
        scale = config.task.scale
        return cls(
            options=config.task,
            spec=spec,
            model=make_model(config, scale=scale, channels=channels),
            dtype=jnp.dtype(config.model.param_dtype),
        )

    def blank(self, batch: Batch) -> tuple[Array, Array]:
        """Return (low resolution, truth) of the right shapes, to initialise the networks.

        `batch` has 'image' and 'truth', all inputs and targets of the spec. Their values do not
        matter.
        """
        low = color.to_float(batch['image'], self.dtype)
        return low, color.to_float(batch['truth'], self.dtype)

    def degrade(self, state: TrainState, batch: Batch) -> tuple[Array, Array]:
        """Return (low resolution, truth) of each crop `batch['truth']`, in [0, 1].

        The crops are first rotated by multiples of 90 degrees and mirrored at random. All random
        numbers follow from `state.key`, `state.step` and `batch['index']`.
        """
        key = keys.at_step(state.key, 'read', state.step)
        turn_keys = keys.per_example(keys.stream(key, 'dihedral'), batch['index'])
        crops = color.to_float(batch['truth'], self.dtype)
        truth = jax.vmap(geometry.random_dihedral)(turn_keys, crops)
        return degrade_images(self.options, key, batch['index'], truth), truth

    def init(self, key: jax.Array, degraded: Array) -> Tree:
        """Initialise the variables of the model."""
        return self.model.init(key, degraded)

    def restore(
        self, params: Tree, model_state: Tree, degraded: Array
    ) -> tuple[Array, Tree]:
        """Enlarge images in training.

        Args:
            params: parameters of the model.
            model_state: model state, such as batch statistics.
            degraded: low-resolution images in [0, 1].

        Returns:
            (the enlarged images, not clipped to [0, 1], the new model state).
        """
        (image, _), model_state = self.model.apply(
            {'params': params, **model_state},
            degraded,
            train=True,
            mutable=list(model_state),
        )
        return image, model_state

    def error(self, errors: Array, degraded: Array) -> tuple[Array, Array]:
        """Average the pixel losses `errors` over each image: (means [B], ones [B])."""
        weights = jnp.ones(len(degraded), self.dtype)
        return image_restoration.per_image(errors), weights

    def discriminated(self, image: Array, degraded: Array) -> Array:
        """Map images from [0, 1] to [-1, 1]. `degraded` is not used."""
        return 2 * image - 1

    def normalize(self, pixels: Float[Array, '...']) -> Float[Array, '...']:
        """Return pixels in [0, 1] unchanged, as the model needs them."""
        return pixels

    def apply(self, variables: Tree, image: Array) -> tuple[Array, Scalars]:
        """Enlarge images, in inference.

        Args:
            variables: `TrainState.variables`.
            image: images in [0, 1], [B, h, w, C].

        Returns:
            (images [B, scale * h, scale * w, C], not clipped to [0, 1], intermediates by name).
        """
        params = variables['params']['model']
        model_state = variables['model_state']['model']
        return self.model.apply({'params': params, **model_state}, image)

    def predict(self, variables: Tree, inputs: Batch) -> Batch:
        """Enlarge the images `inputs['image']` in [0, 255], [B, h, w, C].

        Returns:
            {'image': [B, scale * h, scale * w, C]}, clipped to [0, 255] but not rounded.
        """
        low = color.to_float(jnp.asarray(inputs['image']), self.dtype)
        image, _ = self.apply(variables, low)
        return {'image': 255 * jnp.clip(image, 0, 1)}

    def evaluation(self) -> Evaluation:
        """Build the evaluation: PSNR and SSIM of the network and of bicubic images.

        They are measured on luma and, for colour images, also on RGB. SSIM is left out
        if the crops are too small for its window.
        """
        pool = self.options.psnr_pool
        class_names = self.spec.class_names
        _, _, channels = self.spec.inputs['image'].shape
        pooled_classes = ()
        if pool == 'label':
            pooled_classes = class_names
        return Evaluation(
            evaluate=self.evaluate,
            summarize=functools.partial(metrics.summarize, pool, class_names),
            metrics=metrics.names(
                self.spec.details.crop,
                channels,
                border=self.options.scale,
                pooled_classes=pooled_classes,
            ),
            record=self.record,
            inputs=self.evaluation_inputs,
        )

    def evaluate(self, state: TrainState, batch: Batch) -> Batch:
        """Degrade the crops of a batch, enlarge them and make one record per crop.

        The weights are averaged ones if the state has them.
        """
        inputs = self.evaluation_inputs(batch)
        return self.record(self.predict(state.variables, inputs), batch)

    def evaluation_inputs(self, batch: Batch) -> Batch:
        """Degrade the crops `batch['truth']`, and pad them to tiles by reflection.

        The degradation follows from `batch['index']`, for every seed and step.

        Returns:
            {'image': uint8 [B, tile, tile, C]}, with the low-resolution crop in the centre.
        """
        low = jnp.round(255 * self._low_resolution(batch)).astype(jnp.uint8)
        tile, _, _ = self.spec.inputs['image'].shape
        return {'image': _padded(low, tile)}

    def record(self, outputs: Batch, batch: Batch) -> Batch:
        """Make one record per crop: errors and SSIM of network and bicubic interpolation.

        Args:
            outputs: outputs of `predict` for the tiles of `evaluation_inputs`.
            batch: the same batch, with 'truth', 'label' and 'index'.

        Returns:
            The arrays of `metrics.compare`, with a first axis [B], and 'label'.
        """
        scale = self.options.scale
        crop = self.spec.details.crop
        tile, _, _ = self.spec.inputs['image'].shape
        start = (tile - crop // scale) // 2 * scale
        inside = slice(start, start + crop)
        bicubic = edsr.bicubic(self._low_resolution(batch), scale)
        compare = functools.partial(metrics.compare, border=scale)
        record = jax.vmap(compare)(
            outputs['image'][:, inside, inside] / 255,
            jnp.clip(bicubic, 0, 1),
            color.to_float(batch['truth'], self.dtype),
        )
        return {**record, 'label': batch['label']}

    def _low_resolution(self, batch: Batch) -> Array:
        """Degrade the crops; the result is the same for every seed."""
        key = keys.stream(jax.random.key(0), 'evaluation')
        truth = color.to_float(batch['truth'], self.dtype)
        return degrade_images(self.options, key, batch['index'], truth)


def degrade_images(
    options: Config,
    key: jax.Array,
    index: Int[Array, 'b'],
    images: Float[Array, 'b h w c'],
) -> Float[Array, 'b h2 w2 c']:
    """Reduce images by the scale and degrade them, each with its own random key.

    Args:
        options: `config.task`, with 'scale' and 'degradation'.
        key: random key of the step.
        index: row of each example in its split.
        images: images in [0, 1], [B, H, W, C]. H and W are multiples of the scale.

    Returns:
        Images [B, H / scale, W / scale, C] in [0, 1], rounded to 8 bits.
    """
    degrade_image = functools.partial(
        degrade.degrade, scale=options.scale, **options.degradation
    )
    example_keys = keys.per_example(keys.stream(key, 'degrade'), index)
    return jax.vmap(degrade_image)(example_keys, images)


def make_prepare(config: Config, spec: Spec) -> Prepare:
    """Build the host function that crops images.

    With a generator (training) the crop is at a random place, of side task.patch * task.scale.
    With None it is the centre, of side `spec.details.crop`. It returns only 'truth', the crop
    as uint8 [side, side, C], and 'label'. It raises `Unreadable` for an image smaller than the
    crop.
    """
    _, _, channels = spec.inputs['image'].shape
    patch = config.task.patch * config.task.scale

    def prepare(example, rng):
        image = decode.decode(example['image'], channels)
        size = patch
        field = 'task.patch'
        if rng is None:
            size = spec.details.crop
            field = 'data.image_size'
        spare = np.array(image.shape[:2]) - size
        if spare.min() < 0:
            height, width, _ = image.shape
            raise Unreadable(
                f'it has {width}x{height} pixels, fewer than a crop of {size}x{size}. '
                f'Lower {field}'
            )
        if rng is None:
            top, left = spare // 2
        else:
            top, left = rng.integers(0, spare, endpoint=True)
        crop = image[top : top + size, left : left + size]
        return {'truth': crop, 'label': example['label']}

    return prepare


def _padded(images: UInt8[Array, 'b h w c'], side: int) -> UInt8[Array, 'b H W c']:
    """Pad images to tiles by reflection, so that no artificial edge appears."""
    missing = side - images.shape[1]
    margin = (missing // 2, missing - missing // 2)
    return jnp.pad(images, ((0, 0), margin, margin, (0, 0)), mode='symmetric')
