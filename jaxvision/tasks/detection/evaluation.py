"""Records, metrics, pictures and answers of a detector."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxvision.core.task import Pictures, ReadExample
from jaxvision.core.types import Batch, Records
from jaxvision.metrics import detection as metrics
from jaxvision.metrics import detection_curves, detection_errors
from jaxvision.tasks.detection import mask_evaluation
from jaxvision.viz import boxes as drawing
from jaxvision.viz import detection_figures, figures

# The boxes of each image.
BatchOfBoxes = Float[Array, 'b d 4']

SHOWN = 0.3  # score from which a detection is drawn
_PICTURES = 12


def record(outputs: Batch, batch: Batch) -> Batch:
    """The detections and the ground truth of each image, in pixels of the original image.

    Args:
        outputs: of `Task.predict`.
        batch: with the arrays of `preparation.targets`, and 'index'.

    Returns:
        'boxes', 'scores', 'classes' and 'valid' of the detections. 'truth_boxes',
        'truth_classes', 'truth_mask', 'crowd' and 'area' of the ground truth. 'index'.
        'masks' of the detections, if `outputs` has them, and 'mask_boxes', the boxes of
        the masks, which are not clipped to the image.
    """
    boxes = _unwarped(outputs['boxes'], batch['warp'])
    masks = {}
    if 'masks' in outputs:
        masks = {'masks': outputs['masks'], 'mask_boxes': boxes}
    return {
        **masks,
        'boxes': _clipped(boxes, batch['original_size']),
        'scores': outputs['scores'],
        'classes': outputs['classes'],
        'valid': outputs['valid'],
        'truth_boxes': batch['truth_boxes'],
        'truth_classes': batch['box_classes'],
        'truth_mask': batch['box_mask'],
        'crowd': batch['crowd'],
        'area': batch['area'],
        'index': batch['index'],
    }


def to_original(
    boxes: BatchOfBoxes,
    warp: Float[Array, 'b 2 3'],
    size: Array,
) -> BatchOfBoxes:
    """Map boxes of resized images back, and clip them to the original images.

    Args:
        boxes: edges in pixels of the resized image.
        warp: scales and shifts from the original to the resized image.
        size: (height, width) of each original image, pixels.
    """
    return _clipped(_unwarped(boxes, warp), size)


def _unwarped(boxes: BatchOfBoxes, warp: Float[Array, 'b 2 3']) -> BatchOfBoxes:
    scale = jnp.stack([warp[:, 0, 0], warp[:, 1, 1]], axis=-1)
    scale = jnp.tile(scale, 2)[:, None]
    shift = jnp.tile(warp[:, :, 2], 2)[:, None]
    return (boxes - shift) / scale


def _clipped(boxes: BatchOfBoxes, size: Array) -> BatchOfBoxes:
    limits = jnp.tile(size, 2)[:, None].astype(boxes.dtype)
    return jnp.clip(boxes, 0, limits)


def draw(
    class_names: Sequence[str], records: Records, example: ReadExample
) -> Pictures:
    """Draw detections on images, the confusion matrix, curves of precision and F1, and errors.

    At most 12 images are drawn, evenly spaced, with the detections of a score of at
    least 0.3 and their masks. The confusion matrix has those of at least 0.25, and a
    class for background. The errors are those at the score threshold with the largest F1
    on these records, or at 0.3 if there is none.

    Args:
        class_names: of the dataset.
        records: records of an evaluation.
        example: `example(index)`, a prepared example.

    Returns:
        Pictures 'detections', 'confusion', 'precision_recall', 'f1' and 'errors'.
    """
    rows = np.linspace(0, len(records['index']) - 1, _PICTURES).astype(int)
    images = []
    for row in np.unique(rows).tolist():
        prepared = example(int(records['index'][row]))
        shown = records['valid'][row] & (records['scores'][row] >= SHOWN)
        boxes = records['boxes'][row][shown]
        image = prepared['image']
        if 'mask_runs' in records:
            image = mask_evaluation.paint(image, records, row, shown, prepared['warp'])
        images.append(
            drawing.draw(
                image,
                _to_canvas(boxes, prepared['warp']),
                _captions(class_names, records, row, shown),
                records['classes'][row][shown],
            )
        )
    counts = metrics.confusion(records, len(class_names))
    return {
        'detections': figures.gallery(images, [''] * len(images), 4),
        'confusion': figures.matrix(counts, [*class_names, 'background']),
        **_draw_curves(class_names, records),
    }


def _draw_curves(class_names: Sequence[str], records: Records) -> Pictures:
    """Draw precision over recall, F1 over the score threshold, and the types of errors."""
    by_class = detection_curves.outcomes(records, len(class_names))
    pooled = detection_curves.pooled(by_class)
    best, _ = detection_curves.best_threshold(pooled)
    score = best or SHOWN
    counts = detection_errors.count_errors(records, len(class_names), score=score)
    return {
        'precision_recall': detection_figures.precision_recall(
            [(outcome.recall, outcome.precision) for outcome in by_class],
            class_names,
            [outcome.average_precision for outcome in by_class],
        ),
        'f1': detection_figures.f1(
            [(outcome.scores, outcome.f1) for outcome in by_class],
            class_names,
            (pooled.scores, pooled.f1),
            best,
        ),
        'errors': detection_figures.errors(
            counts,
            detection_errors.KINDS,
            class_names,
            f'errors of detections with a score of at least {score:.2f}',
        ),
    }


def _to_canvas(
    boxes: Float[np.ndarray, 'n 4'], warp: Float[np.ndarray, '2 3']
) -> Float[np.ndarray, 'n 4']:
    scale = np.tile(np.diag(warp), 2)
    return boxes * scale + np.tile(warp[:, 2], 2)


def _captions(
    class_names: Sequence[str], outputs: Records, row: int, shown: np.ndarray
) -> list[str]:
    names = [class_names[number] for number in outputs['classes'][row][shown]]
    scores = outputs['scores'][row][shown]
    return [f'{name} {score:.2f}' for name, score in zip(names, scores, strict=True)]
