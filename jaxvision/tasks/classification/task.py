"""Image classification: one label an image (softmax) or several (sigmoid)."""

import functools

import jax.numpy as jnp
import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.core.task import Task
from jaxvision.image import color
from jaxvision.metrics import classification as metrics
from jaxvision.tasks.shared import fine_tuning, image_input
from jaxvision.tasks.shared.classifier import classifier
from jaxvision.viz import figures

DEFAULTS = dict(
    **fine_tuning.DEFAULTS,
    label_smoothing=0.0,
    resize='squash',  # how other sizes become data.image_size: 'squash', or 'center_crop' 7/8
    recipe='',  # or how published networks see, of pretrained/recipes.py: resized and cropped
    # to data.image_size, normalised, grey repeated to RGB; '': as the weights in
    # train.init_from, if they are a file; 'none': all the same
    crop_scale=1.0,  # smallest share of the area in a random resized crop of those; 1: none
    augment=dict(
        flip=False,  # left to right, every other image
        translate=0.0,  # largest shift, a share of the side
        rotate=0.0,  # largest angle, degrees
        color=0.0,  # jitter of brightness, contrast and saturation, and a quarter of it of hue
        randaugment=0,  # operations an image, at magnitude 9 of 10
        cutout=0.0,  # side of the erased square, a share of the image's
        mixup=0.0,  # alpha
        cutmix=0.0,
    ),
)  # alpha; with both, a step has the one or the other


def source(config, source, split: str):
    """As it is, unless its classes are none of training's."""
    if source.info.new_classes:
        raise UserError(
            f'{source.info.name}: the classes of its split {source.info.split!r} are '
            'none of training; to learn to tell such apart, see configs/few_shot.py'
        )
    return source


def describe(config, source) -> dict:
    """Shapes, class names, the resize rule, and the training images' mean and deviation, or those
    of the recipe."""
    info = source.info
    info.check_holds('image', 'label')
    spec = {
        'class_names': list(info.class_names),
        'multi_label': info.multi_label,
        'targets': {'label': target(info)},
        **image_input.describe(config, info),
    }
    return image_input.normalized(
        spec,
        lambda: image_input.statistics(
            config, source, image_input.make_prepare(config, spec)
        ),
    )


def target(info) -> dict:
    """The shape and dtype of a label."""
    return (
        {'shape': [len(info.class_names)], 'dtype': 'float32'}
        if info.multi_label
        else {'shape': [], 'dtype': 'int32'}
    )


def make(config, spec: dict) -> Task:
    _check(config, spec)
    dtype, names = jnp.dtype(config.model.param_dtype), spec['class_names']

    def image(example):
        return example['image']

    return classifier(
        config,
        spec,
        lambda inputs: (color.to_float(jnp.asarray(image(inputs)), dtype),),
        functools.partial(image_input.augmented, config.task.augment),
        prepare=image_input.make_prepare(config, spec),
        draw=functools.partial(draw_figures, names, image),
        show=functools.partial(show, names, spec['multi_label']),
    )


def _check(config, spec: dict) -> None:
    options = config.task.augment
    image_input.check_moves(options)
    if not 0 <= options.cutout <= 1:
        raise UserError(
            f'task.augment.cutout={options.cutout}: a share of the side, 0 to 1'
        )
    for name in ('color', 'randaugment', 'mixup', 'cutmix'):
        if options[name] < 0:
            raise UserError(f'task.augment.{name}={options[name]}: it is at least 0')
    part = config.data.batch_size // max(config.optimizer.accumulate, 1)
    if (options.mixup or options.cutmix) and part % 2:
        raise UserError(
            f'mixup and cutmix pair neighbours, and batches of {part} have an odd one'
        )
    if not 0 < config.task.crop_scale <= 1:
        raise UserError(
            f'task.crop_scale={config.task.crop_scale}: it is above 0, up to 1'
        )


def show(
    class_names: list[str], multi_label: bool, inputs: dict, outputs: dict
) -> tuple[dict, np.ndarray | None]:
    """The five most likely classes; of several labels, also all that are more likely than not."""
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
    class_names: list[str], picture, records: dict, example
) -> dict[str, np.ndarray]:
    """The confusion matrix, and the most confident mistakes, of each `picture(example)`."""
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
