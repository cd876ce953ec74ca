"""Image classification: one label an image (softmax) or several (sigmoid)."""

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
from jaxvision.tasks.shared import class_labels, fine_tuning, image_input
from jaxvision.tasks.shared.classifier import classifier

FIELDS: Fields = {
    **fine_tuning.FIELDS,
    'label_smoothing': Field(
        0.0, 'Probability that is spread over all classes.', least=0, below=1
    ),
    **image_input.FIELDS,
    'crop_scale': Field(
        1.0,
        'Smallest fraction of the area in a random resized crop; 1: no such crops.',
        above=0,
        most=1,
    ),
    'augment': {
        **image_input.AUGMENT,
        'color': Field(
            0.0,
            'Jitter of brightness, contrast and saturation, and a quarter of it of hue.',
            least=0,
        ),
        'randaugment': Field(0, 'Operations an image, at magnitude 9 of 10.', least=0),
        'cutout': Field(
            0.0,
            "Side of the erased square, as a fraction of the image's.",
            least=0,
            most=1,
        ),
        'mixup': Field(0.0, 'Alpha of mixup.', least=0),
        'cutmix': Field(
            0.0,
            'Alpha of CutMix; with mixup, a step has the one or the other.',
            least=0,
        ),
    },
}


def source(
    config: Config, source: Source, split: Split, preprocessing: Preprocessing | None
) -> Source:
    """Refuse a split whose classes are none of training's."""
    if source.info.new_classes:
        raise UserError(
            f'{source.info.name}: the classes of its split {source.info.split!r} are '
            'none of training; to learn to tell such apart, see configs/few_shot.py'
        )
    return source


def describe(config: Config, source: Source) -> Spec:
    """Describe the images and classes of a dataset, and the preprocessing of its images."""
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
    """Build the task of an image classifier."""
    _check(config)
    dtype = jnp.dtype(config.model.param_dtype)

    def pixels(inputs):
        return (color.to_float(jnp.asarray(inputs['image']), dtype),)

    return classifier(
        config,
        spec,
        pixels,
        functools.partial(image_input.augmented, config.task.augment),
        predictor='image',
        prepare=image_input.make_prepare(config, spec),
        figures=functools.partial(
            class_labels.draw_figures,
            spec.class_names,
            lambda example: example['image'],
        ),
        show=functools.partial(class_labels.show, spec.class_names, spec.multi_label),
    )


def _check(config: Config) -> None:
    augment = config.task.augment
    part = config.data.batch_size // config.optimizer.accumulate
    if (augment.mixup or augment.cutmix) and part % 2:
        raise UserError(
            f'mixup and cutmix pair neighbours, and batches of {part} have an odd one'
        )
