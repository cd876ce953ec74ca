"""A detector without weights: it finds bright rectangles, red ones and green ones."""

import numpy as np
from scipy import ndimage

from jaxvision.boxes import pasting
from jaxvision.cli.predict.model import Model
from jaxvision.core import config as configs
from jaxvision.core.spec import ArraySpec, Preprocessing, Spec
from jaxvision.core.task import Task
from jaxvision.tasks.detection import preparation
from jaxvision.tasks.detection.task import Details

CLASSES = ('red', 'green')
MOST = 20
SMALLEST = 6  # pixels of the canvas; the detector overlooks what is smaller


def detect(image):
    """Boxes [n, 4], scores and classes of the bright rectangles of an image.

    Like a network's, the answer for a part of an object is as sure as any: surer, even.
    """
    boxes, scores, classes = [], [], []
    for number in range(len(CLASSES)):
        is_bright = image[..., number] > 170
        is_bright &= image[..., 1 - number] < 90
        labels, _ = ndimage.label(is_bright)
        for rows, columns in ndimage.find_objects(labels):
            edges = [rows.start, columns.start, rows.stop, columns.stop]
            if min(edges[2] - edges[0], edges[3] - edges[1]) < SMALLEST:
                continue
            height, width, _ = image.shape
            is_at_border = (
                min(edges[:2]) == 0 or edges[2] == height or edges[3] == width
            )
            boxes.append(edges)
            scores.append(0.9 if is_at_border else 0.6)
            classes.append(number)
    return np.float32(boxes).reshape(-1, 4), np.float32(scores), np.int32(classes)


def predict_with_masks(inputs):
    """The outputs of a detector whose masks show the upper half of each box."""
    outputs = predict(inputs)
    masks = np.zeros((*outputs['scores'].shape, 28, 28), np.float32)
    masks[:, :, :14] = outputs['valid'][..., None, None]
    return {**outputs, 'masks': masks}


def predict(inputs):
    """The outputs of a detector, for a batch of images."""
    count = len(inputs['image'])
    outputs = {
        'boxes': np.zeros((count, MOST, 4), np.float32),
        'scores': np.zeros((count, MOST), np.float32),
        'classes': np.zeros((count, MOST), np.int32),
        'valid': np.zeros((count, MOST), bool),
    }
    for row, image in enumerate(inputs['image']):
        boxes, scores, classes = detect(image)
        found = len(boxes)
        outputs['boxes'][row, :found] = boxes
        outputs['scores'][row, :found] = scores
        outputs['classes'][row, :found] = classes
        outputs['valid'][row, :found] = True
    return outputs


def model(size=64, category_ids=(), calibration=None, has_masks=False):
    """The detector, for canvases of size x size pixels."""
    spec = Spec(
        inputs={'image': ArraySpec((size, size, 3))},
        targets=preparation.targets(3),
        class_names=CLASSES,
        preprocessing=Preprocessing(size=(size, size), resize='letterbox'),
        details=Details(category_ids=category_ids),
    )
    config = configs.default('detection')
    task = Task(
        init=lambda key, batch: None,
        update=lambda state, batch: None,
        evaluations={},
        predict=lambda variables, inputs: inputs,
        predictor='detector',
        paste=pasting.paste if has_masks else None,
        prepare=preparation.make_prepare(config, spec),
    )
    return Model(
        name='blobs',
        task=task,
        spec=spec,
        predict=predict_with_masks if has_masks else predict,
        threads=2,
        calibration=calibration or {},
    )


def scene(height, width, objects):
    """Draw rectangles: (ymin, xmin, ymax, xmax, number of the class) each."""
    image = np.full((height, width, 3), 40, np.uint8)
    for ymin, xmin, ymax, xmax, number in objects:
        color = np.full(3, 20, np.uint8)
        color[number] = 250
        image[ymin:ymax, xmin:xmax] = color
    return image
