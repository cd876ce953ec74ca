"""Label maps of TFDS: the features `segmentation_mask` and `segmentation_label`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from jaxvision.core.errors import UserError
from jaxvision.core.types import IGNORED
from jaxvision.data import headers, masks_cityscapes, masks_classes, masks_values
from jaxvision.data.masks_classes import Reading
from jaxvision.data.protocol import Unreadable, fingerprint

FEATURES = ('segmentation_mask', 'segmentation_label')

# Oxford-IIIT Pet has the values 1, 2 and 3 (Parkhi et al., Cats and Dogs, CVPR 2012).
_PETS = Reading(
    names=('pet', 'background', 'border'), rows={1: 0, 2: 1, 3: 2, IGNORED: IGNORED}
)


def is_mask(name: str, feature: tfds.features.FeatureConnector) -> bool:
    """Whether a feature is an encoded image with one channel and the name of a label map."""
    is_image = isinstance(feature, tfds.features.Image)
    return is_image and name in FEATURES and feature.shape[-1] == 1


def known_reading(dataset: str) -> Reading | None:
    """How the label maps of a dataset of this name are read; None if it is not listed here."""
    if dataset == 'oxford_iiit_pet':
        return _PETS
    if dataset == 'cityscapes':
        return masks_cityscapes.label_reading()
    return None


def reading_of(
    name: str,
    numbers: Mapping[str, int],
    contents: Mapping[str, Sequence[str]],
    load: Callable[[str, int], bytes],
) -> Reading:
    """Decide how the label maps of a dataset are read, by the values that occur in all splits.

    Args:
        name: the dataset, for messages.
        numbers: {split: its number of examples}.
        contents: {split: what identifies the content of its files}.
        load: `(split, row) -> the encoded label map`.

    Raises:
        UserError: No label map can be read, or the values are neither classes nor objects.
    """
    places = [
        (split, row) for split, number in numbers.items() for row in range(number)
    ]
    paths = [Path(f'{name} {split}, row {row}') for split, row in places]
    identities = [
        masks_values.part_of(contents[split], f'{split} {row}') for split, row in places
    ]

    def encoded(place: int) -> bytes:
        return load(*places[place])

    values, unreadable = masks_values.scan(paths, identities, load=encoded)
    if not values:
        reason = next(iter(unreadable.values()), 'there are no examples')
        raise UserError(f'{name}: no label map can be read: {reason}')
    reading = masks_classes.decide(values, None)
    if reading.has_objects:
        raise UserError(
            f'{name}: expected label maps of classes, and the values number objects. Use its '
            'images and masks as masks:FOLDER'
        )
    return reading


def semantic(
    reading: Reading, encoded: bytes, image: bytes | np.ndarray
) -> UInt8[np.ndarray, 'h w']:
    """The row of the class of each pixel, 255 at pixels to ignore.

    Args:
        reading: how stored values become classes.
        encoded: the label map.
        image: encoded, or uint8 [H, W, C].

    Raises:
        Unreadable: The label map is damaged, a value is no class, or the upright image has another
            size.
    """
    from jaxvision.data import masks_reading

    try:
        label_map = reading.semantic(masks_reading.read(encoded))
    except Unreadable as error:
        raise Unreadable(f'its label map: {error}') from error
    size = headers.size_of(image) if isinstance(image, bytes) else None
    height, width = size.upright if size else np.shape(image)[:2] or label_map.shape
    if label_map.shape != (height, width):
        raise Unreadable(
            f'its label map is {label_map.shape[1]}x{label_map.shape[0]}, and its image is '
            f'{width}x{height}'
        )
    return label_map


def fingerprint_of(reading: Reading) -> str:
    """A hash of how label maps are read, 16 hexadecimal digits."""
    return fingerprint(reading.names, sorted(reading.rows.items()))
