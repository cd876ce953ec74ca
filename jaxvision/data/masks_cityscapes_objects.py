"""The objects of Cityscapes: files *_instanceIds.png, beside the labels of pixels.

A value of at least 1000 is an object: 1000 times the id of its label, and its number. A smaller one
is the id of a label. Pixels of a label with objects that belong to none are a group, such as many
parked bicycles. Each connected part of a group is a crowd.
"""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int
from scipy import ndimage

from jaxvision.core.types import Example
from jaxvision.data import files, masks_instances, masks_reading
from jaxvision.data.masks_classes import Reading
from jaxvision.data.masks_dataset import MaskSource
from jaxvision.data.masks_folder import Pair
from jaxvision.data.protocol import BOX_KEYS, SourceInfo, Unreadable

# {label id: name} of the labels whose objects the benchmark evaluates.
OBJECT_LABELS = {
    24: 'person',
    25: 'rider',
    26: 'car',
    27: 'truck',
    28: 'bus',
    31: 'train',
    32: 'motorcycle',
    33: 'bicycle',
}
_FACTOR = 1000
_LABELS = 34
_NONE = 65535  # the label -1

Values = Int[np.ndarray, 'h w']


class CityscapesSource(MaskSource):
    """The images of one split, with the labels and the objects of their pixels."""

    def __init__(
        self,
        info: SourceInfo,
        pairs: Sequence[Pair],
        contents: Sequence[str],
        reading: Reading,
        objects: Sequence[Path],
    ):
        """Take what the dataset has checked.

        Args:
            info: of the split.
            pairs: the images and labels.
            contents: what identifies the content of each image.
            reading: how stored labels become classes.
            objects: the file of the objects of each image.
        """
        super().__init__(info, pairs, contents, reading)
        self._objects = objects

    def annotation_of(self, row: int) -> Example:
        """The example of a row, without its image. Its files are read at each call."""
        holds = self.info.holds
        example = {}
        if 'semantic' in holds:
            example = self._read(row)
        if 'instances' in holds:
            example |= self._read_objects(row)
        elif 'boxes' in holds:
            example |= self.boxes_of(row)
        shapes = {
            example[key].shape for key in ('semantic', 'instances') if key in example
        }
        if len(shapes) > 1:
            raise Unreadable(
                f'its objects {self._objects[row]}: they have another size than its labels'
            )
        return {key: value for key, value in example.items() if key in holds}

    def boxes_of(self, row: int) -> Example:
        """'boxes', 'box_classes', 'crowd' and 'area' of a row, without its image.

        The file of its objects is read at the first call alone.
        """
        if row not in self._boxes:
            self._read_objects(row)
        return dict(self._boxes[row])

    def _read_objects(self, row: int) -> Example:
        path = self._objects[row]
        try:
            stored = masks_reading.read(files.read(str(path)))
            if stored.kind == 'colors':
                raise Unreadable('its pixels are colours: expected numbers of objects')
            example = objects_of(np.asarray(stored.values, np.int32))
        except Unreadable as error:
            raise Unreadable(f'its objects {path}: {error}') from error
        self._boxes[row] = {key: example[key] for key in BOX_KEYS}
        return example

    def without(self, keys: Sequence[str]) -> 'CityscapesSource':
        """The source whose examples lack some keys, so that fewer files are read."""
        source = copy.copy(self)
        source.info = self.info.without([key for key in keys if key != 'image'])
        return source


def objects_of(values: Values) -> Example:
    """Find the objects and the groups in a file of objects.

    Args:
        values: as the file stores them.

    Returns:
        'instances': the number of the object or of the part of a group of each pixel, 1 to N, or
        0. The parts of groups come last, and are crowds. 'instance_classes' and the keys of
        boxes, for N of them. Classes are places in `OBJECT_LABELS`.

    Raises:
        Unreadable: A value is neither a label nor an object of one.
    """
    rows = {label: row for row, label in enumerate(OBJECT_LABELS)}
    classes = []
    table = np.zeros(int(values.max(initial=0)) + 1, np.int32)
    groups = []
    for value in masks_reading.counts(values):
        label = value // _FACTOR if value >= _FACTOR else value
        if value == _NONE:
            continue
        if label >= _LABELS:
            raise Unreadable(
                f'its value {value} is neither a label nor an object of one'
            )
        if value >= _FACTOR and label in rows:
            classes.append(rows[label])
            table[value] = len(classes)
        elif label in rows:
            groups.append(label)
    instances = table[values]
    crowd = [False] * len(classes)
    for label in groups:
        parts, number = ndimage.label(values == label, np.ones((3, 3)))
        instances = np.where(parts > 0, parts + len(classes), instances)
        classes += [rows[label]] * number
        crowd += [True] * number
    instances = instances.astype(np.int32)
    numbers = np.array(classes, np.int32)
    objects = masks_instances.boxes(instances)
    return {
        **objects,
        'instances': instances,
        'instance_classes': numbers,
        'box_classes': numbers,
        'crowd': np.array(crowd, bool),
    }
