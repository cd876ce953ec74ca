"""Objects of an instance map: their boxes and areas."""

import numpy as np
from jaxtyping import Int
from scipy import ndimage

from jaxvision.core.types import Example

Instances = Int[np.ndarray, 'h w']


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
