"""The feature `objects` of TFDS, as in coco/2017 and voc/2007: boxes and their classes."""

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from jaxvision.core.types import Example
from jaxvision.data import boxes_checks, headers
from jaxvision.data.boxes_checks import AnnotatedImage

NOTES = (
    'boxes without area, and parts of boxes outside of the image, are left out as they are '
    'read',
)


def is_objects(feature: tfds.features.FeatureConnector | None) -> bool:
    """Whether a feature is a sequence of objects with a `bbox` and a `label` each."""
    each = getattr(feature, 'feature', None)
    if not isinstance(each, tfds.features.FeaturesDict):
        return False
    fields = dict(each)
    is_boxes = isinstance(fields.get('bbox'), tfds.features.BBoxFeature)
    return is_boxes and isinstance(fields.get('label'), tfds.features.ClassLabel)


def example(
    image: bytes | np.ndarray, objects: Example, where: Path = Path('record')
) -> Example:
    """The keys of an example that are about boxes, in pixels of the upright image.

    Args:
        image: encoded, or uint8 [H, W, C].
        objects: `bbox` float [N, 4] as fractions of the image, `label` int [N], and perhaps
            `is_crowd` bool [N] and `area` [N] in square pixels.
        where: the name of the example; no result depends on it.

    Returns:
        'boxes', 'box_classes', 'crowd' and 'area', read-only. Boxes are clipped to the
        image; those without area or with a negative label are left out. All are empty
        if the header of the image cannot be read.
    """
    labels = tuple(int(label) for label in objects['label'])
    number = len(labels)
    annotated = AnnotatedImage(
        path=where,
        size=None,
        labels=labels,
        boxes=np.asarray(objects['bbox'], np.float64).reshape(number, 4),
        crowd=np.asarray(objects.get('is_crowd', np.zeros(number)), bool),
        area=np.asarray(objects.get('area', np.full(number, np.nan)), np.float64),
    )
    classes = {label: label for label in labels if label >= 0}
    size = _size(image)
    checked = boxes_checks.checked([annotated], [size], classes, is_relative=True)
    return checked.objects[0]


def _size(image: bytes | np.ndarray) -> headers.Size | None:
    if isinstance(image, bytes):
        return headers.size_of(image)
    return headers.Size(image.shape[0], image.shape[1])
