"""A user's files as examples, whose truth is what the run predicts for them."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from jaxvision.boxes import overlap, pasting
from jaxvision.cli.attack.measured_examples import MeasuredExamples
from jaxvision.cli.attack.request import Request
from jaxvision.cli.predict import detection_answers, finding
from jaxvision.cli.predict.model import Model
from jaxvision.cli.runs import Checkpoint
from jaxvision.core.errors import UserError
from jaxvision.core.types import Example, Records
from jaxvision.data import files
from jaxvision.data.protocol import RowSource, SourceInfo, Unreadable
from jaxvision.train import calibration

# An object is still found if a detection of its class has this IoU with it.
_SAME_OBJECT = 0.5


class _Files(RowSource):
    """Annotated images in memory."""

    def __init__(self, info: SourceInfo, annotations: Sequence[Example]):
        self.info = info
        self._annotations = annotations

    def __len__(self) -> int:
        return len(self._annotations)

    def __getitem__(self, row: int) -> Example:
        return self._annotations[row]


@dataclasses.dataclass(frozen=True)
class Answered:
    """Readable files with what the run predicts for them.

    Attributes:
        model: the run, opened to predict.
        paths: the files.
        annotations: {'image', ...} of each file: the part of the prepared image that is no
            padding, and the predictions as its truth.
    """

    model: Model
    paths: Sequence[str]
    annotations: Sequence[Example]

    def kept(self, row: int, image: np.ndarray) -> float:
        """Measure how much of the predictions for a file stay on a changed image.

        Args:
            row: number of the file.
            image: the changed image without padding, uint8.

        Returns:
            The fraction of its objects that are still found, with their class, or of its
            pixels that keep their class; 1 without objects.
        """
        before = self.annotations[row]
        after = annotate(self.model, self.model.prepare(image))
        if 'semantic' in before:
            return float(np.mean(before['semantic'] == after['semantic']))
        if not len(before['boxes']):
            return 1.0
        ious = overlap.iou_on_host(before['boxes'], after['boxes'])
        is_class = before['box_classes'][:, None] == after['box_classes']
        return float(((ious >= _SAME_OBJECT) & is_class).any(axis=1).mean())


def read(
    request: Request, paths: Sequence[str]
) -> tuple[MeasuredExamples, Answered, dict[str, str]]:
    """Read files, and predict their objects or the classes of their pixels.

    Args:
        request: of a detector, or of a segmenter without objects.
        paths: the files.

    Returns:
        (the examples, the readable files, {path: reason} of the others).

    Raises:
        UserError: No file can be read, or the run finds no object in any of them.
    """
    model = _model(request.victim)
    readable = []
    annotations = []
    errors = {}
    for path in paths:
        try:
            prepared = model.prepare(files.read(path))
        except Unreadable as error:
            errors[path] = str(error)
            continue
        readable.append(path)
        annotations.append(annotate(model, prepared))
    if not readable:
        raise UserError(
            f'FILE={paths[0]}: expected an image ({errors[paths[0]]}). Give other files.'
        )
    if not any(len(each.get('boxes', 'semantic')) for each in annotations):
        raise UserError(
            f'FILE={paths[0]}: expected images with objects, and the run finds none in any '
            'of the files. Give other files.'
        )
    source = _Files(_info(model), annotations)
    prepare = model.task.prepare
    assert prepare is not None  # of every detector and segmenter
    prepared = [prepare(each, None) for each in annotations]
    arrays = {name: np.stack([each[name] for each in prepared]) for name in prepared[0]}
    arrays['index'] = np.arange(len(readable), dtype=np.int32)
    examples = MeasuredExamples(
        request=request,
        arrays=arrays,
        source=source,
        evaluate=jax.jit(model.task.main.evaluate),
        rows=arrays['index'],
    )
    return examples, Answered(model, readable, annotations), errors


def _info(model: Model) -> SourceInfo:
    """Describe a user's files as a split, without the dataset of the run."""
    spec = model.spec
    height, width, channels = spec.inputs['image'].shape
    return SourceInfo(
        name='your files',
        split='',
        class_names=spec.class_names,
        image_shape=(height, width, channels),
        multi_label=False,
        fingerprint='',
    )


def _model(victim: Checkpoint) -> Model:
    """The attacked run, opened to predict."""
    variables = victim.state.variables
    compiled = jax.jit(victim.run.task.predict)

    def predict(inputs: Records) -> Records:
        return jax.device_get(compiled(variables, inputs))

    return Model(
        name=victim.name,
        task=victim.run.task,
        spec=victim.run.spec,
        predict=predict,
        threads=victim.run.config.data.threads,
        calibration=calibration.read_for(victim.run, victim.state),
        variables=variables,
    )


def annotate(model: Model, prepared: Example) -> Example:
    """Take the predictions for an image as its truth.

    Args:
        model: a detector, or a segmenter without objects.
        prepared: the image, as the network sees it.

    Returns:
        'image' uint8, the image without padding. Of a detector: 'boxes', 'box_classes', 'crowd',
        'area' and perhaps 'masks', the best ones if there are more than the run has room
        for. Of a segmenter: 'semantic'.
    """
    (outputs,) = model.predict_each([prepared], 1)
    rows, columns = finding.visible_part(prepared)
    image = np.ascontiguousarray(prepared['image'][rows, columns])
    if model.task.predictor != 'detector':
        labels = np.asarray(outputs['probabilities']).argmax(-1).astype(np.uint8)
        labels = _at_size(labels, prepared['image'].shape[:2])
        return {'image': image, 'semantic': labels[rows, columns]}
    least, _ = detection_answers.thresholds(model, None)
    classes = np.asarray(outputs['classes'], np.int32)
    is_shown = outputs['valid'] & (outputs['scores'] >= least[classes])
    (room,) = model.spec.targets['box_mask'].shape
    best = np.argsort(-outputs['scores'], kind='stable')
    chosen = best[is_shown[best]][:room]
    corner = np.array([rows.start, columns.start] * 2)
    size = np.array(image.shape[:2] * 2)
    boxes = np.asarray(outputs['boxes'], np.float32)[chosen] - corner
    clipped = np.clip(boxes, 0, size).astype(np.float32)
    annotation = {
        'image': image,
        'boxes': clipped,
        'box_classes': classes[chosen],
        'crowd': np.zeros(len(chosen), bool),
        'area': overlap.area_on_host(clipped).astype(np.float32),
    }
    if 'masks' in outputs:
        masks = [
            pasting.paste(np.asarray(outputs['masks'][row]), box, image.shape[:2])
            for row, box in zip(chosen, boxes, strict=True)
        ]
        annotation['masks'] = np.array(masks, bool).reshape(-1, *image.shape[:2])
    return annotation


def _at_size(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize the label map of a network that predicts at another size than its images."""
    rows = np.arange(size[0]) * labels.shape[0] // size[0]
    columns = np.arange(size[1]) * labels.shape[1] // size[1]
    return labels[rows[:, None], columns[None, :]]
