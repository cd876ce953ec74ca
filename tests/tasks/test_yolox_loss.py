"""The loss of YOLOX, for given outputs of a network."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import yolox_weights

from jaxvision.core import config as configs
from jaxvision.core.spec import ArraySpec, Preprocessing, Spec
from jaxvision.core.state import create
from jaxvision.models.detectors import yolox
from jaxvision.tasks.detection import preparation, task
from jaxvision.tasks.detection.grid_stage import GridStage, class_costs
from jaxvision.train import saved

STATE = create(jax.random.key(0), {}, {}, {})
HEIGHT, WIDTH = yolox_weights.TRAINING_SIZE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Given(GridStage):
    """A detector whose network gives `params`, and whose images are not augmented."""

    def augment(self, batch, key):
        return jnp.zeros((3, HEIGHT, WIDTH, 3)), batch['boxes']

    def train(self, params, state, images, batch, key):
        return params, {}


@pytest.fixture(scope='module')
def detector():
    config = configs.default('detection')
    config.task.candidates = 10
    config.task.box_weight = 5.0
    return Given(
        model=yolox.make('nano', num_classes=yolox_weights.CLASSES),
        spec=None,
        options=config.task,
        dtype=jnp.dtype('float32'),
    )


def outputs_and_batch():
    raw, truth = yolox_weights.training_batch()
    outputs = {
        'edges': jnp.asarray(raw[..., :4]),
        'objectness': jnp.asarray(raw[..., 4]),
        'logits': jnp.asarray(raw[..., 5:]),
    }
    center, size = truth[..., [2, 1]], truth[..., [4, 3]]
    boxes = np.concatenate([center - size / 2, center + size / 2], axis=-1)
    batch = {
        'boxes': jnp.asarray(boxes),
        'box_classes': jnp.asarray(truth[..., 0], jnp.int32),
        'box_mask': jnp.asarray(truth.sum(axis=-1) > 0),
        'crowd': jnp.zeros(truth.shape[:2], bool),
    }
    return outputs, batch


def means(detector, outputs, batch):
    """Each term of the loss, as the engine divides it, and the number of matched cells."""

    @jax.jit
    def terms_of(outputs):
        terms, _ = detector.loss(outputs, STATE, batch, jax.random.key(0))
        return {
            name: (jnp.sum(values), jnp.sum(weights))
            for name, (values, weights) in terms.items()
        }

    sums = terms_of(outputs)
    values = {name: float(total / count) for name, (total, count) in sums.items()}
    return values, float(sums['box'][1])


def test_the_loss_equals_the_authors(detector):
    stored = np.load(yolox_weights.DATA)['losses']
    values, matched = means(detector, *outputs_and_batch())
    named = [values['class'], values['objectness'], values['box'], matched]
    np.testing.assert_allclose(named, stored, rtol=1e-5)


def test_room_for_more_boxes_changes_no_loss(detector):
    outputs, batch = outputs_and_batch()
    wide = {
        name: jnp.pad(x, [(0, 0), (0, 30), *[(0, 0)] * (x.ndim - 2)])
        for name, x in batch.items()
    }
    values, matched = means(detector, outputs, batch)
    wider, matched_of_wider = means(detector, outputs, wide)
    assert wider == pytest.approx(values, rel=1e-6)
    assert matched_of_wider == matched


def test_images_without_objects_teach_only_that_there_are_none(detector):
    outputs, batch = outputs_and_batch()
    empty = {**batch, 'box_mask': jnp.zeros_like(batch['box_mask'])}

    @jax.jit
    @jax.grad
    def gradient(outputs):
        terms, _ = detector.loss(outputs, STATE, empty, jax.random.key(0))
        return sum(jnp.sum(values) for values, _ in terms.values())

    slopes = gradient(outputs)
    assert (slopes['objectness'] > 0).all()
    assert not slopes['edges'].any() and not slopes['logits'].any()


def test_cells_in_a_crowd_have_no_loss(detector):
    outputs, batch = outputs_and_batch()
    everywhere = jnp.zeros_like(batch['boxes']).at[..., 2:].set(max(HEIGHT, WIDTH))
    crowds = {
        **batch,
        'boxes': everywhere,
        'crowd': jnp.ones_like(batch['crowd']),
        'box_mask': jnp.ones_like(batch['box_mask']),
    }
    values, _ = means(detector, outputs, crowds)
    assert values == {'class': 0, 'objectness': 0, 'box': 0}


def test_costs_of_extreme_scores_are_finite_and_ordered():
    logits = jnp.array([[200.0, -200.0], [-200.0, 200.0]])
    costs = class_costs(logits, jnp.full(2, 200.0), jnp.array([0, 1]))
    assert jnp.isfinite(costs).all()
    assert costs[0, 0] < costs[0, 1] and costs[1, 1] < costs[1, 0]


def test_a_training_step_of_the_whole_network_keeps_the_shapes_of_its_state():
    config = configs.default('detection')
    config.model.name = 'yolox'
    config.model.variant = '0.33x0.0625'
    config.model.dtype = 'bfloat16'
    config.optimizer.ema = 0.9
    spec = Spec(
        inputs={'image': ArraySpec((64, 96, 3))},
        targets=preparation.targets(4),
        class_names=('a', 'b'),
        preprocessing=Preprocessing(size=(64, 96), mean=(0.0,) * 3, std=(1.0,) * 3),
        examples=8,
        details=task.Details(),
    )
    detection = task.make(config.lock(), spec)
    batch = saved.blank_batch(spec)
    before = jax.eval_shape(detection.init, jax.random.key(0), batch)
    after, scalars = jax.eval_shape(detection.update, before, batch)
    assert jax.tree.map(_shape_and_dtype, after) == jax.tree.map(
        _shape_and_dtype, before
    )
    assert {'loss', 'class', 'objectness', 'box'} <= scalars.keys()


def _shape_and_dtype(leaf):
    return leaf.shape, leaf.dtype
