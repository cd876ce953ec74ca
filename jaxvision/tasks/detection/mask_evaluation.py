"""The evaluation of masks at the resolution of the original image."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxvision.boxes import pasting
from jaxvision.core.task import Evaluation, Paste
from jaxvision.core.types import Example, Records
from jaxvision.image import label_maps
from jaxvision.image.warp import Warp
from jaxvision.metrics import detection_masks
from jaxvision.tasks.detection import box_masks
from jaxvision.viz import segmentation as drawing

Picture = UInt8[np.ndarray, 'h w 3']


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


def paint(
    picture: Picture,
    records: Records,
    row: int,
    shown: Bool[np.ndarray, 'n'],
    warp: Float[np.ndarray, '2 3'],
) -> Picture:
    """Paint the masks of some detections on their image.

    Args:
        picture: the image on its canvas.
        records: of `compact`.
        row: of the image in the records.
        shown: which of the N detections of the row are painted, valid ones only.
        warp: the map from the original image to the canvas.
    """
    height, width = records['original_size'][row].tolist()
    map_ = Warp(np.asarray(warp, np.float64), picture.shape[:2])
    # There are run lengths of the valid detections only.
    runs = pasting.split(records['mask_runs'][row])
    numbers = np.flatnonzero(shown[records['valid'][row]])
    masks = [pasting.decode(runs[number], (height, width)) for number in numbers]
    if not masks:
        return picture
    labels = [mask.astype(np.uint8) for mask in masks]
    on_canvas = [label_maps.moved(label, [map_], 0) > 0 for label in labels]
    classes = records['classes'][row][shown]
    return drawing.overlay_masks(picture, np.stack(on_canvas), classes)
