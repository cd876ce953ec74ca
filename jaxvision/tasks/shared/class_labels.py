"""Class labels of images and clips: their shape, answers that name classes, and figures."""

from collections.abc import Callable, Sequence

import numpy as np

from jaxvision.core.spec import ArraySpec
from jaxvision.core.task import Pictures, Shown
from jaxvision.core.types import Example, Records
from jaxvision.data.protocol import SourceInfo
from jaxvision.metrics import classification as metrics
from jaxvision.viz import figures


def array_spec(info: SourceInfo) -> ArraySpec:
    """The shape and dtype of a label."""
    if info.multi_label:
        return ArraySpec((len(info.class_names),), 'float32')
    return ArraySpec((), 'int32')


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
