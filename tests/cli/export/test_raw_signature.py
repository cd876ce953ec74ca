"""The signature 'raw' of a detector's files: what the network found before the suppression."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from helpers.random_weights import random_leaves
from helpers.raw_detections import suppressed

from jaxvision.cli.export import exported, formats
from jaxvision.core import config as configs
from jaxvision.core.spec import ArraySpec, Preprocessing, Spec
from jaxvision.image import warp
from jaxvision.models.detectors import dense_detector
from jaxvision.tasks.detection import (
    canvases,
    comparison,
    evaluation,
    task,
)
from jaxvision.tasks.detection.one_stage import OneStage
from jaxvision.tasks.shared import placement

PAGE = Path(__file__).parents[3] / 'docs' / 'export.md'
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3)).astype(np.uint8)


@pytest.fixture(scope='module')
def detector():
    """A tiny detector, and random variables of it."""
    config = configs.default('detection')
    config.task.most_detections = 20
    spec = Spec(
        inputs={'image': ArraySpec(IMAGES.shape[1:])},
        targets={},
        class_names=('a', 'b', 'c'),
        preprocessing=Preprocessing(
            size=(32, 48), resize='letterbox', mean=3 * (0.5,), std=3 * (0.25,)
        ),
        details=task.Details(),
    )
    options = {'strides': '4', 'width': 8, 'depth': 1}
    made = OneStage(
        model=dense_detector.make('cnn:4x1-8x1-8x1', num_classes=3, **options),
        spec=spec,
        options=config.task,
        dtype=jnp.dtype('float32'),
    )
    shapes = jax.eval_shape(made.init, jax.random.key(0), {'image': IMAGES})
    params, model_state = map(random_leaves, shapes)
    return made, {'params': {'model': params}, 'model_state': {'model': model_state}}


def raw_of_savedmodel(path):
    # Every worker imports this file, and TensorFlow takes seconds.
    import tensorflow as tf

    model = tf.saved_model.load(str(path))
    assert set(model.signatures) == {'serving_default', 'raw'}
    outputs = model.signatures['raw'](image=tf.constant(IMAGES))
    return {name: tensor.numpy() for name, tensor in outputs.items()}


def raw_of_tflite(path):
    interpreter = Interpreter(str(path))
    assert set(interpreter.get_signature_list()) == {'serving_default', 'raw'}
    serve = interpreter.get_signature_runner('raw')
    parts = [serve(image=IMAGES[row : row + 1]) for row in range(len(IMAGES))]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@pytest.mark.parametrize('file', ['savedmodel', 'float32.tflite'])
def test_suppression_of_a_files_raw_outputs_gives_its_detections(
    detector, tmp_path, file
):
    made, variables = detector
    model = (made.predict, variables, made.spec, {})
    path = tmp_path / file
    if file == 'savedmodel':
        formats.savedmodel(*model, path, raw_predict=made.raw_predict)
        raw = raw_of_savedmodel(path)
    else:
        of_float32 = {'kind': 'float32', 'examples': {}}
        formats.tflite(*model, path, **of_float32, raw_predict=made.raw_predict)
        raw = raw_of_tflite(path)
    assert raw['boxes'].shape == (2, 8 * 12, 4)
    assert raw['scores'].shape == (2, 8 * 12, 3)
    detections = exported.open_exported(path)({'image': IMAGES})
    assert detections['valid'].sum() > 20
    found = suppressed(raw, made.options, several=False)
    differences = comparison.compare(found, detections)
    assert max(differences.values()) < 1e-5

    # All that maps boxes back to the image of a user.
    _, spec = exported.read_extras(path)
    assert spec['preprocessing']['resize'] == 'letterbox'
    assert spec['preprocessing']['size'] == [32, 48]
    assert spec['class_names'] == ['a', 'b', 'c']


def matrix_of(rule, size, source):
    """The map of the package's own preparation, from an image to the canvas."""
    if rule == 'bounded':
        return warp.Warp.resize(source, canvases.bounded_size(source, *size)).matrix
    return placement.WARPS[rule](source, size).matrix


@pytest.mark.parametrize(
    'rule', ['none', 'letterbox', 'top_left', 'shorter_side', 'bounded']
)
def test_the_page_maps_boxes_back_as_the_evaluation_does(rule):
    block = re.search(r'```python\n(def to_original.*?)```', PAGE.read_text(), re.S)[1]
    scope = {}
    exec(block, scope)
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 320, (50, 4)).astype(np.float32)
    sources = rng.integers(1, 2000, (50, 2))
    size = (320, 480)
    maps = [matrix_of(rule, size, tuple(source)) for source in sources.tolist()]
    expected = evaluation.to_original(
        jnp.asarray(boxes[:, None]),
        jnp.asarray(np.stack(maps), jnp.float32),
        jnp.asarray(sources),
    )
    for box, (height, width), mapped in zip(
        boxes, sources.tolist(), expected, strict=True
    ):
        preprocessing = {'resize': rule, 'size': list(size)}
        computed = scope['to_original'](box, preprocessing, height, width)
        np.testing.assert_allclose(computed, mapped[0], rtol=1e-5, atol=1e-3)
