"""`jaxvision predict --weights` with a detector's weights, which a small model stands for."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxvision.cli.predict import command, weights
from jaxvision.core.errors import UserError
from jaxvision.models.detectors import faster_rcnn
from jaxvision.pretrained import coco_classes, recipes, weights_file
from jaxvision.pretrained.families import faster_rcnn as family
from jaxvision.pretrained.families import torchvision_detectors

LAYOUT = faster_rcnn.Layout('cnn:4x1-4x1-8x1-8x1-8', extra='pool', candidates=30)
OPTIONS = {'strides': '4-8-16', 'width': 8, 'hidden': 8, 'regions': 20}


@pytest.fixture
def file(monkeypatch, tmp_path):
    """The name of a file, whose weights are those of a small model for COCO."""
    monkeypatch.setitem(faster_rcnn.PUBLISHED, 'resnet50_fpn', LAYOUT)
    model = faster_rcnn.make('resnet50_fpn', num_classes=90, **OPTIONS)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    # More than one class is above the threshold.
    scores = variables['params']['second']['scores']
    scores['bias'] = 3 * jax.random.normal(jax.random.key(1), scores['bias'].shape)
    leaves = {}
    for path, leaf in jax.tree.leaves_with_path(variables):
        leaves['/'.join(key.key for key in path[1:])] = np.asarray(leaf)
    identity = weights_file.Identity(
        family.FORMATS[-1],
        recipes.named('torchvision_detection'),
        OPTIONS,
        0,
        family.FORMATS[-1].classes(leaves),
    )
    read = weights_file.PretrainedWeights(leaves, identity)
    monkeypatch.setattr(weights_file, 'read', lambda path, family: read)
    path = tmp_path / 'weights.pth'
    path.touch()
    return str(path)


def test_photographs_of_any_shape_have_boxes_of_coco_classes(file, tmp_path, capsys):
    rng = np.random.default_rng(0)
    sizes = {'wide.png': (40, 90), 'high.png': (70, 50)}
    for name, size in sizes.items():
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(
            tmp_path / name
        )
    photographs = [str(tmp_path / name) for name in sizes]
    arguments = ['--weights', file, '--model', 'faster_rcnn:resnet50_fpn']
    arguments += ['--image_size', '64', '--score', '0', '--out', str(tmp_path / 'out')]
    assert command.main([*arguments, *photographs]) == 0
    assert 'shorter side to 64, longer side to at most 107' in capsys.readouterr().out
    answers = json.loads((tmp_path / 'out' / 'predictions.json').read_text())['files']
    numbers = {category.name: category.number for category in coco_classes.categories()}
    for answer, (height, width) in zip(answers, sizes.values(), strict=True):
        detections = answer['answer']['detections']
        assert detections
        for detection in detections:
            assert numbers[detection['class']] == detection['category_id']
            assert detection['score'] > 0.05
            left, top, box_width, box_height = detection['bbox']
            assert min(left, top) >= 0
            assert left + box_width <= width + 0.02
            assert top + box_height <= height + 0.02


def test_a_detector_does_not_classify_by_examples(file):
    options = weights.Options(model='faster_rcnn:resnet50_fpn')
    with pytest.raises(UserError, match='expected weights of a classifier'):
        weights.open_weights(file, options, by_support=True)


def test_outputs_without_a_class_are_no_class():
    classes = torchvision_detectors.classes(91)
    unused = [
        n for n, name in zip(classes.numbers, classes.names, strict=True) if not name
    ]
    assert unused == [0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83]
    assert torchvision_detectors.classes(3).names == ('', 'class 1', 'class 2')
