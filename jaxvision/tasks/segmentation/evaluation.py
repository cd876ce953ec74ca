"""Records, metrics, pictures and answers of a segmentation network."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer, UInt8

from jaxvision.core.task import Pictures, ReadExample
from jaxvision.core.types import IGNORED, Batch, Example, MetricValues, Records
from jaxvision.image import label_maps
from jaxvision.image.types import Size
from jaxvision.metrics import instances, surfaces
from jaxvision.metrics import segmentation as metrics
from jaxvision.tasks.segmentation import objects
from jaxvision.viz import figures
from jaxvision.viz import segmentation as drawing

# Predictions are kept for the pictures of this many examples, the first ones.
_PICTURES = 12
_LARGEST_SIDE = 384  # of a kept prediction, pixels

# The mean over images and classes of the F-measure of contours.
BOUNDARY = 'boundary_f'
# The arrays of `Measures.compact` whose shapes differ between examples.
RAGGED = ('shown', 'shown_truth')

LabelMap = Integer[np.ndarray, 'h w']


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
class Segmentation:
    """The prediction for one image at its original size.

    Attributes:
        labels: the class of each pixel.
        instances: the number of the object of each pixel, 0: none; None: without objects.
        confidence: the probability of the class of each pixel.
    """

    labels: UInt8[np.ndarray, 'h w']
    instances: LabelMap | None
    confidence: Float[np.ndarray, 'h w']


def segment(prediction: Example, size: Size) -> Segmentation:
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
        return Segmentation(labels, None, confidence)
    pair = np.stack([prediction['center'], prediction['border']], axis=-1)
    center, border = np.moveaxis(label_maps.to_original(pair, matrix, size), -1, 0)
    separated = objects.separate(1 - probabilities[..., 0], center, border)
    return Segmentation(labels, separated, confidence)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measures:
    """The metrics and pictures of a run.

    Attributes:
        class_names: of the K classes.
        with_objects: whether objects are separated and measured.
        with_surfaces: whether contours are measured: boundary F, HD95, the average and the
            normalised surface distance.
        tolerance: of the normalised surface distance, in pixels, or in the unit of the
            annotation's spacing.
    """

    class_names: Sequence[str]
    with_objects: bool = False
    with_surfaces: bool = False
    tolerance: float = 1.0

    @property
    def names(self) -> list[str]:
        """The names of the metrics of `summarize`."""
        names = list(metrics.names(self.class_names))
        if self.with_objects:
            names += instances.NAMES
        if self.with_surfaces:
            names += [BOUNDARY, *surfaces.NAMES]
        return names

    def compact(self, record: Example, annotation: Example) -> Example:
        """Compare a prediction with the annotation at the annotation's resolution.

        Args:
            record: of `record`, for one example.
            annotation: with 'semantic' [H, W], with 'instances' or 'masks' if objects
                are measured, and perhaps with 'spacing' [2].

        Returns:
            The arrays from which `summarize` computes its metrics. For the first
            examples 'shown' and 'shown_truth' are the predicted and the true label map,
            made smaller; otherwise they are empty.
        """
        truth = np.asarray(annotation['semantic'])
        predicted = segment(record, truth.shape)
        number = len(self.class_names)
        compacted = {'confusion': metrics.confusion(truth, predicted.labels, number)}
        shown = predicted.labels
        shown_truth = truth
        if predicted.instances is not None:
            true_instances = objects.instances_of(annotation)
            is_ignored = truth == IGNORED
            compacted |= instances.record(
                true_instances, predicted.instances, is_ignored
            )
            shown = predicted.instances
            shown_truth = true_instances
        if self.with_surfaces:
            spacing = annotation.get('spacing', (1.0, 1.0))
            compacted |= surfaces.record(
                truth, predicted.labels, number, spacing, self.tolerance
            )
            compacted[BOUNDARY] = metrics.boundary_f_by_class(
                truth, predicted.labels, number
            )
        is_shown = record['index'] < _PICTURES
        compacted['shown'] = _smaller(shown, is_shown)
        compacted['shown_truth'] = _smaller(shown_truth, is_shown)
        return compacted

    def summarize(self, records: Records) -> MetricValues:
        """Compute the metrics from the records of `compact`."""
        values = metrics.summarize(self.class_names, records)
        if self.with_objects:
            values |= instances.summarize(records)
        if self.with_surfaces:
            values |= surfaces.summarize(self.class_names, records)
            by_class = records[BOUNDARY]
            is_counted = ~np.isnan(by_class)
            values[BOUNDARY] = float(by_class[is_counted].mean())
        return values

    def draw(self, records: Records, example: ReadExample) -> Pictures:
        """Draw annotations and predictions over images, and the confusion matrix of pixels.

        Args:
            records: of `compact`.
            example: `example(index)`, a prepared example.

        Returns:
            Pictures 'predictions', each image alone, with its annotation and with its
            prediction, and 'confusion'.
        """
        images = []
        captions = []
        columns = ('shown_truth', 'shown', 'index')
        rows = zip(*(records[name] for name in columns), strict=True)
        for truth, shown, index in rows:
            if not shown.size:
                continue
            image = _original(example(int(index)), shown.shape)
            images += [image, self._overlay(image, truth), self._overlay(image, shown)]
            captions += ['', 'annotation', 'prediction']
        counts = records['confusion'].sum(axis=0)
        return {
            'predictions': figures.gallery(images, captions, 6),
            'confusion': figures.matrix(counts, self.class_names),
        }

    def _overlay(
        self, image: UInt8[np.ndarray, 'h w 3'], labels: LabelMap
    ) -> UInt8[np.ndarray, '_ _ 3']:
        """Paint a label map over an image, or an instance map if there are objects."""
        if self.with_objects:
            return drawing.overlay_instances(image, labels)
        hidden = drawing.hidden_classes(self.class_names)
        return drawing.overlay(image, labels, self.class_names, hidden)


def _smaller(labels: LabelMap, is_shown: np.bool_ | bool) -> LabelMap:
    """A label map for a picture, or an empty one if it is not shown."""
    if not is_shown:
        return labels[:0, :0]
    step = max(1, -(-max(labels.shape) // _LARGEST_SIDE))
    return labels[::step, ::step]


def _original(prepared: Example, size: Size) -> UInt8[np.ndarray, 'h w 3']:
    """The image of a prepared example without its canvas, at a size in pixels."""
    image = prepared['image']
    if image.shape[-1] == 1:
        image = np.repeat(image, 3, axis=-1)
    matrix = np.array(prepared['warp'], np.float64)
    matrix[:, :2] *= np.asarray(prepared['original_size']) / size
    resized = label_maps.to_original(image.astype(np.float32), matrix, size)
    return np.round(resized).astype(np.uint8)
