"""Evaluation of a generator: features of generated and real images."""

import functools

import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core.fields import Config
from jaxvision.core.spec import Spec
from jaxvision.core.state import TrainState
from jaxvision.core.task import (
    Evaluation,
    Predict,
)
from jaxvision.core.types import Batch
from jaxvision.image import color
from jaxvision.models.backbones import inception
from jaxvision.tasks.gan import metrics
from jaxvision.tasks.gan.metrics import CLASSIFIER, INCEPTION
from jaxvision.tasks.shared import feature_extractor


def make(options: Config, spec: Spec, predict: Predict, dtype: DTypeLike) -> Evaluation:
    """Build the evaluation of a generator on the rows of `samples.SampleRows`.

    Records hold the arrays that `metrics.summarize` and `pictures.draw` read, except
    'index'. Generated images are rounded to 8 bits. The state must hold the feature
    extractors in `frozen`.

    Args:
        options: `config.task`.
        spec: spec of the run, with the network 'feature_extractor'.
        predict: `(variables, batch with 'latent' and 'label') -> {'image': [B, H, W, C]}`, in
            [0, 255].
        dtype: dtype of real images in [0, 1].

    Raises:
        UserError: The feature extractor is no classifier, or has no intermediate `layer`.
    """
    classifier = spec.networks['feature_extractor']
    layer = options.layer
    extract = feature_extractor.build(classifier, layer)

    def evaluate(state: TrainState, batch: Batch) -> Batch:
        # Generated images are rounded to 8 bits, like real images.
        samples = jnp.round(predict(state.variables, batch)['image'])
        images = {
            'fake': samples / 255,
            'real': color.to_float(batch['image'], dtype),
            'trained': color.to_float(batch['train_image'], dtype),
        }
        records = {}
        for name, pixels in images.items():
            intermediates = extract(state.frozen['feature_extractor'], pixels)
            features = intermediates[layer].reshape(len(batch['index']), -1)
            records[f'{name}{CLASSIFIER}'] = features
            if name == 'fake':
                records['prediction'] = jnp.argmax(intermediates['logits'], -1)
            if options.inception:
                records[f'{name}{INCEPTION}'] = inception.features(
                    state.frozen['inception'], pixels
                )
        for name in ('label', 'train_image', 'real_row', 'train_row'):
            records[name] = batch[name]
        records['sample'] = samples.astype(jnp.uint8)
        return records

    same_classes = classifier.spec.class_names == spec.class_names
    has_class_accuracy = options.conditional and same_classes
    return Evaluation(
        evaluate=evaluate,
        summarize=functools.partial(
            metrics.summarize,
            samples=options.samples,
            has_class_accuracy=has_class_accuracy,
            extractor_hash=classifier.hash,
        ),
        metrics=metrics.names(
            has_class_accuracy=has_class_accuracy,
            has_inception=bool(options.inception),
        ),
    )
