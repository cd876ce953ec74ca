"""The signature 'raw' of a detector's files: what the network found before the suppression."""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from helpers.random_weights import random_leaves
from helpers.raw_detections import suppressed

from jaxvision.cli.export import exported, formats
from jaxvision.core import config as configs
from jaxvision.data import digit_scenes
from jaxvision.image import warp
from jaxvision.tasks.detection import canvases, comparison, evaluation, preparation
from jaxvision.train import run

PAGE = Path(__file__).parents[3] / 'docs' / 'export.md'
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)


@pytest.fixture(scope='module')
def begun(tmp_path_factory):
    """A tiny RetinaNet, whose best candidates are chosen in each level, and random weights."""
    config = configs.default('detection')
    for text in (
        'data.source=digit_scenes/64',
        'data.image_size=64',
        'model.name=retinanet',
        'model.variant=cnn:4x1-8x1-8x1-8x1',
        'train.steps=1',
    ):
        configs.override(config, *text.split('=', 1))
    config.model.options = {'strides': '4-8', 'width': 8, 'candidates': 300}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digit_scenes, 'LENGTHS', (8, 8))
        this = run.begin(config, tmp_path_factory.mktemp('begun'))
    shapes = this.shapes.variables
    random = {name: random_leaves(shapes[name]) for name in ('params', 'model_state')}
    return this, {**shapes, **random}


def raw_of_savedmodel(path):
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
def test_suppression_of_a_files_raw_outputs_gives_its_detections(begun, tmp_path, file):
    this, variables = begun
    model = (this.task.predict, variables, this.spec, this.config.to_dict())
    path = tmp_path / file
    more = {'raw_predict': this.task.raw_predict}
    if file == 'savedmodel':
        formats.savedmodel(*model, path, **more)
        raw = raw_of_savedmodel(path)
    else:
        formats.tflite(*model, path, kind='float32', examples={}, **more)
        raw = raw_of_tflite(path)
    count = raw['boxes'].shape[1]
    assert raw['boxes'].shape == (2, count, 4)
    assert raw['scores'].shape == (2, count, 10)
    detections = exported.open_exported(path)({'image': IMAGES})
    assert detections['valid'].sum() > 20
    found = suppressed(raw, this.config.task, several=True)
    differences = comparison.compare(found, detections)
    assert max(differences.values()) < 1e-5

    # All that maps boxes back to the image of a user.
    _, spec = exported.read_extras(path)
    assert spec['preprocessing']['resize'] == 'none'
    assert spec['preprocessing']['size'] == [64, 64]
    assert len(spec['class_names']) == 10


def matrix_of(rule, size, source):
    """The map of the package's own preparation, from an image to the canvas."""
    if rule == 'bounded':
        return warp.Warp.resize(source, canvases.bounded_size(source, *size)).matrix
    return preparation.WARPS[rule](source, size).matrix


@pytest.mark.parametrize('rule', ['none', 'letterbox', 'top_left', 'bounded'])
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
