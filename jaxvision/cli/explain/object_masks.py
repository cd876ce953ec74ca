"""The pixels of the object that a target names, from the annotation of an example."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from jaxvision.boxes import overlap
from jaxvision.cli.explain.subjects import Target
from jaxvision.core.spec import Spec
from jaxvision.core.types import Example
from jaxvision.data.protocol import SourceInfo
from jaxvision.image import label_maps
from jaxvision.image.types import Size
from jaxvision.image.warp import Warp

Mask = Bool[np.ndarray, 'h w']

_LEAST_IOU = 0.5  # of a detection with the annotated box that is its mask


@dataclasses.dataclass(frozen=True, kw_only=True)
class Annotated:
    """The class names of a dataset, by which masks of its objects are found.

    Attributes:
        semantic_names: of the classes of label maps.
        class_names: of the classes of boxes.
        shows_all: whether a prepared image shows the whole image, resized along each axis.
    """

    semantic_names: Sequence[str]
    class_names: Sequence[str]
    shows_all: bool

    @classmethod
    def of(cls, info: SourceInfo, spec: Spec) -> 'Annotated':
        """Describe a dataset as a model sees it."""
        rule = spec.preprocessing.resize if spec.preprocessing else 'stretch'
        return cls(
            semantic_names=info.semantic_names,
            class_names=info.class_names,
            shows_all=rule in ('none', 'stretch'),
        )


def of_target(
    annotation: Example, example: Example, target: Target, data: Annotated
) -> Mask | None:
    """The pixels of the object of a target in the prepared image; None if there is none.

    A class of pixels has its label map, and a detection its annotated box. A class of the
    image or a word has the pixels or boxes of the class of its name.

    Args:
        annotation: of the source.
        example: the prepared example.
        target: what is explained.
        data: of the dataset.
    """
    if 'box' in target.numbers:
        mask = _of_detection(annotation, example, target)
    elif 'mask' in target.numbers:
        mask = _of_pixels(example, target)
    else:
        name = target.answer.get('class') or target.answer.get('word')
        mask = _of_name(annotation, example['image'].shape[:2], name, data)
    return mask if mask is not None and mask.any() else None


def _of_pixels(example: Example, target: Target) -> Mask | None:
    if 'semantic' not in example:
        return None
    return np.asarray(example['semantic']) == target.numbers['class']


def _of_detection(annotation: Example, example: Example, target: Target) -> Mask | None:
    """The annotated box of the class that overlaps most with a detection."""
    if 'boxes' not in annotation:
        return None
    size = example['image'].shape[:2]
    warp = Warp(np.asarray(example['warp'], np.float64), size)
    boxes = warp.boxes(_boxes_of(annotation, int(target.numbers['class'])))
    ious = overlap.iou_on_host(target.numbers['box'].astype(np.float64), boxes)
    if not len(boxes) or ious.max() < _LEAST_IOU:
        return None
    return _filled(boxes[ious.argmax()][None], size)


def _of_name(
    annotation: Example, size: Size, name: str, data: Annotated
) -> Mask | None:
    """The pixels of the class of a name in a resized image.

    Args:
        annotation: of the source.
        size: (height, width) of the prepared image, pixels.
        name: of a class, or a word.
        data: of the dataset.
    """
    if not data.shows_all:
        return None
    if 'semantic' in annotation and name in data.semantic_names:
        labels = np.asarray(annotation['semantic'])
        mask = (labels == data.semantic_names.index(name)).astype(np.uint8)
        warp = Warp.resize(mask.shape, size)
        return label_maps.moved(mask, [warp], 0).astype(bool)
    image = annotation.get('image')
    # The size of an encoded image is not known here.
    if 'boxes' in annotation and name in data.class_names and np.ndim(image) == 3:
        boxes = _boxes_of(annotation, data.class_names.index(name))
        return _filled(Warp.resize(image.shape[:2], size).boxes(boxes), size)
    return None


def _boxes_of(annotation: Example, number: int) -> Float[np.ndarray, 'n 4']:
    """The boxes of a class, without padding."""
    is_class = np.asarray(annotation['box_classes']) == number
    if 'box_mask' in annotation:
        is_class &= np.asarray(annotation['box_mask'])
    return np.asarray(annotation['boxes'], np.float64)[is_class]


def _filled(boxes: Float[np.ndarray, 'n 4'], size: Size) -> Mask:
    """The pixels inside any of the boxes."""
    mask = np.zeros(size, bool)
    for ymin, xmin, ymax, xmax in np.rint(boxes).astype(int).tolist():
        mask[max(ymin, 0) : ymax, max(xmin, 0) : xmax] = True
    return mask
