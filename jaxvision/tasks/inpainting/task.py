"""Inpainting: fill the holes of an image from the surrounding pixels."""

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
        'Kind of hole: box (a square at a random place), free_form (brush strokes) or border.',
        choices=('box', 'free_form', 'border'),
    ),
    'box_size': Field(12, 'Side of the box, in pixels.', least=1),
    'free_form_fraction': Field(
        0.25, 'Fraction of the image that the strokes cover.', above=0, most=1
    ),
    'border_width': Field(4, 'Width of the border, in pixels.', least=1),
    'crop': Field(
        0, 'Side of the random crops in training, in pixels; 0: whole images.', least=0
    ),
    'crop_scale': Field(
        0.5,
        'Smallest fraction of the image area in a random resized crop, for images that are '
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
    """Add the row number to each example as 'row', which decides its hole in evaluation.

    Args:
        config: not used.
        source: the images.
        split: not used: training examples have it too.
        preprocessing: not used.
    """
    return Numbered(source)


def requires(config: Config) -> dict[str, RequiredNetwork]:
    """List the network that the perceptual loss needs.

    Returns:
        {'feature_extractor': the classifier}, or {} if `task.perceptual_weight` is 0.
    """
    return image_restoration.requires(config)


def describe(config: Config, source: Source) -> Spec:
    """Describe the images and masks.

    Small images of one size are unchanged. Large or unequal images become squares of
    `data.image_size`: random resized crops in training, the central square in evaluation.

    Raises:
        UserError: Examples have no image or no label.
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
    """Build the task of a network that fills holes.

    Raises:
        UserError: The crop or the hole is too large for the images. Or the model, the optimizer,
            the discriminator or the feature extractor is wrong.
    """
    _check(config, spec)
    # The smooth filling depends on the whole tile, so neighbouring tiles are blended.
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


# (images, their holes)
Holed = tuple[Float[Array, 'b h w c'], Bool[Array, 'b h w 1']]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inpainter:
    """A network that fills holes, and the random holes of training and evaluation.

    Attributes:
        options: `config.task`.
        spec: spec of the run.
        model: `(smoothly filled image [B, H, W, C], hole [B, H, W, 1]) -> (correction of the
            smooth filling, intermediates)`.
        dtype: dtype of the images.
    """

    options: Config
    spec: Spec
    model: Module
    dtype: DTypeLike

    @classmethod
    def build(cls, config: Config, spec: Spec) -> 'Inpainter':
        """Build the network of a config.

        Raises:
            UserError: The model, its variant or an option is wrong.
        """
        _, _, channels = spec.inputs['image'].shape
        return cls(
            options=config.task,
            spec=spec,
            model=make_model(config, channels=channels),
            dtype=jnp.dtype(config.model.param_dtype),
        )

    def blank(self, batch: Batch) -> tuple[Holed, Array]:
        """Return ((images, empty holes), images) in [0, 1], to initialise networks."""
        image = color.to_float(batch['image'], self.dtype)
        no_hole = jnp.zeros((*image.shape[:3], 1), bool)
        return (image, no_hole), image

    def degrade(self, state: TrainState, batch: Batch) -> tuple[Holed, Array]:
        """Return ((images, random holes), images) of a training step, after augmentation.

        Images are in [0, 1], and still whole: the hole is a mask, True for missing pixels. All
        random numbers follow from `state.key`, `state.step` and `batch['index']`.
        """
        key = keys.at_step(state.key, 'read', state.step)
        image = color.to_float(batch['image'], self.dtype)
        image = image_input.augment_geometry(
            self.options.augment, key, batch['index'], image
        )
        mask_keys = keys.per_example(keys.stream(key, 'mask'), batch['index'])
        random_hole = make_random_hole(self.options, self.spec, image.shape[1:3])
        hole = jax.vmap(random_hole)(mask_keys)
        return (image, hole), image

    def init(self, key: jax.Array, degraded: Holed) -> Tree:
        """Initialise the model: {'params': tree, COLLECTION: tree, ...}."""
        return self.model.init(key, *degraded)

    def restore(
        self, params: Tree, model_state: Tree, degraded: Holed
    ) -> tuple[Array, Tree]:
        """Fill holes in training.

        Args:
            params: parameters of the model.
            model_state: model state, such as batch statistics.
            degraded: (images in [0, 1], their holes, True for missing pixels).

        Returns:
            (the filled images, not clipped to [0, 1], the new model state). Outside the hole
            pixels are those of the input. Inside it the input's pixels have no influence.
        """
        image, hole = degraded
        smooth = metrics.smooth_filling(image, hole)
        (correction, _), model_state = self.model.apply(
            {'params': params, **model_state},
            smooth,
            hole,
            train=True,
            mutable=list(model_state),
        )
        return jnp.where(hole, smooth + correction, image), model_state

    def error(self, errors: Array, degraded: Holed) -> tuple[Array, Array]:
        """Return (sum of the pixel losses [B], number of missing values [B]) of each image.

        The losses must be zero outside the hole. A missing pixel has one value per channel.
        """
        image, hole = degraded
        missing = image.shape[-1] * hole.sum((1, 2, 3), dtype=self.dtype)
        return errors.sum((1, 2, 3)), missing

    def discriminated(self, image: Array, degraded: Holed) -> Array:
        """Map images from [0, 1] to [-1, 1], and add their holes, 1 or 0, as a last channel."""
        _, hole = degraded
        return jnp.concatenate([2 * image - 1, hole.astype(image.dtype)], -1)

    def normalize(self, pixels: Float[Array, '...']) -> Float[Array, '...']:
        """Return pixels in [0, 1] unchanged, as the model needs them."""
        return pixels

    def apply(
        self,
        variables: Tree,
        image: Float[Array, 'b h w c'],
        hole: Bool[Array, 'b h w 1'],
    ) -> tuple[Array, Scalars]:
        """Fill the holes of images, in inference.

        Args:
            variables: `TrainState.variables`.
            image: images in [0, 1].
            hole: True for missing pixels.

        Returns:
            (the filled images, not clipped to [0, 1], {name: intermediate}). Outside
            the hole pixels are those of the input.
        """
        params = variables['params']['model']
        model_state = variables['model_state']['model']
        smooth = metrics.smooth_filling(image, hole)
        correction, intermediates = self.model.apply(
            {'params': params, **model_state}, smooth, hole
        )
        return jnp.where(hole, smooth + correction, image), intermediates

    def predict(self, variables: Tree, inputs: Batch) -> Batch:
        """Fill images, in inference; pixels outside the hole are those of the input.

        Args:
            variables: `TrainState.variables`.
            inputs: 'image' [B, H, W, C] in [0, 255], and 'mask' [B, H, W, 1], above 0 in the
                hole.

        Returns:
            {'image': [B, H, W, C]} in [0, 255], not rounded.
        """
        pixels = jnp.asarray(inputs['image'])
        # The mask becomes a float first, because TFLite cannot compare uint8.
        hole = jnp.asarray(inputs['mask'], self.dtype) > 0
        filled, _ = self.apply(variables, color.to_float(pixels, self.dtype), hole)
        # Outside the hole the pixels are copied, not divided and multiplied by 255.
        filled = 255 * jnp.clip(filled, 0, 1)
        return {'image': jnp.where(hole, filled, pixels.astype(self.dtype))}

    def evaluation(self) -> Evaluation:
        """Build the evaluation with `metrics.NAMES`, such as the PSNR in the holes."""
        record = functools.partial(metrics.compare, self.dtype)

        def evaluate(state, batch):
            return record(self.predict(state.variables, batch), batch)

        return Evaluation(
            evaluate=evaluate,
            summarize=metrics.summarize,
            metrics=metrics.NAMES,
            record=record,
        )


def make_random_hole(
    options: Config, spec: Spec, size: tuple[int, int]
) -> Callable[[jax.Array], Bool[Array, 'h w 1']]:
    """Build the function `(key) -> hole [H, W, 1]` that generates a random hole.

    Args:
        options: `config.task`.
        spec: spec of the run, with the size of whole images.
        size: (height, width) of the image or crop, in pixels. Brush strokes are as wide in a
            crop as in the whole image.

    Returns:
        The function. A hole is True for missing pixels. With the mask 'border' every key gives
        the same hole.
    """
    height, width, _ = spec.inputs['image'].shape

    def random_hole(key):
        if options.mask == 'box':
            return masks.box(key, size, options.box_size)
        if options.mask == 'border':
            return masks.border(size, options.border_width)
        whole = masks.free_form(key, (height, width), options.free_form_fraction)
        return whole[: size[0], : size[1]]

    return random_hole


def make_prepare(config: Config, spec: Spec) -> Prepare:
    """Build the host function that resizes images and adds crops or masks.

    In training it makes random resized crops if images are resized, and then random crops of
    `task.crop` pixels if this is above 0. In evaluation it adds 'mask', uint8 [H, W, 1], 255 in
    the hole, which depends on 'row' of the example alone. An example without 'row', such as an
    image of a user, gets no mask. 'row' is left out of the result.
    """
    height, width, channels = spec.inputs['image'].shape
    options = config.task
    random_hole = make_random_hole(options, spec, (height, width))
    is_resized = spec.preprocessing.resize != 'none'
    central_square = image_input.make_resize(spec.preprocessing, channels)

    @jax.jit
    def evaluation_mask(row):
        key = keys.stream(jax.random.key(0), 'evaluation')
        return random_hole(jax.random.fold_in(key, row))

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
            'in pixels. Set 0 to train on whole images.'
        )
    smallest = options.crop or side
    if options.mask == 'box' and options.box_size > smallest:
        raise UserError(
            f'task.box_size={options.box_size}: expected at most {smallest}, the side of '
            'the images or crops in pixels. Choose a smaller box.'
        )
    if options.mask == 'border' and 2 * options.border_width >= smallest:
        raise UserError(
            f'task.border_width={options.border_width}: expected less than half of '
            f'{smallest}, the side of the images or crops in pixels. Choose a smaller border.'
        )
