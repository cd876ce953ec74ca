"""Examples by a mask: a class for each pixel, and objects with their boxes and areas."""

import numpy as np
from jaxtyping import Int
from scipy import ndimage

from jaxvision.core.types import Example
from jaxvision.data.masks_classes import Reading
from jaxvision.data.masks_reading import StoredMask
from jaxvision.data.protocol import BOX_KEYS

# The keys of examples with objects.
KEYS = ('instances', 'instance_classes', *BOX_KEYS)

Instances = Int[np.ndarray, 'h w']


def example(stored: StoredMask, reading: Reading) -> Example:
    """What a mask tells of its image.

    Args:
        stored: the mask.
        reading: how stored values become classes or objects.

    Returns:
        'semantic', and with objects the keys of `KEYS`.

    Raises:
        Unreadable: A value belongs to no class.
    """
    semantic = reading.semantic(stored)
    if not reading.has_objects:
        return {'semantic': semantic}
    instances = reading.numbers(stored)
    objects = boxes(instances)
    return {
        'semantic': semantic,
        'instances': instances,
        'instance_classes': objects['box_classes'],
        **objects,
    }


def boxes(instances: Instances) -> Example:
    """The boxes of the objects of a map that have pixels, each around all its pixels.

    Args:
        instances: [H, W], 1 to N for objects, 0 elsewhere. Each of 1 to N has a pixel.

    Returns:
        boxes: float32 [N, 4], ymin, xmin, ymax, xmax in pixels.
        box_classes: int32 [N], all 0.
        crowd: bool [N], all False.
        area: float32 [N], the number of pixels.
    """
    slices = ndimage.find_objects(instances)
    edges = [(y.start, x.start, y.stop, x.stop) for y, x in slices]
    areas = np.bincount(instances.reshape(-1), minlength=1)[1:]
    return {
        'boxes': np.array(edges, np.float32).reshape(-1, 4),
        'box_classes': np.zeros(len(edges), np.int32),
        'crowd': np.zeros(len(edges), bool),
        'area': areas.astype(np.float32),
    }
