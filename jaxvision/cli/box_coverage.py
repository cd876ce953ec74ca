"""How well the anchors or the cells of a config's detector cover the boxes of a dataset."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxvision.boxes import overlap
from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.rows import evenly_spaced
from jaxvision.core.spec import Preprocessing
from jaxvision.core.types import Module
from jaxvision.data.boxes_inspection import Boxes, Size
from jaxvision.data.protocol import Source
from jaxvision.image import warp
from jaxvision.tasks.shared.networks import make_model

MOST_BOXES = 5000  # that are compared with the anchors, evenly spaced

BoxesOfImages = Sequence[tuple[Boxes, Size]]


def load(name: str, source: str) -> Config:
    """Load the config whose detector is compared with the boxes.

    Args:
        name: name of the config, as for `--config`; '': 'detection:SOURCE'.
        source: the dataset, as for `data.source`. It is used for the name '' only.

    Raises:
        UserError: There is no such config, or it trains no detector.
    """
    config = configs.load(name or f'detection:{source}')
    if config.task.name != 'detection':
        raise UserError(
            f'--config={name}: expected a config of a detector, not of the task '
            f'{config.task.name}. Give another config, such as --config detection.'
        )
    return config


def measure(config: Config, source: Source, images: BoxesOfImages) -> dict[str, float]:
    """Measure how well a detector can see the boxes of images.

    Args:
        config: the config of the detector.
        source: the training split.
        images: (boxes, (height, width)) of each image, in pixels.

    Returns:
        {sentence: fraction of the boxes}, {} without boxes, or for a detector whose
        queries can learn every box. With anchors: the boxes whose best anchor has an
        IoU of at least 0.3, 0.5 and 0.7, among at most 5,000 boxes. Without: for each
        stride, the boxes that contain the centre of a cell, since only such a cell can
        learn the box.
    """
    preprocessing = Preprocessing.of_dataset(
        source.info.image_shape, config.data.image_size, 'letterbox'
    )
    boxes = resized(images, preprocessing.size)
    if not len(boxes):
        return {}
    model = make_model(config, num_classes=len(source.info.class_names))
    if hasattr(model, 'anchors'):
        return _by_anchors(model, boxes, preprocessing.size)
    if not hasattr(model, 'cells'):
        return {}
    _, strides = model.cells(preprocessing.size)
    return _by_cells(boxes, np.unique(strides))


def resized(images: BoxesOfImages, size: Size) -> Boxes:
    """Move boxes to the canvas that the network sees in evaluation.

    Args:
        images: (boxes, (height, width)) of each image, in pixels.
        size: (height, width) of the canvas, pixels.

    Returns:
        The boxes of all images after a letterbox resize, [ymin, xmin, ymax, xmax].
    """
    moved = [np.zeros((0, 4))]
    for boxes, image_size in images:
        moved.append(warp.letterbox(image_size, size).boxes(boxes))
    return np.concatenate(moved)


def _by_anchors(model: Module, boxes: Boxes, size: Size) -> dict[str, float]:
    rows = evenly_spaced(len(boxes), MOST_BOXES)
    anchors = np.concatenate(model.anchors(size)).astype(np.float64)
    best = np.array([overlap.iou_on_host(boxes[row], anchors).max() for row in rows])
    coverage = {}
    for least in (0.3, 0.5, 0.7):
        coverage[f'best IoU with an anchor >= {least}'] = float((best >= least).mean())
    return coverage


def _by_cells(boxes: Boxes, strides: Float[np.ndarray, 's']) -> dict[str, float]:
    coverage = {}
    for stride in strides.tolist():
        # Centres lie at (i + 0.5) * stride.
        first = np.ceil(boxes[:, :2] / stride - 0.5)
        last = np.floor(boxes[:, 2:] / stride - 0.5)
        has_center = (first <= last).all(axis=1)
        name = f'with the centre of a cell of stride {stride:g}'
        coverage[name] = float(has_center.mean())
    return coverage
