"""Published weights of RT-DETR: a narrow network detects what the library transformers detects."""

import gzip
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import rt_detr_weights
from helpers.published_files import write_safetensors

from jaxvision.boxes import conversions
from jaxvision.core import config as configs
from jaxvision.core.spec import ArraySpec, Spec
from jaxvision.models.backbones import resnet
from jaxvision.models.blocks import forms
from jaxvision.models.detectors import rt_detr
from jaxvision.pretrained import coco_classes, flax_variables, weights_file
from jaxvision.tasks.detection import evaluation, preparation, query_stage, task

SIDE = rt_detr_weights.SIDE
# {variant: {name: shape}} of the published files.
SHAPES = json.loads(
    gzip.decompress(rt_detr_weights.DATA.with_suffix('.json.gz').read_bytes())
)


@pytest.fixture(scope='module')
def narrow(tmp_path_factory):
    """(detector of the narrow network, its variables, the stored detections)."""
    tensors, expected = rt_detr_weights.narrow()
    file = tmp_path_factory.mktemp('weights') / 'narrow.safetensors'
    leaves, identity = weights_file.read(write_safetensors(tensors, file), 'rt_detr')
    model = rt_detr.make(
        'r18vd', num_classes=80, width=32, hidden=64, layers=2, queries=40, heads=4
    )
    backbone = resnet.ResNet(
        0, resnet.BasicBlock, (1, 1, 1, 1), stem='deep', projects=True
    )
    model = model.clone(features=model.features.clone(backbone=backbone))
    categories = coco_classes.categories()
    spec = Spec(
        inputs={'image': ArraySpec((SIDE, SIDE, 3))},
        targets=preparation.targets(1),
        class_names=identity.classes.names,
        preprocessing=identity.recipe.at(SIDE).preprocessing(),
        details=task.Details(category_ids=identity.classes.numbers),
    )
    assert spec.class_names == tuple(category.name for category in categories)
    config = configs.default('detection')
    config.task.update(identity.format.task)
    detector = query_stage.QueryStage(
        model=model, spec=spec, options=config.task, dtype=jnp.float32
    )
    shapes = jax.eval_shape(
        model.init, jax.random.key(0), jnp.zeros((1, SIDE, SIDE, 3))
    )
    variables = flax_variables.as_network(flax_variables.fit(leaves, shapes))
    return detector, variables, expected


@pytest.fixture(scope='module')
def predict(narrow):
    """(the compiled prediction of a batch of prepared pictures, the pictures)."""
    detector, variables, expected = narrow
    prepare = preparation.make_prepare(configs.default('detection'), detector.spec)
    examples = [
        prepare({'image': rt_detr_weights.picture(number, SIDE)}, None)
        for number in range(len(expected))
    ]
    compiled = jax.jit(detector.predict)

    def run(rows):
        images = np.stack([examples[row]['image'] for row in rows])
        return jax.device_get(compiled(variables, {'image': images}))

    return run, examples


def test_detections_equal_those_of_transformers(narrow, predict):
    """tests/bench/rt_detr_reference.py; boxes, scores and classes as sets."""
    run, examples = predict
    outputs = run(range(5))
    assert outputs['valid'].all()
    for row, expected in enumerate(narrow[2]):
        boxes = evaluation.to_original(
            jnp.asarray(outputs['boxes'][row : row + 1]),
            jnp.asarray(examples[row]['warp'])[None],
            jnp.asarray(examples[row]['original_size'])[None],
        )
        ymin, xmin, ymax, xmax = np.asarray(boxes[0]).T
        columns = [xmin, ymin, xmax, ymax, outputs['scores'][row]]
        found = np.stack([*columns, outputs['classes'][row]], axis=-1)
        # The library gives as many as there are queries, our detector 300.
        worst = rt_detr_weights.differences(found[:40], expected)
        assert worst['detections'] == 40
        assert worst['unmatched'] == 0
        assert worst['box'] < 0.05
        assert worst['score'] < 1e-4


def test_the_neighbours_in_a_batch_do_not_matter(predict):
    run, _ = predict
    together = run([0, 1, 2, 3, 4])
    alone = run([3, 3, 3, 3, 3])
    for name, values in alone.items():
        np.testing.assert_array_equal(values[0], values[4])
        np.testing.assert_allclose(values[0], together[name][3], atol=1e-4)


def test_an_exported_program_takes_batches_of_any_size(narrow):
    """In a SavedModel its selections are sorts, since TensorFlow cannot load `top_k`."""
    detector, variables, _ = narrow
    (batch,) = jax.export.symbolic_shape('b')
    images = jax.ShapeDtypeStruct((batch, SIDE, SIDE, 3), jnp.uint8)
    predict = jax.jit(detector.predict)
    with forms.for_savedmodel():
        traced = jax.export.export(predict)(variables, {'image': images})
    assert traced.out_avals[0].shape[0] == batch
    assert 'top_k' not in traced.mlir_module()


@pytest.mark.parametrize('name', ['r18vd', 'r101vd'])
def test_the_published_names_are_those_of_our_model(name):
    """The narrow network has the newer names; `r34vd` and `r50vd` have no other ones."""
    tensors = {
        key: np.broadcast_to(np.float32(1), shape)
        for key, shape in SHAPES[name].items()
    }
    formats = weights_file.FAMILIES['rt_detr'].FORMATS
    leaves, identity = weights_file._interpret(
        Path(f'{name}.safetensors'), 'rt_detr', formats, tensors
    )
    assert identity.recipe.preprocessing().size == (640, 640)
    model = rt_detr.make(name, num_classes=len(identity.classes.names))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    expected = flax_variables.by_name(shapes)
    assert {key: leaf.shape for key, leaf in leaves.items()} == {
        key: leaf.shape for key, leaf in expected.items()
    }


def test_parts_that_only_training_needs_are_left_out_and_x_and_y_change_places():
    tensors = {
        'enc_score_head.weight': np.zeros((2, 4), np.float32),
        'enc_score_head.bias': np.zeros(2, np.float32),
        'denoising_class_embed.weight': np.zeros((3, 4), np.float32),
        'decoder.layers.0.encoder_attn.n_points_scale': np.ones(12, np.float32),
        'decoder.layers.0.encoder_attn.sampling_offsets.bias': np.float32([0, 1, 2, 3]),
        'decoder.bbox_embed.5.layers.2.bias': np.float32([0, 1, 2, 3]),
        # The same heads again, as in older files.
        'bbox_embed.5.layers.2.bias': np.float32([0, 1, 2, 3]),
        'decoder.query_pos_head.layers.0.weight': np.float32([[0, 1, 2, 3]]),
        'a.tensor': np.zeros(1, np.float32),
    }
    leaves = weights_file.FAMILIES['rt_detr'].FORMATS[0].convert(tensors)
    numbers = {name: leaf.ravel().tolist() for name, leaf in leaves.items()}
    assert set(numbers) == {
        'selection/scores/kernel',
        'selection/scores/bias',
        'decoder/layer1/deformable/offsets/bias',
        'decoder/layer6_boxes/dense3/bias',
        'decoder/position1/kernel',
        'a.tensor',
    }
    assert numbers['decoder/layer1/deformable/offsets/bias'] == [1, 0, 3, 2]
    assert numbers['decoder/layer6_boxes/dense3/bias'] == [1, 0, 3, 2]
    assert numbers['decoder/position1/kernel'] == [1, 0, 3, 2]


def test_losses_equal_those_of_transformers():
    """Varifocal, and 2 GIoU with 5 L1, of each layer; matched at the same costs."""
    logits, boxes, truth = map(jnp.asarray, rt_detr_weights.training_batch())
    stored = np.load(rt_detr_weights.DATA)['losses']
    y_first = [1, 0, 3, 2]
    mask = truth[..., 3] > 0
    edges = conversions.from_center_size(truth[..., 1:][..., y_first])
    classes = truth[..., 0].astype(int)

    @jax.jit
    @jax.vmap
    def terms(logits, boxes, edges, classes, mask):
        nothing = jnp.zeros_like(mask)
        return query_stage.layer_terms(logits, boxes, edges, classes, mask, nothing)

    for layer, (of_class, of_box) in enumerate(stored):
        class_values, box_values = terms(
            logits[:, layer], boxes[:, layer][..., y_first], edges, classes, mask
        )
        count = float(mask.sum())
        assert float(class_values.sum()) / count == pytest.approx(of_class, rel=1e-5)
        assert 2 * float(box_values.sum()) / count == pytest.approx(of_box, rel=1e-5)
