"""Image classification with one label per image (softmax) or several (sigmoid)."""

import functools

import jax.numpy as jnp

from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config, Field, Fields
from jaxvision.core.spec import Preprocessing, Spec
from jaxvision.core.task import (
    Task,
)
from jaxvision.core.types import Split
from jaxvision.data.protocol import Source
from jaxvision.image import color
from jaxvision.tasks.classification import adversarial
from jaxvision.tasks.shared import class_labels, fine_tuning, image_input
from jaxvision.tasks.shared.classifier import classifier

FIELDS: Fields = {
    **fine_tuning.FIELDS,
    'label_smoothing': Field(
        0.0,
        'Label smoothing: probability that is spread over all classes.',
        least=0,
        below=1,
    ),
    **image_input.FIELDS,
    'adversarial': adversarial.FIELDS,
    'crop_scale': Field(
        1.0,
        'Smallest fraction of the image area in a random resized crop; 1: no random crops.',
        above=0,
        most=1,
    ),
    'augment': {
        **image_input.AUGMENT,
        'color': Field(
            0.0,
            'Strength of random brightness, contrast and saturation; hue has a quarter of it.',
            least=0,
        ),
        'randaugment': Field(
            0,
            'RandAugment operations per image, at magnitude 9 of 10; 0: none.',
            least=0,
        ),
        'cutout': Field(
            0.0,
            'Side of the erased square, as a fraction of the shorter side; 0: none.',
            least=0,
            most=1,
        ),
        'mixup': Field(0.0, 'Alpha of mixup; 0: no mixup.', least=0),
        'cutmix': Field(
            0.0,
            'Alpha of CutMix; 0: no CutMix. With mixup, each step has one of the two.',
            least=0,
        ),
    },
}


def source(
    config: Config, source: Source, split: Split, preprocessing: Preprocessing | None
) -> Source:
    """Return the images of a split unchanged, and refuse splits with new classes.

    Args:
        config: not used.
        source: the images.
        split: not used.
        preprocessing: not used.

    Raises:
        UserError: `source.info.new_classes` is True.
    """
    if source.info.new_classes:
        raise UserError(
            f'data.source={source.info.name}: expected the classes of training in the split '
            f'{source.info.split!r}, but it has new classes. Use configs/few_shot.py to '
            'classify images of new classes.'
        )
    return source


def describe(config: Config, source: Source) -> Spec:
    """Describe the images, classes and preprocessing of a dataset.

    Up to 512 images are read to measure mean and std, unless pretrained weights define them.

    Raises:
        UserError: Examples have no image or no label, or do not fit the pretrained weights.
    """
    info = source.info
    info.check_holds('image', 'label')
    image, preprocessing = image_input.describe(config, info)
    spec = Spec(
        inputs={'image': image},
        targets={'label': class_labels.array_spec(info)},
        class_names=tuple(info.class_names),
        multi_label=info.multi_label,
        preprocessing=preprocessing,
    )
    prepare = image_input.make_prepare(config, spec)
    return image_input.with_statistics(spec, config, source, prepare)


def make(config: Config, spec: Spec) -> Task:
    """Build the task of an image classifier.

    Raises:
        UserError: A field is wrong, such as mixup with microbatches of an odd size.
    """
    _check(config)
    dtype = jnp.dtype(config.model.param_dtype)
    perturbing = adversarial.Adversarial.build(config, spec)

    def pixels(inputs):
        return (color.to_float(jnp.asarray(inputs['image']), dtype),)

    def picture(example):
        return example['image']

    return classifier(
        config,
        spec,
        pixels,
        functools.partial(image_input.augment_images, config.task.augment),
        predictor='image',
        prepare=image_input.make_prepare(config, spec),
        figures=functools.partial(class_labels.draw_figures, spec.class_names, picture),
        show=functools.partial(class_labels.show, spec.class_names, spec.multi_label),
        loss=perturbing.loss if perturbing else None,
        evaluations=perturbing.evaluations if perturbing else None,
    )


def _check(config: Config) -> None:
    augment = config.task.augment
    microbatch = config.data.batch_size // config.optimizer.accumulate
    if (augment.mixup or augment.cutmix) and microbatch % 2:
        raise UserError(
            f'data.batch_size={config.data.batch_size}: expected microbatches of an even '
            f'size, because mixup and CutMix mix pairs of images, but a microbatch has '
            f'{microbatch}. Change data.batch_size or optimizer.accumulate.'
        )
