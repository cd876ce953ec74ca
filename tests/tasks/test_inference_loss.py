"""`Task.inference_loss`: every detector and segmenter has a loss of each image in inference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxvision.core import config as configs
from jaxvision.core.registry import make_task
from jaxvision.core.spec import ArraySpec, Preprocessing
from jaxvision.tasks.detection import preparation
from jaxvision.tasks.detection import task as detection
from jaxvision.tasks.segmentation import preparation as maps
from jaxvision.tasks.segmentation import task as segmentation
from jaxvision.tasks.segmentation.network import Segmenter
from jaxvision.train import saved, update

SIZE = (64, 64)
BACKBONE = 'cnn:4x1-8x1-8x1-8x1'
PYRAMID = {'strides': '4-8', 'width': 8}
# tests/cli/attack has a one-stage one, and Mask R-CNN has the loss of Faster R-CNN.
DETECTORS = {
    'retinanet': (BACKBONE, PYRAMID),
    'mask_rcnn': (BACKBONE, {**PYRAMID, 'hidden': 8, 'regions': 4}),
    'yolox': ('0.33x0.125', {}),
    'rt_detr': ('r18vd', {'width': 16, 'hidden': 16, 'layers': 1, 'queries': 5}),
}


def spec_of(task, targets):
    return task.Spec(
        inputs={'image': ArraySpec((*SIZE, 3))},
        targets=targets,
        class_names=('a', 'b'),
        preprocessing=Preprocessing(
            size=SIZE, resize='letterbox', mean=(0.5,) * 3, std=(1.0,) * 3
        ),
        details=task.Details() if hasattr(task, 'Details') else None,
    )


def shapes_of(config, spec):
    """The shapes of the losses of two images and of their gradients, without computing."""
    task = make_task(config, spec)
    batch = jax.tree.map(jnp.asarray, saved.blank_batch(spec, 2))
    state = jax.eval_shape(task.init, jax.random.key(0), batch)
    pixels = jax.ShapeDtypeStruct((2, *SIZE, 3), jnp.float32)

    def both(variables, pixels):
        def total(pixels):
            losses = task.inference_loss(variables, batch, pixels)
            return losses.sum(), losses

        return jax.grad(total, has_aux=True)(pixels)

    gradient, losses = jax.eval_shape(both, state.variables, pixels)
    return losses.shape, gradient.shape


@pytest.mark.parametrize('name', DETECTORS)
def test_a_detector_has_a_loss_of_each_image_and_its_gradient(name):
    config = configs.default('detection')
    config.model.name = name
    config.model.variant, config.model.options = DETECTORS[name]
    spec = spec_of(detection, preparation.targets(3, 14 * (name == 'mask_rcnn')))
    assert shapes_of(config, spec) == ((2,), (2, *SIZE, 3))


def test_a_segmenter_has_one_without_the_maps_that_evaluation_lacks():
    config = configs.default('segmentation')
    config.model.name = 'segmentation_unet'
    config.model.variant = 'cnn:4x1-8x1-8x1'
    config.model.options = {'finest': 2}
    config.task.objects = True
    spec = spec_of(segmentation, maps.targets(SIZE, with_objects=False))
    spec = spec.replace(class_names=('background', 'a'))
    assert shapes_of(config, spec) == ((2,), (2, *SIZE, 3))
    for loss in segmentation.network.LOSSES:
        config.task.loss[loss] = 0.0
    config.task.loss.boundary = 1.0
    assert make_task(config, spec).inference_loss is None


class _Linear:
    """A model whose logits are the normalised pixels times a matrix."""

    weights = np.array([[1.0, -2.0], [0.5, 0.0], [0.0, 3.0]], np.float32)

    def apply(self, variables, images):
        return {'logits': images @ self.weights}, {}


def test_the_loss_of_a_segmenter_is_its_weighted_cross_entropy():
    """Beside scipy: twice the mean over the pixels that have a label."""
    rng = np.random.default_rng(0)
    pixels = rng.uniform(size=(2, 4, 4, 3)).astype(np.float32)
    labels = rng.integers(0, 2, (2, 4, 4)).astype(np.int32)
    labels[0, :2] = 255
    config = configs.default('segmentation')
    config.task.loss.cross_entropy = 2.0
    config.task.loss.dice = 0.0
    spec = spec_of(segmentation, maps.targets((4, 4), with_objects=False))
    segmenter = Segmenter(
        model=_Linear(), spec=spec, options=config.task, dtype=jnp.float32
    )
    variables = {'params': {'model': {}}, 'model_state': {'model': {}}}
    batch = {'semantic': jnp.asarray(labels), 'index': jnp.arange(2)}
    losses = segmenter.inference_loss(variables, batch, jnp.asarray(pixels))
    logits = (pixels - 0.5) @ _Linear.weights
    chances = special.log_softmax(logits, axis=-1)
    for row in range(2):
        seen = labels[row] < 255
        chosen = np.where(labels[row] == 0, chances[row, ..., 0], chances[row, ..., 1])
        np.testing.assert_allclose(losses[row], -2 * chosen[seen].mean(), rtol=1e-5)


def test_the_loss_of_an_example_divides_each_term_by_its_own_weight():
    terms = {
        'class': (jnp.array([6.0, 4.0]), jnp.array([2.0, 8.0])),
        'mask': (jnp.array([3.0, 0.0]), jnp.array([1.0, 0.0])),
    }
    losses, pull_back = jax.vjp(update.per_example, terms)
    np.testing.assert_allclose(losses, [6.0, 0.5])
    (gradients,) = pull_back(jnp.ones(2))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
