"""Images with label maps on the host: resized and moved together to fixed shapes."""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config, Field, Fields
from jaxvision.core.spec import ArraySpec, Spec
from jaxvision.core.types import IGNORED, Example, Prepare
from jaxvision.data import decode, depth
from jaxvision.image import label_maps
from jaxvision.image.types import Size
from jaxvision.image.warp import Warp
from jaxvision.losses import segmentation as losses
from jaxvision.tasks.segmentation import objects
from jaxvision.tasks.shared import placement

FIELDS: Fields = {
    'flip': Field(False, 'Mirror images left to right with probability 0.5.'),
    'turn': Field(
        False,
        'Turn images by a random multiple of 90 degrees, or of 180 if they are not square, '
        'and mirror them: for images without an upright direction.',
    ),
    **placement.FIELDS,
    'part': Field(
        0,
        'Side of the random square part of the canvas that a training step sees, pixels, '
        'or the shorter side of the canvas if that is less; 0: the whole canvas.',
        least=0,
    ),
    'color': Field(
        0.0,
        'Jitter of brightness, contrast and saturation, and a quarter of it of hue.',
        least=0,
    ),
}

Labels = UInt8[np.ndarray, 'h w']

_NO_BOXES = np.zeros((0, 4))


def targets(size: Size, with_objects: bool, distances: int = 0) -> dict[str, ArraySpec]:
    """Describe the arrays with which training and evaluation compare: {name: its shape}.

    'semantic' is the class of each pixel of the canvas, 255 where it does not count. The
    image has 'warp', from the original to the canvas, and 'original_size'.

    Args:
        size: (height, width) of the canvas, pixels.
        with_objects: whether there are 'center' and 'border', see `objects`, in 0 to 255.
        distances: the number of classes that have 'distances', for the boundary loss, see
            `losses.segmentation.signed_distances`; 0: there are none.
    """
    arrays = {
        'semantic': ArraySpec(size, 'uint8'),
        'warp': ArraySpec((2, 3), 'float32'),
        'original_size': ArraySpec((2,), 'int32'),
    }
    if with_objects:
        arrays['center'] = ArraySpec(size, 'uint8')
        arrays['border'] = ArraySpec(size, 'uint8')
    if distances:
        arrays['distances'] = ArraySpec((*size, distances), 'float32')
    return arrays


def make_prepare(config: Config, spec: Spec) -> Prepare:
    """Build the function that brings images and label maps to fixed shapes.

    In training an image is placed at random, see `placement.at_random`, and perhaps only
    a part of its canvas is seen, see `random_part`. In evaluation it is placed by the
    rule of the preprocessing. Pixels of the canvas around the image have the label 255.

    The result has only 'image' (uint8), 'warp' and 'original_size'. If the example has
    'semantic', it has this too and, in training, the other arrays of `targets`.

    Raises:
        UserError: The preprocessing cuts images, or is one of detectors alone.
    """
    size = spec.preprocessing.size
    rule = spec.preprocessing.resize
    channels = spec.inputs['image'].shape[2]
    augment = config.task.augment
    if rule not in placement.WARPS or spec.preprocessing.shorter:
        raise UserError(
            f'--recipe={spec.preprocessing.recipe}: expected a recipe of segmenters, which '
            'shows whole images, such as torchvision_segmentation or segformer. Choose '
            'another recipe, or remove --recipe.'
        )

    def learned_maps(
        example: Example, semantic: Labels, maps: Sequence[Warp]
    ) -> Example:
        """The maps that only training needs, as far as they are targets."""
        learned = {}
        if 'center' in spec.targets:
            instances = label_maps.moved(objects.instances_of(example), maps, 0)
            learned['center'] = objects.centrality(instances)
            learned['border'] = objects.borders(instances)
        if 'distances' in spec.targets:
            number = len(spec.class_names)
            learned['distances'] = losses.signed_distances(semantic, number)
        return learned

    def prepare(example: Example, rng: np.random.Generator | None) -> Example:
        if spec.preprocessing.contrast:
            pixels = depth.stretched(example['image'], channels)
        else:
            pixels = decode.decode(example['image'], channels)
        if rng is None:
            map_, image = placement.by_rule(rule, pixels, size)
            maps = [map_]
        else:
            maps, image = placement.at_random(
                augment, rng, rule, pixels, _NO_BOXES, size
            )
            if augment.part:
                part = random_part(rng, pixels.shape[:2], maps, augment.part)
                image = placement.apply(part, image)
                maps.append(part)
        whole = functools.reduce(Warp.then, maps)
        prepared = {
            'image': image,
            'warp': whole.matrix.astype(np.float32),
            'original_size': np.array(pixels.shape[:2], np.int32),
        }
        if 'semantic' in example:
            prepared['semantic'] = label_maps.moved(example['semantic'], maps, IGNORED)
            if rng is not None:
                prepared |= learned_maps(example, prepared['semantic'], maps)
        return prepared

    return prepare


def random_part(
    rng: np.random.Generator, source: Size, maps: Sequence[Warp], side: int
) -> Warp:
    """Choose a square part of a canvas at random, inside the image as far as it can be.

    Args:
        rng: the random generator.
        source: (height, width) of the image, pixels.
        maps: follow each other from the image to the canvas.
        side: of the part, pixels. A canvas with a shorter side than this has parts of
            that side.
    """
    side = min(side, *maps[-1].size)
    box = np.array([[0.0, 0.0, *source]])
    for map_ in maps:
        box = np.clip(map_.boxes(box), 0, np.tile(map_.size, 2))
    low, high = np.split(box[0], 2)
    free = np.maximum(high - low - side, 0)
    corner = np.floor(low + rng.uniform(size=2) * free)
    top, left = np.clip(corner, 0, np.array(maps[-1].size) - side).astype(int)
    return Warp.crop(int(top), int(left), (side, side))
