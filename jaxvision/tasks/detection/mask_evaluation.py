"""The evaluation of masks at the resolution of the original image."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from jaxvision.boxes import pasting
from jaxvision.core.task import Evaluation, Paste
from jaxvision.core.types import Example
from jaxvision.metrics import detection_masks
from jaxvision.tasks.detection import box_masks


def with_masks(
    evaluation: Evaluation, class_names: Sequence[str], paste: Paste
) -> Evaluation:
    """Extend the evaluation of boxes by the average precision of masks.

    Args:
        evaluation: of boxes, whose records have 'masks' and 'original_size'.
        class_names: of the dataset.
        paste: see `Task.paste`.
    """
    return dataclasses.replace(
        evaluation,
        summarize=functools.partial(detection_masks.summarize, class_names),
        metrics=detection_masks.names(class_names),
        compact=functools.partial(compact, paste),
        ragged=('mask_runs', 'truth_mask_runs'),
    )


def compact(paste: Paste, record: Example, annotation: Example) -> Example:
    """Paste the masks of an image, and keep the run lengths.

    Args:
        paste: see `Task.paste`.
        record: of one image, with the 'masks' of its detections inside 'mask_boxes'.
        annotation: with 'masks' [N, H, W] or 'instances' [H, W] of the objects in the
            original image.

    Returns:
        `record` with 'mask_runs' and 'truth_mask_runs' in place of the masks.
    """
    rows = np.arange(len(annotation['boxes']))
    rows = rows[annotation.get('box_mask', slice(None))]
    truth = box_masks.masks_of(annotation, rows.tolist())
    valid = record['valid']
    size = box_masks.size_of(annotation)
    runs = [
        pasting.run_lengths(paste(mask, box, size))
        for mask, box in zip(
            record['masks'][valid], record['mask_boxes'][valid], strict=True
        )
    ]
    truth_runs = [pasting.run_lengths(mask) for mask in truth]
    large = ('masks', 'mask_boxes')
    kept = {name: values for name, values in record.items() if name not in large}
    return {
        **kept,
        'original_size': np.array(size, np.int32),
        'mask_runs': pasting.join(runs),
        'truth_mask_runs': pasting.join(truth_runs),
    }
