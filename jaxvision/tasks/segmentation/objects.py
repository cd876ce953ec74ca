"""Objects that touch each other: learned by their centres and borders, found by watershed."""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from jaxvision.core.types import Example

Instances = Int[np.ndarray, 'h w']
# The (height, width) map of a probability.
Probability = Float[np.ndarray, 'h w']
Foreground = Bool[np.ndarray, 'h w']

# How much the centrality falls between the centres of two objects, at least.
RISE = 0.1
# Standard deviation of the blur that removes small maxima of centrality, pixels.
_BLUR = 1.5
# Objects with a lower mean probability are left out.
LEAST_PROBABILITY = 0.75
# Side of the window in which two objects make a border, pixels.
_WINDOW = 3
# Smaller objects are left out, pixels of the original image.
LEAST_AREA = 20


def instances_of(example: Example) -> Instances:
    """The number of the object of each pixel, 1 to N, or 0 for none.

    Args:
        example: with 'instances' [H, W], or with 'masks' [N, H, W]. Where masks overlap,
            the smaller one counts.
    """
    if 'instances' in example:
        return np.asarray(example['instances'])
    masks = np.asarray(example['masks'])
    instances = np.zeros(masks.shape[1:], np.int32)
    areas = masks.sum(axis=(1, 2))
    for number in np.argsort(-areas, kind='stable'):
        instances[masks[number]] = number + 1
    return instances


def centrality(instances: Instances) -> UInt8[np.ndarray, 'h w']:
    """Measure how near each pixel is to the middle of its object.

    Args:
        instances: the number of the object of each pixel, 0: none.

    Returns:
        The distance to the border of the object, as a fraction of the largest one in the
        object, times 255. 0 outside objects.
    """
    from scipy import ndimage

    # A frame, so that objects at the edge of the image have no border there.
    framed = np.pad(instances, 1, mode='edge')
    low = ndimage.minimum_filter(framed, size=3)
    high = ndimage.maximum_filter(framed, size=3)
    is_inner = (low == high)[1:-1, 1:-1] & (instances > 0)
    # The pixels at the border of an object have distance 1.
    distance = ndimage.distance_transform_edt(is_inner) + (instances > 0)
    number = int(instances.max(initial=0))
    largest = ndimage.maximum(distance, instances, np.arange(number + 1))
    fraction = distance / np.maximum(largest, 1)[instances]
    return np.round(255 * fraction * (instances > 0)).astype(np.uint8)


def borders(instances: Instances) -> UInt8[np.ndarray, 'h w']:
    """Mark the pixels at which two objects touch: 255 in a window with both, else 0.

    Args:
        instances: the number of the object of each pixel, 0: none.
    """
    from scipy import ndimage

    largest = ndimage.maximum_filter(instances, size=_WINDOW)
    none = instances.max(initial=0) + 1
    smallest = ndimage.minimum_filter(
        np.where(instances > 0, instances, none), size=_WINDOW
    )
    touch = (smallest < largest) & (smallest < none)
    return np.where(touch, 255, 0).astype(np.uint8)


def separate(
    foreground: Probability,
    center: Probability,
    border: Probability,
    least_area: int = LEAST_AREA,
) -> Instances:
    """Separate objects by watershed, from their centres to their borders.

    The watershed starts at the maxima of the blurred centrality minus border that rise by
    at least `RISE` above the way to a higher maximum. A part of the foreground without
    such a maximum is one object. It has none if it touches, at a corner, a part with a
    higher one. Objects with a mean probability below `LEAST_PROBABILITY` are left out.

    Args:
        foreground: probability that a pixel belongs to an object.
        center: predicted centrality, see `centrality`, as a fraction.
        border: probability that two objects touch at a pixel.
        least_area: smaller objects are left out, pixels.

    Returns:
        The number of the object of each pixel, 1 to N without gaps, or 0 for none.
    """
    from scipy import ndimage
    from skimage.morphology import reconstruction
    from skimage.segmentation import watershed

    is_foreground = foreground > 0.5
    blurred = ndimage.gaussian_filter(center - border, _BLUR)
    height = np.where(is_foreground, blurred, -1.0)
    # What is left of a hill after it was flattened to the way to a higher one.
    rise = height - reconstruction(height - RISE, height)
    is_maximum = is_foreground & (rise >= RISE - 1e-6)
    maxima, _ = ndimage.label(is_maximum)
    parts, count = ndimage.label(is_foreground)
    has_maximum = ndimage.maximum(maxima, parts, np.arange(count + 1)) > 0
    is_whole = is_foreground & ~np.asarray(has_maximum)[parts]
    markers = np.where(is_whole, parts + maxima.max(initial=0), maxima)
    instances = watershed(-height, markers, mask=is_foreground)
    areas = np.bincount(instances.ravel())
    total = np.bincount(instances.ravel(), foreground.ravel())
    is_kept = (areas >= least_area) & (total >= LEAST_PROBABILITY * areas)
    is_kept[0] = False
    numbers = np.cumsum(is_kept) * is_kept
    return numbers[instances].astype(np.int32)
