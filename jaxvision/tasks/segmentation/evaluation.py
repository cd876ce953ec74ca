"""Records, metrics, pictures and answers of a segmentation network."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxvision.core.task import Pictures, ReadExample
from jaxvision.core.types import IGNORED, Batch, Example, MetricValues, Records
from jaxvision.image import label_maps
from jaxvision.image.types import Size
from jaxvision.metrics import instances as instance_metrics
from jaxvision.metrics import segmentation as metrics
from jaxvision.tasks.segmentation import objects
from jaxvision.viz import figures
from jaxvision.viz import segmentation as drawing

# Predictions are kept for the pictures of this many examples, the first ones.
_PICTURES = 12
_LARGEST_SIDE = 384  # of a kept prediction, pixels

LabelMap = Int[np.ndarray, 'h w']


def record(outputs: Batch, batch: Batch) -> Batch:
    """The predictions of each image, with its place on the canvas.

    Args:
        outputs: of `Task.predict`.
        batch: with the arrays of `preparation.targets`, and 'index'.

    Returns:
        The outputs, 'warp', 'original_size' and 'index'.
    """
    names = ('warp', 'original_size', 'index')
    return {**outputs, **{name: batch[name] for name in names}}


@dataclasses.dataclass(frozen=True)
class Found:
    """The prediction for one image at its original size.

    Attributes:
        labels: the class of each pixel.
        instances: the number of the object of each pixel, 0: none; None: without objects.
        confidence: the probability of the class of each pixel.
    """

    labels: UInt8[np.ndarray, 'h w']
    instances: LabelMap | None
    confidence: Float[np.ndarray, 'h w']


def find(prediction: Example, size: Size) -> Found:
    """Map a prediction back to the original image, and choose the class of each pixel.

    Args:
        prediction: 'probabilities' [h, w, K] of the canvas, and its 'warp' [2, 3]. With
            objects also 'center' and 'border' [h, w].
        size: (height, width) of the original image, pixels.
    """
    matrix = np.asarray(prediction['warp'], np.float64)
    canvas = np.asarray(prediction['probabilities'])
    probabilities = label_maps.to_original(canvas, matrix, size)
    labels = probabilities.argmax(axis=-1).astype(np.uint8)
    confidence = probabilities.max(axis=-1)
    if 'center' not in prediction:
        return Found(labels, None, confidence)
    pair = np.stack([prediction['center'], prediction['border']], axis=-1)
    center, border = np.moveaxis(label_maps.to_original(pair, matrix, size), -1, 0)
    instances = objects.separate(1 - probabilities[..., 0], center, border)
    return Found(labels, instances, confidence)


def compact(record: Example, annotation: Example) -> Example:
    """Compare a prediction with the annotation at the annotation's resolution.

    Args:
        record: of `record`, for one example.
        annotation: with 'semantic' [H, W], and with 'instances' or 'masks' if the
            prediction has objects.

    Returns:
        'confusion' int64 [K, K] and, with objects, the arrays of
        `metrics.instances.record`. For the first examples 'shown' is the predicted label
        map, made smaller, otherwise it is empty.
    """
    truth = np.asarray(annotation['semantic'])
    found = find(record, truth.shape)
    number = record['probabilities'].shape[-1]
    compacted = {'confusion': metrics.confusion(truth, found.labels, number)}
    shown = found.labels
    if found.instances is not None:
        truth_instances = objects.instances_of(annotation)
        compacted |= instance_metrics.record(
            truth_instances, found.instances, truth == IGNORED
        )
        shown = found.instances
    if record['index'] >= _PICTURES:
        shown = np.zeros((0, 0), shown.dtype)
    step = -(-max(shown.shape) // _LARGEST_SIDE) or 1
    return {**compacted, 'shown': shown[::step, ::step]}


RAGGED = ('shown',)


def summarize(
    class_names: Sequence[str], with_objects: bool, records: Records
) -> MetricValues:
    """The metrics of classes and, with objects, those of instances.

    Args:
        class_names: of the dataset.
        with_objects: whether the records are those of objects too.
        records: of `compact`.
    """
    values = metrics.summarize(class_names, records)
    if with_objects:
        values |= instance_metrics.summarize(records)
    return values


def names(class_names: Sequence[str], with_objects: bool) -> list[str]:
    """The names of the metrics of `summarize`, with the same arguments."""
    listed = list(metrics.names(class_names))
    if with_objects:
        listed += instance_metrics.NAMES
    return listed


def draw(
    class_names: Sequence[str],
    with_objects: bool,
    records: Records,
    example: ReadExample,
) -> Pictures:
    """Draw predictions over images, and the confusion matrix of pixels.

    Args:
        class_names: of the dataset.
        with_objects: whether objects are drawn, instead of classes.
        records: records of an evaluation.
        example: `example(index)`, a prepared example.

    Returns:
        Pictures 'predictions', images without and with the prediction, and 'confusion'.
    """
    images = []
    captions = []
    for shown, index in zip(records['shown'], records['index'], strict=True):
        if not shown.size:
            continue
        image = _original(example(int(index)), shown.shape)
        if with_objects:
            picture = drawing.overlay_instances(image, shown)
        else:
            picture = drawing.overlay(image, shown, class_names, hidden=(0,))
        images += [image, picture]
        captions += ['', 'prediction']
    counts = records['confusion'].sum(axis=0)
    return {
        'predictions': figures.gallery(images, captions, 6),
        'confusion': figures.matrix(counts, class_names),
    }


def _original(prepared: Example, size: Size) -> UInt8[np.ndarray, 'h w 3']:
    """The image of a prepared example without its canvas, at a size in pixels."""
    image = prepared['image']
    if image.shape[-1] == 1:
        image = np.repeat(image, 3, axis=-1)
    matrix = np.asarray(prepared['warp'], np.float64)
    matrix = matrix * [[1, 1, 1]]
    scale = np.asarray(prepared['original_size']) / size
    matrix[:, :2] *= scale
    resized = label_maps.to_original(image.astype(np.float32), matrix, size)
    return np.round(resized).astype(np.uint8)
