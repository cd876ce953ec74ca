"""Segmentation: the class of each pixel, and objects that touch each other."""

import dataclasses
import functools

import jax.numpy as jnp

from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config, Field, Fields
from jaxvision.core.spec import Preprocessing, Spec
from jaxvision.core.state import TrainState
from jaxvision.core.task import Evaluation, Network, Task
from jaxvision.core.types import BACKGROUND, Batch, Split
from jaxvision.data import windows
from jaxvision.data.protocol import BOX_KEYS, Source, without
from jaxvision.models import BY_FOLDER
from jaxvision.tasks.segmentation import (
    comparison,
    evaluation,
    network,
    preparation,
)
from jaxvision.tasks.segmentation.network import Segmenter
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
    'objects': Field(
        False, 'Separate the objects of the classes after the first, the background.'
    ),
    'contrast': Field(
        False,
        'Stretch the values of each image to the whole range, as for microscopes.',
    ),
    'surfaces': Field(
        False,
        'Also measure contours: boundary F, HD95, the average and the normalised surface '
        'distance.',
    ),
    'tolerance': Field(
        1.0,
        'Distance of two contours that still fit in the normalised surface distance, '
        "pixels, or the unit of the dataset's spacing.",
        least=0,
    ),
    'augment': preparation.FIELDS,
    'loss': network.FIELDS,
    'backbone_rate': Field(
        1.0, 'Factor of the learning rate of the backbone.', above=0, most=1
    ),
}


def source(
    config: Config, source: Source, split: Split, preprocessing: Preprocessing | None
) -> Source:
    """Leave out objects that no loss and no metric needs.

    Args:
        config: config of the run.
        source: the images of a split.
        split: not used.
        preprocessing: not used.
    """
    if config.task.objects:
        return source
    return without(source, ['instances', 'instance_classes', *BOX_KEYS])


def describe(config: Config, source: Source) -> Spec:
    """Describe the images, the label maps and the classes of a training split.

    The mean and std are measured on up to 512 images, unless they come with weights.

    Raises:
        UserError: The source has no images with label maps, or no objects where
            `task.objects` asks for them, or the images do not fit the pretrained weights,
            or there is another number of class weights than of classes.
    """
    info = source.info
    info.check_holds('image', 'semantic')
    if config.task.objects and not {'instances', 'masks'} & set(info.holds):
        raise UserError(
            f'task.objects=True: expected a dataset with instances or masks, but '
            f'{info.name} holds {", ".join(info.holds)}. Set task.objects=False.'
        )
    if config.task.objects and info.semantic_names[0] != BACKGROUND:
        raise UserError(
            f'task.objects=True: expected {BACKGROUND!r} as the first class, but '
            f'{info.name} has {info.semantic_names[0]!r}. Set task.objects=False, or detect '
            f'objects with masks: --config segmentation:{config.data.source},mask_rcnn.'
        )
    weights = config.task.loss.class_weights
    if weights:
        network.parse_weights(weights, len(info.semantic_names))
    own = Preprocessing.of_dataset(
        info.image_shape, config.data.image_size, 'letterbox'
    )
    chosen = image_input.as_weights(config, own, info.image_shape, ('letterbox',))
    chosen = windows.seen(chosen, config.data.window)
    if config.task.contrast:
        chosen = dataclasses.replace(chosen, contrast=True)
    spec = Spec(
        inputs={'image': image_input.array_spec(chosen, info)},
        targets=preparation.targets(
            chosen.size,
            with_objects=config.task.objects,
            distances=len(info.semantic_names) * bool(config.task.loss.boundary),
        ),
        class_names=tuple(info.semantic_names),
        preprocessing=chosen,
    )
    prepare = preparation.make_prepare(config, spec)
    return image_input.with_statistics(spec, config, source, prepare)


def make(config: Config, spec: Spec) -> Task:
    """Build the task of a segmentation network.

    Raises:
        UserError: `model.name` is no segmentation network, or a field is wrong.
    """
    _check(config)
    segmenter = _make_segmenter(config, spec)
    rates = functools.partial(backbone_rates, ('backbone',), config.task.backbone_rate)
    tx, lr = optimizers.make(config, spec.examples, rates=rates)
    descend = update.from_loss(
        segmenter.loss,
        tx,
        accumulate=config.optimizer.accumulate,
        ema=config.optimizer.ema,
    )

    def evaluate(state: TrainState, batch: Batch) -> Batch:
        outputs = segmenter.predict(state.variables, batch)
        return evaluation.record(outputs, batch)

    inference_loss = segmenter.inference_loss
    if not any(config.task.loss[name] for name in network.LOSSES):
        # The boundary loss needs distances, which evaluation does not prepare.
        inference_loss = None
    measures = evaluation.Measures(
        class_names=spec.class_names,
        with_objects=segmenter.has_objects,
        with_surfaces=config.task.surfaces,
        tolerance=config.task.tolerance,
    )
    return Task(
        init=segmenter.make_init(tx, config.optimizer.ema),
        update=update.with_learning_rate(descend, lr),
        evaluations={
            'eval': Evaluation(
                evaluate=evaluate,
                compact=measures.compact,
                ragged=evaluation.RAGGED,
                summarize=measures.summarize,
                metrics=measures.names,
                record=evaluation.record,
            )
        },
        predict=segmenter.predict,
        predictor='segmenter',
        compare=comparison.compare,
        network=Network(normalize=segmenter.normalize, apply=segmenter.apply),
        inference_loss=inference_loss,
        best='ap' if segmenter.has_objects else 'miou',
        prepare=preparation.make_prepare(config, spec),
        figures=measures.draw,
    )


def _check(config: Config) -> None:
    if not any(config.task.loss[name] for name in network.CLASS_LOSSES):
        raise UserError(
            f'task.loss: expected a weight above 0 of at least one of '
            f'{", ".join(network.CLASS_LOSSES)}, and all are 0. Set task.loss.dice=1.'
        )


def _make_segmenter(config: Config, spec: Spec) -> Segmenter:
    outputs = len(spec.class_names)
    if 'center' in spec.targets:
        outputs += 2
    if config.model.name not in BY_FOLDER['segmenters']:
        raise UserError(
            f'model.name={config.model.name!r}: expected a segmentation network. Choose '
            f'one of {", ".join(BY_FOLDER["segmenters"])}.'
        )
    return Segmenter(
        model=make_model(config, num_classes=outputs),
        spec=spec,
        options=config.task,
        dtype=jnp.dtype(config.model.param_dtype),
    )
