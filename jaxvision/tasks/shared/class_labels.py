"""Class labels of images and clips: array specs, named predictions and figures."""

from collections.abc import Callable, Sequence

import numpy as np

from jaxvision.core.spec import ArraySpec
from jaxvision.core.task import Pictures, ReadExample, Shown
from jaxvision.core.types import Example, Records
from jaxvision.data.protocol import SourceInfo
from jaxvision.metrics import classification as metrics
from jaxvision.viz import figures


def array_spec(info: SourceInfo) -> ArraySpec:
    """Return the shape and dtype of a label.

    With one label an example it is the class number, int32 of shape (). With several labels it is
    float32 [K], 0 or 1 for each of the K classes.
    """
    if info.multi_label:
        return ArraySpec((len(info.class_names),), 'float32')
    return ArraySpec((), 'int32')


def show(
    class_names: Sequence[str], multi_label: bool, inputs: Example, outputs: Records
) -> Shown:
    """Name the most likely classes of one image or clip.

    Args:
        class_names: names of the K classes, in the order of the labels.
        multi_label: whether an example has several labels.
        inputs: a prepared example. Only its 'original' is used, an image of the input as
            uint8 [h, w, 3]. It may be missing.
        outputs: outputs of `Task.predict` for one example, with 'probabilities' [K].

    Returns:
        (answer, picture). The answer has 'class' and 'probability' of the most likely class,
        and 'top', a list of {'class', 'probability'} of the five most likely ones. With
        several labels it also has 'classes', all names with a probability above 0.5. All are
        in descending order. The picture is 'original' with bars for 'top', or None without
        'original'.
    """
    probabilities = [round(float(p), 6) for p in outputs['probabilities']]
    order = sorted(range(len(probabilities)), key=lambda k: -probabilities[k])
    top = [
        {'class': class_names[k], 'probability': probabilities[k]} for k in order[:5]
    ]
    answer = {**top[0], 'top': top}
    if multi_label:
        likely = [class_names[k] for k in order if probabilities[k] > 0.5]
        answer = {'classes': likely, **answer}
    if 'original' not in inputs:
        return answer, None
    bars = [(class_names[k], probabilities[k]) for k in order[:5]]
    return answer, figures.bars(inputs['original'], bars)


def draw_figures(
    class_names: Sequence[str],
    picture: Callable[[Example], np.ndarray],
    records: Records,
    example: ReadExample,
) -> Pictures:
    """Draw the confusion matrix, and the 24 mistakes with the highest confidence.

    Args:
        class_names: names of the classes, in the order of the labels.
        picture: `picture(example)` returns the uint8 image that stands for an example.
        records: records of an evaluation in which an example has one label: 'index', 'label',
            'prediction' and 'confidence' [N], the probability of the prediction.
        example: `example(index)` returns a prepared example.

    Returns:
        {'confusion': the matrix, one row per true class, 'mistakes': the images, the most
        confident first, or a note if there are none}.
    """
    wrong = np.flatnonzero(records['prediction'] != records['label'])
    worst = wrong[np.argsort(-records['confidence'][wrong], kind='stable')][:24]
    images = []
    captions = []
    for row in worst:
        mistake = {name: values[row] for name, values in records.items()}
        images.append(picture(example(int(mistake['index']))))
        label = class_names[mistake['label']]
        prediction = class_names[mistake['prediction']]
        captions.append(f'{label}, said {prediction} ({mistake["confidence"]:.0%})')
    counts = metrics.confusion_matrix(records, len(class_names))
    return {
        'confusion': figures.matrix(counts, class_names),
        'mistakes': figures.gallery(images, captions),
    }
