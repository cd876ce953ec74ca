"""The features of a dataset of TFDS that become the keys of an example."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxvision.core.errors import UserError
from jaxvision.core.types import Value
from jaxvision.data import tfds_masks, tfds_objects
from jaxvision.data.protocol import BOX_KEYS

Features = Mapping[str, Any]


def feature_names(info: tfds.core.DatasetInfo) -> dict[str, str]:
    """The features that are the image or video, the label, captions, objects and the label map.

    Returns:
        The name of a feature by the key of an example, such as {'image': 'jpg', 'label': 'class'}.

    Raises:
        UserError: No image, several, or neither one label nor captions, objects or a label map.
    """
    features = dict(info.features)
    masks = [name for name in features if tfds_masks.is_mask(name, features[name])]
    images = [
        name
        for name, feature in features.items()
        if _is_image(feature) and name not in masks
    ]
    labels = [
        name
        for name, feature in features.items()
        if isinstance(feature, tfds.features.ClassLabel)
    ]
    has_captions = _is_text(features.get('captions'))
    pair = info.supervised_keys
    if pair and len(pair) == 2:
        image, label = pair
        if image in images and label in labels:
            images = [image]
            labels = [label]
    has_objects = tfds_objects.is_objects(features.get('objects'))
    if masks and len(labels) > 1:
        labels = []  # The label map is what remains to learn.
    has_others = has_captions or has_objects or bool(masks)
    has_target = len(labels) == 1 or (has_others and not labels)
    if len(images) != 1 or not has_target:
        described = ', '.join(
            f'{name}: {type(features[name]).__name__}' for name in sorted(features)
        )
        raise UserError(
            f'{info.full_name} is no data set of one image or video and one class, or '
            f'of `captions`, `objects` or `segmentation_mask`; its features are {described}'
        )
    image = images[0]
    names = {'image': image}
    if isinstance(features[image], tfds.features.Video):
        names = {'video': image}
    if labels:
        names['label'] = labels[0]
    if has_captions:
        names['captions'] = 'captions'
    if has_objects and not labels and not has_captions:
        names['objects'] = 'objects'
    if masks:
        names['semantic'] = masks[0]
    return names


def held_keys(feature_names: Iterable[str]) -> tuple[str, ...]:
    """The keys of an example, where `objects` stands for those of boxes."""
    keys = []
    for name in feature_names:
        keys += BOX_KEYS if name == 'objects' else [name]
    return tuple(keys)


def _is_text(feature) -> bool:
    """Whether a feature is a text, several, or several with a `text` each, as in COCO."""
    each = getattr(feature, 'feature', feature)
    if isinstance(each, tfds.features.FeaturesDict):
        each = dict(each).get('text')
    return each is not None and np.dtype(each.np_dtype) == object


def texts(captions: Value) -> list[str]:
    """The texts of a feature that `feature_names` takes for captions."""
    listed = captions
    if isinstance(captions, dict):
        listed = captions['text']
    if isinstance(listed, bytes):
        listed = [listed]
    return [text.decode() for text in listed]


def _is_image(feature) -> bool:
    """Whether a feature is an image or a video, which is a sequence of images."""
    if isinstance(feature, tfds.features.Video):
        return feature.np_dtype == np.uint8
    if not isinstance(feature, tfds.features.Image | tfds.features.Tensor):
        return False
    return feature.np_dtype == np.uint8 and len(feature.shape) == 3


def image_shape(
    feature: Value,
) -> tuple[int | None, int | None, int]:
    """(height, width, channels) of an image or a video's frames; None for sides that differ."""
    height, width, channels = feature.shape[-3:]
    if channels != 1:
        channels = 3
    return height, width, channels


def class_names(features: Features) -> tuple[str, ...]:
    """The names of the classes of labels or objects, or their numbers; () if there are none.

    Args:
        features: by the keys of an example, as `feature_names` has them.
    """
    label = features.get('label')
    if 'objects' in features:
        label = features['objects'].feature['label']
    if label is None:
        return ()
    return tuple(label.names or map(str, range(label.num_classes)))
