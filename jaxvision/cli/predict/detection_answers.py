"""The objects of one image for the user: thresholds, the answer, the picture."""

import collections
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxvision.boxes import pasting
from jaxvision.boxes.merging import Detections
from jaxvision.cli.predict import finding
from jaxvision.cli.predict.model import Model
from jaxvision.core.fields import Field
from jaxvision.core.types import Json
from jaxvision.viz import boxes as drawing
from jaxvision.viz import segmentation

# Score from which a detection is given, if the run has no calibration.json.
SCORE = 0.3


def thresholds(model: Model, score: float | None) -> tuple[Float[np.ndarray, 'k'], str]:
    """Choose, for each class, the least score of an object that is given.

    Args:
        model: a detector, with the calibration of its run.
        score: of the user, for all classes; None: those of the calibration, or 0.3.

    Returns:
        (the scores, a sentence of where they come from). A class without a calibrated
        score gets the one of all classes together.

    Raises:
        UserError: The score is not in [0, 1].
    """
    names = model.spec.class_names
    if score is not None:
        Field(SCORE, '', least=0, most=1).check('--score', score)
        return np.full(len(names), score), f'--score={score:g}'
    overall = model.calibration.get('score')
    if overall is None:
        reason = 'the run chose none on a validation split'
        return np.full(len(names), SCORE), f'{SCORE:g} ({reason}; --score S changes it)'
    by_class = model.calibration.get('class_scores', {})
    # A class without a correct detection on the validation split has no threshold.
    chosen = [by_class.get(name) or overall for name in names]
    origin = (
        f'{min(chosen):.2f} to {max(chosen):.2f} by class, the best F1 on validation at '
        f'step {model.calibration.get("step")} (--score S changes them)'
    )
    return np.array(chosen), origin


def answer_of(model: Model, found: Detections, size: tuple[int, int]) -> Json:
    """Describe the objects of an image.

    Args:
        model: with the names and the numbers of the classes.
        found: in pixels of the image.
        size: (height, width) of the image, pixels.

    Returns:
        {'objects': a text such as '3 car, 1 dog' or 'none', 'size': [width, height],
        'detections': ({'class', 'category_id', 'score', 'bbox'}, ...)}, in the order of
        `found`. 'bbox' is [x, y, width, height], as in COCO's results. Without COCO's
        numbers, 'category_id' is the place of the class, from 0. A detection with a
        mask has its 'area' in pixels of the image and its 'segmentation', COCO's run
        lengths.
    """
    names = model.spec.class_names
    category_ids = getattr(model.spec.details, 'category_ids', ())
    detections = []
    for box, score, number in zip(
        found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True
    ):
        ymin, xmin, ymax, xmax = box
        sides = (xmin, ymin, xmax - xmin, ymax - ymin)
        detections.append(
            {
                'class': names[number],
                'category_id': category_ids[number] if category_ids else number,
                'score': round(score, 6),
                'bbox': [round(side, 3) for side in sides],
            }
        )
    for detection, mask in zip(detections, masks_of(model, found, size), strict=False):
        counts_of_runs = pasting.run_lengths(mask).decode()
        detection['area'] = int(mask.sum())
        detection['segmentation'] = {'size': list(size), 'counts': counts_of_runs}
    counts = collections.Counter(names[number] for number in found.classes.tolist())
    listed = [f'{count} {name}' for name, count in counts.most_common()]
    height, width = size
    return {
        'objects': ', '.join(listed) or 'none',
        'size': [width, height],
        # The table lists a list of texts, and takes an empty list for one.
        'detections': tuple(detections),
    }


def masks_of(
    model: Model, found: Detections, size: tuple[int, int]
) -> Iterator[Bool[np.ndarray, 'h w']]:
    """Yield the mask of each object in the image, one at a time; none without masks.

    All masks of a large image would need much memory.

    Args:
        model: a detector.
        found: in pixels of the image.
        size: (height, width) of the image, pixels.
    """
    if model.task.paste and found.masks:
        for mask, box in zip(found.masks.values, found.masks.boxes, strict=True):
            yield model.task.paste(mask, box, size)


def draw(
    model: Model,
    image: finding.Image,
    found: Detections,
    ids: Sequence[str] = (),
) -> UInt8[np.ndarray, 'h2 w2 3']:
    """Draw the boxes and masks of an image, each with its class and its score.

    Args:
        model: with the names of the classes.
        image: at its full size, with 3 channels. A small one is enlarged.
        found: in pixels of the image.
        ids: a text before each caption; empty: none.
    """
    captions = []
    for number, score in zip(
        found.classes.tolist(), found.scores.tolist(), strict=True
    ):
        captions.append(f'{model.spec.class_names[number]} {score:.2f}')
    if ids:
        captions = [
            f'{text}{caption}' for text, caption in zip(ids, captions, strict=True)
        ]
    if found.masks:
        size = (image.shape[0], image.shape[1])
        # The first object is on top.
        from_last = found.at(np.arange(len(found.scores))[::-1])
        masks = masks_of(model, from_last, size)
        for mask, number in zip(masks, from_last.classes, strict=True):
            image = segmentation.overlay_masks(image, mask[None], number[None])
    return drawing.draw(image, found.boxes, captions, found.classes)
