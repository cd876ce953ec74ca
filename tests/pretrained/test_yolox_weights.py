"""Published weights of YOLOX: a narrow network detects what its authors' code detects."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import yolox_weights
from helpers.published_files import write_safetensors

from jaxvision.core import config as configs
from jaxvision.core.spec import ArraySpec, Spec
from jaxvision.pretrained import coco_classes, flax_variables, weights_file
from jaxvision.tasks.detection import evaluation, preparation, task
from jaxvision.train import saved

SIDE = 160


@pytest.fixture(scope='module')
def tensors():
    return yolox_weights.narrow()


def test_detections_equal_the_authors(tensors, tmp_path):
    """tests/bench/yolox_reference.py; boxes, scores and classes as sets."""
    weights, seeds, expected = tensors
    read = weights_file.read(
        write_safetensors(weights, tmp_path / 'narrow.safetensors'), 'yolox'
    )
    categories = coco_classes.categories()
    spec = Spec(
        inputs={'image': ArraySpec((SIDE, SIDE, 3))},
        targets=preparation.targets(1),
        class_names=tuple(category.name for category in categories),
        preprocessing=read.identity.recipe.at(SIDE).preprocessing(),
        details=task.Details(
            category_ids=tuple(category.number for category in categories)
        ),
    )
    config = configs.default('detection')
    config.model.name = 'yolox'
    config.model.variant = '0.33x0.125-depthwise'
    config.task.nms_iou = 0.65
    detection = task.make(config.lock(), spec)
    state = jax.eval_shape(detection.init, jax.random.key(0), saved.blank_batch(spec))
    shapes = {'params': state.params['model'], **state.model_state['model']}
    variables = flax_variables.as_network(flax_variables.fit(read.leaves, shapes))
    pictures = [
        yolox_weights.picture(number, seed, SIDE)[:, :, ::-1]
        for number, seed in enumerate(seeds)
    ]
    examples = [detection.prepare({'image': picture}, None) for picture in pictures]
    batch = {
        name: np.stack([example[name] for example in examples]) for name in examples[0]
    }
    outputs = jax.jit(detection.predict)(variables, {'image': batch['image']})
    boxes = evaluation.to_original(
        outputs['boxes'],
        jnp.asarray(batch['warp']),
        jnp.asarray(batch['original_size']),
    )
    for row in range(len(pictures)):
        valid = np.asarray(outputs['valid'][row])
        ymin, xmin, ymax, xmax = np.asarray(boxes[row]).T
        columns = (
            xmin,
            ymin,
            xmax,
            ymax,
            outputs['scores'][row],
            outputs['classes'][row],
        )
        found = np.stack(columns, axis=-1)[valid]
        worst = yolox_weights.differences(found, expected[row])
        assert worst['detections'] >= 20
        assert worst['unmatched'] == 0
        assert worst['box'] < 0.05
        assert worst['score'] < 1e-4


@pytest.mark.parametrize('width, size', [(16, 416), (24, 416), (32, 640), (80, 640)])
def test_the_size_of_the_images_follows_from_the_stem(tmp_path, width, size):
    marker = 'backbone.backbone.stem.conv.conv.weight'
    parts = {
        f'module.{marker}': np.zeros((width, 12, 3, 3), np.float32),
        'module.head.cls_preds.0.bias': np.zeros(80, np.float32),
    }
    file = write_safetensors(parts, tmp_path / 'parts.safetensors')
    identity = weights_file.identify(file, 'yolox')
    assert identity.image_size == identity.recipe.size == size
    assert identity.recipe.preprocessing().size == (size, size)


def test_the_stem_is_converted_to_rgb_and_boxes_to_y_before_x(tmp_path):
    pixels = np.arange(12, dtype=np.float32)
    file = write_safetensors(
        {
            'backbone.backbone.stem.conv.conv.weight': np.broadcast_to(
                pixels[None, :, None, None], (1, 12, 3, 3)
            ),
            'head.reg_preds.2.bias': np.float32([0, 1, 2, 3]),
            'head.cls_preds.0.bias': np.zeros(7, np.float32),
        },
        tmp_path / 'parts.safetensors',
    )
    leaves, identity = weights_file.read(file, 'yolox')
    assert identity.classes.names == tuple(f'class {i}' for i in range(7))
    stem = leaves['features/backbone/stem/conv/kernel'][1, 1, :, 0]
    assert stem.tolist() == [2, 1, 0, 5, 4, 3, 8, 7, 6, 11, 10, 9]
    assert leaves['head/level3_edges/bias'].tolist() == [1, 0, 3, 2]
