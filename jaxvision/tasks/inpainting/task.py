"""Inpainting: the holes of an image are filled from what surrounds them."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config, Field, Fields
from jaxvision.core.spec import ArraySpec, Preprocessing, Spec
from jaxvision.core.state import TrainState
from jaxvision.core.task import (
    Evaluation,
    Network,
    RequiredNetwork,
    Scalars,
    Task,
    Tiling,
)
from jaxvision.core.types import Batch, Module, Prepare, Split, Tree
from jaxvision.data import decode
from jaxvision.data.protocol import Source
from jaxvision.data.wrappers import Numbered
from jaxvision.image import color, masks
from jaxvision.tasks.inpainting import metrics
from jaxvision.tasks.shared import image_input, image_restoration
from jaxvision.tasks.shared.networks import make_model

FIELDS: Fields = {
    'mask': Field(
        'box',
        'Kind of hole: a box anywhere, free_form strokes of a brush, or the border.',
        choices=('box', 'free_form', 'border'),
    ),
    'box_size': Field(12, 'Side of the box, pixels.', least=1),
    'free_form_fraction': Field(
        0.25, 'Fraction of the image that the brush covers.', above=0, most=1
    ),
    'border_width': Field(4, 'Width of the border, pixels.', least=1),
    'crop': Field(
        0, 'Side of the random crops of training, pixels; 0: whole images.', least=0
    ),
    'crop_scale': Field(
        0.5,
        'Smallest fraction of the area in a random resized crop, where images are '
        'resized.',
        above=0,
        most=1,
    ),
    'augment': image_input.AUGMENT,
    **image_restoration.FIELDS,
    'loss': dataclasses.replace(image_restoration.FIELDS['loss'], default='mse'),
    'adversarial_loss': dataclasses.replace(
        image_restoration.FIELDS['adversarial_loss'], default='hinge'
    ),
}


def source(
    config: Config, source: Source, split: Split, preprocessing: Preprocessing | None
) -> Source:
    """Number the examples, so that each has a hole of its own in evaluation."""
    return Numbered(source)


def requires(config: Config) -> dict[str, RequiredNetwork]:
    """The feature extractor of the perceptual loss, if there is one."""
    return image_restoration.requires(config)


def describe(config: Config, source: Source) -> Spec:
    """Describe the images and masks.

    Images of one size stay as they are. Larger or unequal images are brought to
    `data.image_size`, in evaluation by their central square.
    """
    info = source.info
    info.check_holds('image', 'label')
    preprocessing = Preprocessing.of_dataset(
        info.image_shape, config.data.image_size, 'central_square'
    )
    size = preprocessing.size
    return Spec(
        inputs={
            'image': ArraySpec((*size, info.image_shape[2])),
            'mask': ArraySpec((*size, 1)),
        },
        targets={},
        preprocessing=preprocessing,
    )


def make(config: Config, spec: Spec) -> Task:
    """Build the task of a network that fills holes."""
    _check(config, spec)
    # The smooth filling depends on the whole tile, so tiles fade into each other.
    overlap = min(spec.preprocessing.size) // 4
    inpainter = Inpainter.build(config, spec)
    init, update = image_restoration.make(config, spec, inpainter)
    return Task(
        init=init,
        update=update,
        evaluations={'eval': inpainter.evaluation()},
        main_evaluation='eval',
        predict=inpainter.predict,
        predictor='restoration',
        tiling=Tiling(scale=1, overlap=overlap, blend=overlap),
        network=Network(normalize=inpainter.normalize, apply=inpainter.apply),
        best='psnr_hole',
        prepare=make_prepare(config, spec),
        figures=metrics.draw_strips,
        watch=True,
    )


Holed = tuple[Float[Array, 'b h w c'], Bool[Array, 'b h w 1']]  # images, their holes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inpainter:
    """A network that fills holes, and the holes that it is trained with.

    Attributes:
        options: `config.task`.
        spec: spec of the run.
        model: `(image [B, H, W, C], hole [B, H, W, 1]) -> (what is added to the smooth
            filling, intermediates)`.
        dtype: dtype of the images.
    """

    options: Config
    spec: Spec
    model: Module
    dtype: DTypeLike

    @classmethod
    def build(cls, config: Config, spec: Spec) -> 'Inpainter':
        _, _, channels = spec.inputs['image'].shape
        return cls(
            options=config.task,
            spec=spec,
            model=make_model(config, channels=channels),
            dtype=jnp.dtype(config.model.param_dtype),
        )

    def blank(self, batch: Batch) -> tuple[Holed, Array]:
        """As `image_restoration.Restorer`."""
        image = color.to_float(batch['image'], self.dtype)
        no_hole = jnp.zeros((*image.shape[:3], 1), bool)
        return (image, no_hole), image

    def degrade(self, state: TrainState, batch: Batch) -> tuple[Holed, Array]:
        """Make ((images, their holes), images) of a training step, augmented."""
        key = keys.at_step(state.key, 'read', state.step)
        image = color.to_float(batch['image'], self.dtype)
        image = image_input.augment_geometry(
            self.options.augment, key, batch['index'], image
        )
        mask_keys = keys.per_example(keys.stream(key, 'mask'), batch['index'])
        draw = mask_drawer(self.options, self.spec, image.shape[1:3])
        return (image, jax.vmap(draw)(mask_keys)), image

    def init(self, key: jax.Array, degraded: Holed) -> Tree:
        """Draw the model's variables."""
        return self.model.init(key, *degraded)

    def restore(
        self, params: Tree, model_state: Tree, degraded: Holed
    ) -> tuple[Array, Tree]:
        """Fill holes in training; the values may lie a little outside of [0, 1]."""
        image, hole = degraded
        smooth = metrics.smooth_filling(image, hole)
        (added, _), model_state = self.model.apply(
            {'params': params, **model_state},
            smooth,
            hole,
            train=True,
            mutable=list(model_state),
        )
        return jnp.where(hole, smooth + added, image), model_state

    def error(self, errors: Array, degraded: Holed) -> tuple[Array, Array]:
        """The sum of each image's errors, weighted by its number of missing values.

        Outside the hole the errors are zero.
        """
        image, hole = degraded
        missing = image.shape[-1] * hole.sum((1, 2, 3), dtype=self.dtype)
        return errors.sum((1, 2, 3)), missing

    def discriminated(self, image: Array, degraded: Holed) -> Array:
        """The image in [-1, 1], and its hole as a further channel."""
        _, hole = degraded
        return jnp.concatenate([2 * image - 1, hole.astype(image.dtype)], -1)

    def normalize(self, pixels: Float[Array, '...']) -> Float[Array, '...']:
        """Return the pixels: the network takes them in [0, 1]."""
        return pixels

    def apply(
        self,
        variables: Tree,
        image: Float[Array, 'b h w c'],
        hole: Bool[Array, 'b h w 1'],
    ) -> tuple[Array, Scalars]:
        """The images with their holes filled, both in about [0, 1], and intermediates."""
        params = variables['params']['model']
        model_state = variables['model_state']['model']
        smooth = metrics.smooth_filling(image, hole)
        added, intermediates = self.model.apply(
            {'params': params, **model_state}, smooth, hole
        )
        return jnp.where(hole, smooth + added, image), intermediates

    def predict(self, variables: Tree, inputs: Batch) -> Batch:
        """The filled images in [0, 255]; pixels outside the hole are the inputs'."""
        pixels = jnp.asarray(inputs['image'])
        hole = jnp.asarray(inputs['mask'], self.dtype) > 0  # TFLite compares no uint8
        filled, _ = self.apply(variables, color.to_float(pixels, self.dtype), hole)
        # Pixels outside the hole are not rounded by a division.
        filled = 255 * jnp.clip(filled, 0, 1)
        return {'image': jnp.where(hole, filled, pixels.astype(self.dtype))}

    def evaluation(self) -> Evaluation:
        """PSNR in the holes of the test split."""
        record = functools.partial(metrics.compare, self.dtype)

        def evaluate(state, batch):
            return record(self.predict(state.variables, batch), batch)

        return Evaluation(
            evaluate=evaluate,
            summarize=metrics.summarize,
            metrics=metrics.NAMES,
            record=record,
        )


def mask_drawer(
    options: Config, spec: Spec, size: tuple[int, int]
) -> Callable[[jax.Array], Bool[Array, 'h w 1']]:
    """Build `(key) -> hole [H, W, 1]`.

    Args:
        options: `config.task`.
        spec: with the size of whole images.
        size: (height, width) of the image, or of a crop; strokes of the brush are as wide
            in a crop as in the whole image.
    """
    height, width, _ = spec.inputs['image'].shape

    def draw(key):
        if options.mask == 'box':
            return masks.box(key, size, options.box_size)
        if options.mask == 'border':
            return masks.border(size, options.border_width)
        whole = masks.free_form(key, (height, width), options.free_form_fraction)
        return whole[: size[0], : size[1]]

    return draw


def make_prepare(config: Config, spec: Spec) -> Prepare:
    """Build the host side: images of one size, then a random crop or a mask.

    Training has random crops. In evaluation each example has a mask that is a function of
    its row alone.
    """
    height, width, channels = spec.inputs['image'].shape
    options = config.task
    draw_mask = mask_drawer(options, spec, (height, width))
    is_resized = spec.preprocessing.resize != 'none'
    central_square = image_input.make_resize(spec.preprocessing, channels)

    @jax.jit
    def evaluation_mask(row):
        key = keys.stream(jax.random.key(0), 'evaluation')
        return draw_mask(jax.random.fold_in(key, row))

    def resize(image, rng):
        if not is_resized:
            return image
        if rng is None:
            return central_square(image)
        return decode.random_resized_crop(
            image, rng, height, channels, (options.crop_scale, 1.0)
        )

    def prepare(example, rng):
        prepared = {name: value for name, value in example.items() if name != 'row'}
        image = resize(example['image'], rng)
        row = example.get('row')
        if rng is None and row is not None:
            mask = np.asarray(evaluation_mask(row)).astype(np.uint8)
            prepared['mask'] = 255 * mask
        elif rng is not None and options.crop:
            spare = (height - options.crop, width - options.crop)
            top, left = rng.integers(0, spare, endpoint=True)
            image = image[top : top + options.crop, left : left + options.crop]
        prepared['image'] = image
        return prepared

    return prepare


def _check(config: Config, spec: Spec) -> None:
    options = config.task
    side = min(spec.preprocessing.size)
    if options.crop > side:
        raise UserError(
            f'task.crop={options.crop}: expected at most {side}, the side of the images '
            'in pixels. 0 trains on whole images.'
        )
    smallest = options.crop or side
    if options.mask == 'box' and options.box_size > smallest:
        raise UserError(
            f'task.box_size={options.box_size}: expected at most {smallest}, the side of the '
            'images or crops in pixels.'
        )
    if options.mask == 'border' and 2 * options.border_width >= smallest:
        raise UserError(
            f'task.border_width={options.border_width}: expected less than half of {smallest}, the '
            'side of the images or crops in pixels.'
        )
