"""Object detection: the boxes, classes and scores of the objects in an image."""

import dataclasses
import functools
from collections.abc import Sequence

import jax.numpy as jnp

from jaxvision.boxes import pasting
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config, Field, Fields
from jaxvision.core.spec import Preprocessing, Spec
from jaxvision.core.state import TrainState
from jaxvision.core.task import Evaluation, Network, Task
from jaxvision.core.types import Batch, Module, Split
from jaxvision.data import windows
from jaxvision.data.protocol import Source, without
from jaxvision.metrics import detection as metrics
from jaxvision.metrics import detection_curves
from jaxvision.models import BY_FOLDER
from jaxvision.models.detectors.dense_detector import DenseDetector
from jaxvision.models.detectors.faster_rcnn import FasterRCNN
from jaxvision.models.detectors.mask_rcnn import MaskRCNN
from jaxvision.models.detectors.retinanet import RetinaNet
from jaxvision.models.detectors.rt_detr import RTDETR
from jaxvision.models.detectors.yolox import YOLOX
from jaxvision.tasks.detection import (
    box_masks,
    comparison,
    composition,
    evaluation,
    mask_evaluation,
    preparation,
)
from jaxvision.tasks.detection.anchor_stage import AnchorStage
from jaxvision.tasks.detection.grid_stage import GridStage
from jaxvision.tasks.detection.mask_stage import MaskStage
from jaxvision.tasks.detection.network import Detector
from jaxvision.tasks.detection.one_stage import OneStage
from jaxvision.tasks.detection.query_stage import QueryStage
from jaxvision.tasks.detection.two_stage import TwoStage
from jaxvision.tasks.shared import image_input
from jaxvision.tasks.shared.networks import make_model
from jaxvision.tasks.shared.rates import backbone_rates
from jaxvision.train import optimizers, update

FIELDS: Fields = {
    'recipe': Field(
        '',
        'Preprocessing of pretrained weights by name; empty: of the run or file in '
        "train.init_from; 'none': of this dataset.",
    ),
    'augment': preparation.FIELDS,
    'backbone_rate': Field(
        1.0, 'Factor of the learning rate of the backbone.', above=0, most=1
    ),
    'candidates': Field(
        9, 'Cells of a one-stage detector that learn one object, at most.', least=1
    ),
    'box_weight': Field(
        2.0, 'Weight of the loss of boxes beside that of scores.', least=0
    ),
    'anchor_samples': Field(
        256, 'Anchors of an image that the first of two stages learns from.', least=2
    ),
    'region_samples': Field(
        512, 'Regions of an image that the second stage learns from.', least=2
    ),
    'positive_fraction': Field(
        0.25,
        'Fraction of these regions that show objects, at most.',
        above=0,
        below=1,
    ),
    'mask_size': Field(
        56,
        "Cells of a stored mask along each side of its object's box.",
        least=14,
    ),
    'paste': Field(
        'exact',
        "How masks are resized to their boxes: 'exact', or 'torchvision', which rounds boxes "
        'to whole pixels.',
        choices=('exact', 'torchvision'),
    ),
    'nms_iou': Field(
        0.6,
        'IoU above which the worse of two boxes of one class is suppressed.',
        least=0,
        most=1,
    ),
    'most_detections': Field(
        100, 'Detections of an image, at most. COCO counts 100 of each class.', least=1
    ),
    'least_score': Field(
        0.01,
        'Score up to which detections are left out; a high one lowers the AP.',
        least=0,
        below=1,
    ),
}

# The names that lead to a detector's backbone in its parameters.
BACKBONE = ('features', 'backbone')

# Models whose detections have masks. They need the masks of the objects.
MASK_MODELS = ('mask_rcnn',)

# The loss and the predictions of each class of models.
DETECTORS: dict[type[Module], type[Detector]] = {
    DenseDetector: OneStage,
    FasterRCNN: TwoStage,
    MaskRCNN: MaskStage,
    RetinaNet: AnchorStage,
    RTDETR: QueryStage,
    YOLOX: GridStage,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Details:
    """The part of the spec that only this task has.

    Attributes:
        category_ids: the number of each class in the annotations; empty: 0, 1, ...
        outputs: the model's output of each class; empty: 0, 1, ...
        output_count: the model's outputs; 0: one for each class. Published weights have further
            ones that stand for no class.
    """

    category_ids: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    output_count: int = 0


def source(
    config: Config, source: Source, split: Split, preprocessing: Preprocessing | None
) -> Source:
    """Leave out masks that the model does not need, and compose training images.

    Args:
        config: config of the run.
        source: the images of a split.
        split: 'train', 'validation' or 'test'.
        preprocessing: not used.

    Returns:
        A source whose examples have masks only for a model with masks, and label maps
        never, if `source` can leave them out. Training examples have the further examples
        of `composition.with_others`, if the config has mosaic or mixup.
    """
    unused = ['semantic', 'instance_classes']
    if config.model.name not in MASK_MODELS:
        unused += box_masks.KEYS
    source = without(source, unused)
    if split != 'train':
        return source
    return composition.with_others(config, source)


def describe(config: Config, source: Source) -> Spec:
    """Describe the images, the boxes and the classes of a training split.

    The boxes of all examples are read. The mean and std are measured on up to 512
    images, unless they come with weights.

    Raises:
        UserError: The source has no images with boxes, or none with masks for a model
            with masks, or the images do not fit the pretrained weights.
    """
    info = source.info
    info.check_holds('image', 'boxes', 'box_classes')
    mask_size = 0
    if config.model.name in MASK_MODELS:
        if not set(box_masks.KEYS) & set(info.holds):
            raise UserError(
                f'model.name={config.model.name}: expected a dataset with masks or '
                f'instances, but {info.name} holds {", ".join(info.holds)}. Choose another '
                'detector.'
            )
        mask_size = config.task.mask_size
    own = Preprocessing.of_dataset(
        info.image_shape, config.data.image_size, 'letterbox'
    )
    chosen = image_input.as_weights(config, own, info.image_shape, ('letterbox',))
    chosen = windows.seen(chosen, config.data.window)
    images = composition.images_of_one(config.task.augment)
    room = preparation.most_boxes(source, images)
    spec = Spec(
        inputs={'image': image_input.array_spec(chosen, info)},
        targets=preparation.targets(room, mask_size),
        class_names=tuple(info.class_names),
        preprocessing=chosen,
        details=Details(category_ids=tuple(info.category_ids)),
    )
    prepare = preparation.make_prepare(config, spec)
    return image_input.with_statistics(spec, config, source, prepare)


def describe_evaluated(config: Config, spec: Spec, sources: Sequence[Source]) -> Spec:
    """Make room for the boxes of the splits that are evaluated.

    Args:
        config: of the run.
        spec: with room for the boxes of training.
        sources: the splits that are evaluated.

    Returns:
        A copy of `spec` with room for the boxes of every image of training and of `sources`.
    """
    (room,) = spec.targets['box_mask'].shape
    room = max([room, *map(preparation.most_boxes, sources)])
    mask_size = 0
    if 'box_masks' in spec.targets:
        mask_size = config.task.mask_size
    return spec.replace(targets=preparation.targets(room, mask_size))


def make(config: Config, spec: Spec) -> Task:
    """Build the task of a detector.

    Raises:
        UserError: `model.name` is no detector, or a field is wrong.
    """
    detector = _make_detector(config, spec)
    rates = functools.partial(backbone_rates, BACKBONE, config.task.backbone_rate)
    tx, lr = optimizers.make(config, spec.examples, rates=rates)
    descend = update.from_loss(
        detector.loss,
        tx,
        accumulate=config.optimizer.accumulate,
        ema=config.optimizer.ema,
    )

    def evaluate(state: TrainState, batch: Batch) -> Batch:
        outputs = detector.predict(state.variables, batch)
        return evaluation.record(outputs, batch)

    names = spec.class_names
    main = Evaluation(
        evaluate=evaluate,
        summarize=functools.partial(metrics.summarize, names),
        metrics=metrics.names(names),
        record=evaluation.record,
        calibrate=functools.partial(detection_curves.calibrate, names),
    )
    best = 'ap'
    paste = None
    if config.model.name in MASK_MODELS:
        rounds = config.task.paste == 'torchvision'
        paste = functools.partial(pasting.paste, rounds=rounds)
        main = mask_evaluation.with_masks(main, names, paste)
        best = 'mask_ap'
    return Task(
        init=detector.make_init(tx, config.optimizer.ema),
        update=update.with_learning_rate(descend, lr),
        evaluations={'eval': main},
        predict=detector.predict,
        raw_predict=detector.raw_predict,
        predictor='detector',
        paste=paste,
        network=Network(normalize=detector.normalize, apply=detector.apply),
        inference_loss=detector.inference_loss,
        best=best,
        prepare=composition.composing(preparation.make_prepare(config, spec)),
        figures=functools.partial(evaluation.draw, names),
        compare=comparison.compare,
    )


def _make_detector(config: Config, spec: Spec) -> Detector:
    outputs = spec.details.output_count or len(spec.class_names)
    model = make_model(config, num_classes=outputs)
    if type(model) not in DETECTORS:
        raise UserError(
            f'model.name={config.model.name!r}: expected a detector. Choose one of '
            f'{", ".join(BY_FOLDER["detectors"])}.'
        )
    return DETECTORS[type(model)](
        model=model,
        spec=spec,
        options=config.task,
        dtype=jnp.dtype(config.model.param_dtype),
    )
