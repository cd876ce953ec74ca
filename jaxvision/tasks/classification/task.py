"""Image classification: one label an image (softmax) or several (sigmoid)."""

import functools
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxvision.core.errors import UserError
from jaxvision.core.fields import Field, Fields
from jaxvision.core.spec import ArraySpec, Spec
from jaxvision.core.task import Example, Pictures, Records, Shown, Task
from jaxvision.data.protocol import Source, SourceInfo
from jaxvision.image import color
from jaxvision.metrics import classification as metrics
from jaxvision.tasks.shared import fine_tuning, image_input
from jaxvision.tasks.shared.classifier import classifier
from jaxvision.viz import figures

FIELDS: Fields = {
    **fine_tuning.FIELDS,
    'label_smoothing': Field(
        0.0, 'Probability that is spread over all classes.', least=0, below=1
    ),
    'resize': Field(
        'squash',
        'How images of another size become squares; center_crop keeps 7/8 of them.',
        choices=('squash', 'center_crop'),
    ),
    'recipe': Field(
        '',
        'Preprocessing of pretrained weights by name; empty: of the file in '
        "train.init_from; 'none': of neither.",
    ),
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


def source(config: ConfigDict, source: Source, split: str) -> Source:
    """Refuse a split whose classes are none of training's."""
    if source.info.new_classes:
        raise UserError(
            f'{source.info.name}: the classes of its split {source.info.split!r} are '
            'none of training; to learn to tell such apart, see configs/few_shot.py'
        )
    return source


def describe(config: ConfigDict, source: Source) -> Spec:
    """Describe the images and classes of a dataset, and the preprocessing of its images."""
    info = source.info
    info.check_holds('image', 'label')
    image, preprocessing = image_input.describe(config, info)
    spec = Spec(
        inputs={'image': image},
        targets={'label': label_spec(info)},
        class_names=tuple(info.class_names),
        multi_label=info.multi_label,
        preprocessing=preprocessing,
    )
    prepare = image_input.make_prepare(config, spec)
    return image_input.with_statistics(spec, config, source, prepare)


def label_spec(info: SourceInfo) -> ArraySpec:
    """The shape and dtype of a label."""
    if info.multi_label:
        return ArraySpec((len(info.class_names),), 'float32')
    return ArraySpec((), 'int32')


def make(config: ConfigDict, spec: Spec) -> Task:
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
            draw_figures, spec.class_names, lambda example: example['image']
        ),
        show=functools.partial(show, spec.class_names, spec.multi_label),
    )


def _check(config: ConfigDict) -> None:
    augment = config.task.augment
    part = config.data.batch_size // config.optimizer.accumulate
    if (augment.mixup or augment.cutmix) and part % 2:
        raise UserError(
            f'mixup and cutmix pair neighbours, and batches of {part} have an odd one'
        )


def show(
    class_names: Sequence[str], multi_label: bool, inputs: Example, outputs: Records
) -> Shown:
    """Name the five most likely classes; of several labels, also all above one half."""
    probabilities = [round(float(p), 6) for p in outputs['probabilities']]
    order = sorted(range(len(probabilities)), key=lambda k: -probabilities[k])
    top = [
        {'class': class_names[k], 'probability': probabilities[k]} for k in order[:5]
    ]
    answer = {**top[0], 'top': top}
    if multi_label:
        answer = {
            'classes': [class_names[k] for k in order if probabilities[k] > 0.5],
            **answer,
        }
    if 'original' not in inputs:
        return answer, None
    return answer, figures.bars(
        inputs['original'], [(likely['class'], likely['probability']) for likely in top]
    )


def draw_figures(
    class_names: Sequence[str],
    picture: Callable[[Example], np.ndarray],
    records: Records,
    example: Callable[[int], Example],
) -> Pictures:
    """Draw the confusion matrix and the most confident mistakes.

    Args:
        class_names: in the order of the labels.
        picture: `picture(example)`, the uint8 image that stands for an example.
        records: of an evaluation with one label an example.
        example: `example(index)`, a prepared example.
    """
    wrong = np.flatnonzero(records['prediction'] != records['label'])
    worst = wrong[np.argsort(-records['confidence'][wrong], kind='stable')][:24]
    captions = [
        f'{class_names[records["label"][i]]}, said {class_names[records["prediction"][i]]} '
        f'({records["confidence"][i]:.0%})'
        for i in worst
    ]
    images = [picture(example(int(records['index'][i]))) for i in worst]
    return {
        'confusion': figures.matrix(
            metrics.confusion_matrix(records, len(class_names)), class_names
        ),
        'mistakes': figures.gallery(images, captions),
    }
