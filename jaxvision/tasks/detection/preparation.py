"""Images with boxes on the host: resized and moved together, padded to fixed shapes."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config, Field, Fields
from jaxvision.core.spec import ArraySpec, Spec
from jaxvision.core.types import Example, Prepare
from jaxvision.data import decode
from jaxvision.data.protocol import Source, boxes_of
from jaxvision.image import warp
from jaxvision.image.warp import Warp
from jaxvision.tasks.detection import box_masks, canvases
from jaxvision.tasks.shared import placement

FIELDS: Fields = {
    'flip': Field(False, 'Mirror images left to right with probability 0.5.'),
    **placement.FIELDS,
    'color': Field(
        0.0,
        'Jitter of brightness, contrast and saturation, and a quarter of it of hue.',
        least=0,
    ),
    'mosaic': Field(
        0.0, 'Fraction of the images that are composed of four.', least=0, most=1
    ),
    'mixup': Field(
        0.0, 'Fraction of the images that are averaged with another.', least=0, most=1
    ),
    'compose_until': Field(
        0.85,
        'Fraction of the steps after which mosaic and mixup end.',
        least=0,
        most=1,
    ),
}


@dataclasses.dataclass(frozen=True)
class Objects:
    """The annotated objects of an image.

    Attributes:
        boxes: edges in pixels.
        classes: number of each class.
        crowd: whether a box is a region of many objects.
        area: in square pixels of the original image, as annotated.
        rows: place of each object in the annotation of its image.
    """

    boxes: Float[np.ndarray, 'n 4']
    classes: Int[np.ndarray, 'n']
    crowd: Bool[np.ndarray, 'n']
    area: Float[np.ndarray, 'n']
    rows: Int[np.ndarray, 'n']

    @classmethod
    def of(cls, example: Example) -> 'Objects':
        """Read 'boxes', 'box_classes', 'crowd' and 'area' of an example.

        Boxes for which 'box_mask' is False are padding and left out. Without 'box_mask'
        there is no padding.
        """
        boxes = np.asarray(example['boxes'], np.float32)
        mask = example.get('box_mask', slice(None))
        return cls(
            boxes=boxes[mask],
            classes=np.asarray(example['box_classes'], np.int32)[mask],
            crowd=np.asarray(example['crowd'], bool)[mask],
            area=np.asarray(example['area'], np.float32)[mask],
            rows=np.arange(len(boxes))[mask],
        )

    def moved(self, map_: Warp) -> 'Objects':
        """Move boxes and clip them. The areas stay as they are.

        Boxes of which less than a quarter or one square pixel is left are dropped.
        """
        boxes, keep = warp.kept_boxes(map_.boxes(self.boxes), map_.size)
        return Objects(
            boxes=boxes[keep].astype(np.float32),
            classes=self.classes[keep],
            crowd=self.crowd[keep],
            area=self.area[keep],
            rows=self.rows[keep],
        )


def most_boxes(source: Source, images: int = 1) -> int:
    """Count the boxes for which a training image needs room.

    Images are not decoded if the source has `boxes_of`.

    Args:
        source: its examples hold boxes.
        images: number of images that are put together, of which each may be any of the source.

    Returns:
        The largest number of boxes of an image times `images`. If the source pads its boxes
        ('box_mask'), it is the padded length times `images`.

    Raises:
        Unreadable: The boxes of a row cannot be read.
    """
    if 'box_mask' in source.info.holds:
        return images * len(source[0]['box_mask'])
    counts = [len(boxes_of(source, row)['boxes']) for row in range(len(source))]
    return images * max(counts, default=0)


def targets(number: int, mask_size: int = 0) -> dict[str, ArraySpec]:
    """Describe the arrays with which training and evaluation compare: {name: its
    shape}.

    'boxes' are in pixels of the canvas, 'truth_boxes' in pixels of the original image.
    Each box has 'box_classes', 'box_mask' (False for padding), 'crowd' and 'area'. The
    image has 'warp', from the original to the canvas, and 'original_size'.

    Args:
        number: boxes of an image, at most.
        mask_size: cells along each side of 'box_masks', the objects' masks inside
            `boxes`; 0: there are none.
    """
    masks = {}
    if mask_size:
        masks['box_masks'] = ArraySpec((number, mask_size, mask_size))
    return {
        **masks,
        'boxes': ArraySpec((number, 4), 'float32'),
        'truth_boxes': ArraySpec((number, 4), 'float32'),
        'box_classes': ArraySpec((number,), 'int32'),
        'box_mask': ArraySpec((number,), 'bool'),
        'crowd': ArraySpec((number,), 'bool'),
        'area': ArraySpec((number,), 'float32'),
        'warp': ArraySpec((2, 3), 'float32'),
        'original_size': ArraySpec((2,), 'int32'),
    }


def make_prepare(config: Config, spec: Spec) -> Prepare:
    """Build the function that brings images and boxes to fixed shapes.

    In training an image is placed at random, see `placement.at_random`. Boxes are clipped
    to the canvas, and dropped if less than a quarter or one square pixel is left. In
    evaluation an image is resized with its aspect ratio to fit the canvas, unless the
    rule stretches it.

    In evaluation `truth_boxes` are those of the original image, and `boxes` those of
    the canvas, not clipped. In training both are those of the canvas.

    The result has only 'image' (uint8), 'warp', 'original_size' and, if the example has
    'boxes', the other arrays of `targets`. With the resize rule 'bounded' it has the
    arrays of `canvases.bounded`, without boxes.
    """
    size = spec.preprocessing.size
    channels = spec.inputs['image'].shape[2]
    (room,) = spec.targets['box_mask'].shape
    has_masks = 'box_masks' in spec.targets
    augment = config.task.augment
    rule = spec.preprocessing.resize
    if not spec.preprocessing.fixes_canvas:
        return _make_prepare_bounded(spec)
    if spec.preprocessing.shorter:
        raise UserError(
            f'--recipe={spec.preprocessing.recipe}: expected a recipe of detectors, and this '
            'one cuts off the border of images. Leave it out.'
        )

    def prepare(example: Example, rng: np.random.Generator | None) -> Example:
        pixels = decode.decode(example['image'], channels)
        in_training = rng is not None
        if in_training:
            boxes = Objects.of(example).boxes
            maps, image = placement.at_random(augment, rng, rule, pixels, boxes, size)
        else:
            map_, image = placement.by_rule(rule, pixels, size)
            maps = [map_]
        whole = functools.reduce(Warp.then, maps)
        prepared = {
            'image': image,
            'warp': whole.matrix.astype(np.float32),
            'original_size': np.array(pixels.shape[:2], np.int32),
        }
        if 'boxes' in example:
            objects, boxes = _on_canvas(Objects.of(example), maps, in_training)
            arrays = _arrays(objects, boxes)
            if has_masks:
                masks = box_masks.masks_of(example, objects.rows.tolist())
                arrays['box_masks'] = box_masks.of_objects(
                    masks, boxes, maps, config.task.mask_size
                )
            prepared |= _padded(arrays, room)
        return prepared

    return prepare


def _make_prepare_bounded(spec: Spec) -> Prepare:
    """Build the function that prepares images of published detectors, without objects."""

    def prepare(example: Example, rng: np.random.Generator | None) -> Example:
        pixels = decode.decode(example['image'], 3)
        return canvases.bounded(pixels, spec.preprocessing)

    return prepare


def _on_canvas(
    objects: Objects, maps: Sequence[Warp], in_training: bool
) -> tuple[Objects, Float[np.ndarray, 'n 4']]:
    """Map the objects of an image to the canvas.

    In evaluation every object counts, also one that the resizing made very small.

    Args:
        objects: of the original image.
        maps: follow each other from the image to the canvas.
        in_training: whether each map drops the objects that leave its target.

    Returns:
        (the objects with the boxes that are the truth, the boxes on the canvas).
    """
    if in_training:
        for map_ in maps:
            objects = objects.moved(map_)
        return objects, objects.boxes
    (map_,) = maps
    return objects, map_.boxes(objects.boxes).astype(np.float32)


def _arrays(objects: Objects, boxes: Float[np.ndarray, 'n 4']) -> Example:
    """The arrays of `targets`, without masks and without padding.

    Args:
        objects: with the boxes that are the truth.
        boxes: on the canvas.
    """
    return {
        'boxes': boxes,
        'truth_boxes': objects.boxes,
        'box_classes': objects.classes,
        'box_mask': np.ones(len(boxes), bool),
        'crowd': objects.crowd,
        'area': objects.area,
    }


def _padded(arrays: Example, room: int) -> Example:
    """Pad arrays with zeros to the length `room`."""
    padded = {}
    for name, values in arrays.items():
        whole = np.zeros((room, *values.shape[1:]), values.dtype)
        whole[: len(values)] = values
        padded[name] = whole
    return padded
