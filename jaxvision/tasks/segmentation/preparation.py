"""Images with label maps on the host: resized and moved together to fixed shapes."""

import numpy as np

from jaxvision.core.fields import Config, Field, Fields
from jaxvision.core.spec import ArraySpec, Spec
from jaxvision.core.types import IGNORED, Example, Prepare
from jaxvision.data import decode
from jaxvision.image import label_maps
from jaxvision.image.types import Size
from jaxvision.image.warp import Warp
from jaxvision.tasks.segmentation import objects
from jaxvision.tasks.shared import placement

FIELDS: Fields = {
    'flip': Field(False, 'Mirror images left to right with probability 0.5.'),
    'turn': Field(
        False,
        'Turn images by a random multiple of 90 degrees and mirror them: for images '
        'without an upright direction. They must be square.',
    ),
    **placement.FIELDS,
    'color': Field(
        0.0,
        'Jitter of brightness, contrast and saturation, and a quarter of it of hue.',
        least=0,
    ),
}

_NO_BOXES = np.zeros((0, 4))


def targets(size: Size, with_objects: bool) -> dict[str, ArraySpec]:
    """Describe the arrays with which training and evaluation compare: {name: its shape}.

    'semantic' is the class of each pixel of the canvas, 255 where it does not count. The
    image has 'warp', from the original to the canvas, and 'original_size'.

    Args:
        size: (height, width) of the canvas, pixels.
        with_objects: whether there are 'center' and 'border', see `objects`, in 0 to 255.
    """
    arrays = {
        'semantic': ArraySpec(size, 'uint8'),
        'warp': ArraySpec((2, 3), 'float32'),
        'original_size': ArraySpec((2,), 'int32'),
    }
    if with_objects:
        arrays['center'] = ArraySpec(size, 'uint8')
        arrays['border'] = ArraySpec(size, 'uint8')
    return arrays


def make_prepare(config: Config, spec: Spec) -> Prepare:
    """Build the function that brings images and label maps to fixed shapes.

    In training an image is placed at random, see `placement.at_random`. In evaluation it
    is placed by the rule of the preprocessing. Pixels of the canvas around the image have
    the label 255.

    The result has only 'image' (uint8), 'warp', 'original_size' and, if the example has
    'semantic', the other arrays of `targets`.
    """
    size = spec.preprocessing.size
    rule = spec.preprocessing.resize
    channels = spec.inputs['image'].shape[2]
    augment = config.task.augment

    def prepare(example: Example, rng: np.random.Generator | None) -> Example:
        pixels = decode.decode(example['image'], channels)
        if rng is None:
            map_, image = placement.by_rule(rule, pixels, size)
            maps = [map_]
        else:
            maps, image = placement.at_random(
                augment, rng, rule, pixels, _NO_BOXES, size
            )
        matrix = np.eye(2, 3)
        for map_ in maps:
            matrix = Warp(matrix, size).then(map_).matrix
        prepared = {
            'image': image,
            'warp': matrix.astype(np.float32),
            'original_size': np.array(pixels.shape[:2], np.int32),
        }
        if 'semantic' in example:
            prepared['semantic'] = label_maps.moved(example['semantic'], maps, IGNORED)
        if 'semantic' in example and 'center' in spec.targets:
            instances = label_maps.moved(objects.instances_of(example), maps, 0)
            prepared['center'] = objects.centrality(instances)
            prepared['border'] = objects.borders(instances)
        return prepared

    return prepare
