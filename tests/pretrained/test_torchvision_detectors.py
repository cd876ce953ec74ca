"""torchvision's detectors: whole ones on tiny backbones, and the names of the published files."""

import dataclasses
import gzip
import json
import re
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.boxes import pasting
from jaxvision.core import config as configs
from jaxvision.models.blocks import layers
from jaxvision.models.detectors import faster_rcnn, mask_rcnn, retinanet
from jaxvision.models.detectors.pyramid import PyramidBackbone
from jaxvision.pretrained import coco_classes, flax_variables, recipes, weights_file
from jaxvision.pretrained.families import torchvision_detectors as detectors
from jaxvision.tasks.detection import canvases, evaluation, preparation, task
from jaxvision.train import matching

DATA = Path(__file__).with_name('data')
NAMES = ('torchvision_detectors', 'torchvision_masks')
STORED = {}
SHAPES = {}
for file in NAMES:
    STORED |= np.load(DATA / f'{file}.npz')
    SHAPES |= json.loads(gzip.decompress((DATA / f'{file}.json.gz').read_bytes()))
PREPROCESSING = dataclasses.replace(
    recipes.named('torchvision_detection').preprocessing(), size=(96, 150)
)
MODULES = {'faster_rcnn': faster_rcnn, 'mask_rcnn': mask_rcnn, 'retinanet': retinanet}
# Options of the models that tests/bench/torchvision_detectors.py and torchvision_masks.py make.
TINY = {
    'faster_rcnn': ('resnet50_fpn', {'width': 8, 'hidden': 16}),
    'faster_rcnn_v2': ('resnet50_fpn_v2', {'width': 8, 'hidden': 16}),
    'mask_rcnn': ('resnet50_fpn', {'width': 8, 'hidden': 16, 'mask_width': 8}),
    'retinanet': ('resnet50_fpn', {'width': 8}),
    'retinanet_v2': ('resnet50_fpn_v2', {'width': 32}),
}
LARGE = {
    'fasterrcnn_resnet50_fpn': ('faster_rcnn', 'resnet50_fpn', 41_755_286),
    'fasterrcnn_resnet50_fpn_v2': ('faster_rcnn', 'resnet50_fpn_v2', 43_712_278),
    'maskrcnn_resnet50_fpn': ('mask_rcnn', 'resnet50_fpn', 44_401_393),
    'retinanet_resnet50_fpn': ('retinanet', 'resnet50_fpn', 34_014_999),
    'retinanet_resnet50_fpn_v2': ('retinanet', 'resnet50_fpn_v2', 38_198_935),
}
# torchvision does not count the scales and biases of frozen batch norm.
FROZEN = 53_120


class Patches(nn.Module):
    """The tiny backbone: a convolution without overlap for each map."""

    strides: tuple[int, ...]

    @nn.compact
    def __call__(self, image, train=False, keys=None):
        maps = {}
        for stride in self.strides:
            window = (stride, stride)
            conv = nn.Conv(6, window, window, padding='VALID', name=f'conv{stride}')
            maps[str(stride)] = nn.relu(conv(image))
        return None, maps


def family_of(name):
    return name.removesuffix('_v2')


def tensors_of(name):
    """The stored tensors of a model: those of the backbone, and the others."""
    tensors = {
        key.removeprefix(f'{name}/'): STORED[key]
        for key in STORED
        if key.startswith(f'{name}/') and not re.search('/(outputs|losses)/', key)
    }
    backbone = {key: tensors.pop(key) for key in list(tensors) if '.convs.' in key}
    return backbone, tensors


def make_detector(name):
    """Our detector with the stored weights: (detector, its variables)."""
    family = family_of(name)
    backbone, tensors = tensors_of(name)
    format = weights_file.FAMILIES[family].FORMATS[-1]
    leaves = format.convert(tensors)
    for key, tensor in backbone.items():
        stride, parameter = re.search(r'convs\.(\d+)\.(\w+)', key).groups()
        leaf = 'kernel' if parameter == 'weight' else 'bias'
        if leaf == 'kernel':
            tensor = tensor.transpose(2, 3, 1, 0)
        leaves[f'features/backbone/conv{stride}/{leaf}'] = tensor
    classes = format.classes(leaves)
    variant, options = TINY[name]
    model = MODULES[family].make(variant, num_classes=len(classes.names), **options)
    features = PyramidBackbone(
        **{
            field.name: getattr(model.features, field.name)
            for field in dataclasses.fields(model.features)
            if field.name not in ('backbone', 'parent', 'name')
        },
        backbone=Patches(model.features.strides),
    )
    model = model.clone(features=features)
    config = configs.default('detection')
    config.task.update(format.task)
    outputs = tuple(row for row, name in enumerate(classes.names) if name)
    spec = task.Spec(
        inputs=canvases.inputs(PREPROCESSING),
        targets=preparation.targets(1),
        class_names=tuple(classes.names[row] for row in outputs),
        preprocessing=PREPROCESSING,
        details=task.Details(
            category_ids=tuple(classes.numbers[row] for row in outputs),
            outputs=outputs,
            output_count=len(classes.names),
        ),
    )
    detector = task.DETECTORS[type(model)](
        model=model, spec=spec, options=config.task, dtype=jnp.float32
    )
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 96, 160, 3)))
    return detector, flax_variables.as_network(flax_variables.fit(leaves, shapes))


@pytest.mark.parametrize('name', TINY)
def test_the_detections_are_those_of_torchvision(name):
    detector, variables = make_detector(name)
    example = canvases.bounded(STORED['image'], PREPROCESSING)
    inputs = {key: example[key][None] for key in detector.spec.inputs}
    outputs = jax.jit(detector.predict)(variables, inputs)
    warp = jnp.asarray(example['warp'])[None]
    size = jnp.asarray(example['original_size'])[None]
    boxes = evaluation.to_original(outputs['boxes'], warp, size)
    valid = np.asarray(outputs['valid'][0])
    boxes = np.asarray(boxes[0])[valid]
    scores = np.asarray(outputs['scores'][0])[valid]
    ids = np.array(detector.spec.details.category_ids)
    numbers = ids[np.asarray(outputs['classes'][0])[valid]]

    expected = {
        key: STORED[f'{name}/outputs/{key}'] for key in ('boxes', 'scores', 'labels')
    }
    assert len(scores) == len(expected['scores']) >= 20
    assert len(set(numbers)) >= 3
    free = np.ones(len(boxes), bool)
    partners = []
    for x_first, score, label in zip(*expected.values(), strict=True):
        is_candidate = free & (numbers == label) & (np.abs(scores - score) < 1e-4)
        errors = np.abs(boxes - x_first[[1, 0, 3, 2]]).max(axis=1)
        errors[~is_candidate] = np.inf
        row = np.argmin(errors)
        assert errors[row] < 0.05
        free[row] = False
        partners.append(row)
    assert not free.any()
    if name == 'mask_rcnn':
        check_masks(np.asarray(outputs['masks'][0])[valid], boxes, partners)


def check_masks(masks, boxes, partners):
    """The masks in the image are torchvision's, but for pixels near the threshold."""
    size = STORED['image'].shape[:2]
    pasted = np.stack(
        [
            pasting.paste(mask, box, size, rounds=True)
            for mask, box in zip(masks, boxes, strict=True)
        ]
    )
    expected = unpacked('masks', pasted.shape)
    differs = pasted[partners] != expected
    assert not (differs & ~unpacked('near', pasted.shape)).any()
    fractions = expected.mean(axis=(1, 2))
    assert fractions.min() < 0.01 and fractions.max() > 0.2


def unpacked(name, shape):
    """A stored array of truth values."""
    bits = np.unpackbits(STORED[f'mask_rcnn/outputs/{name}'], count=np.prod(shape))
    return bits.reshape(shape).astype(bool)


@pytest.mark.parametrize('name', ['retinanet', 'retinanet_v2'])
def test_the_losses_are_those_of_torchvision(name):
    detector, variables = make_detector(name)
    example = canvases.bounded(STORED['image'], PREPROCESSING)
    scale = np.tile(np.diag(example['warp']), 2)
    # Two rows of padding.
    truth = np.zeros((5, 4), np.float32)
    truth[:3] = STORED['truth/boxes'][:, [1, 0, 3, 2]] * scale
    # torchvision numbers the background too.
    classes = np.zeros(5, np.int32)
    classes[:3] = STORED['truth/labels']
    mask = np.arange(5) < 3

    # The boxes are no constants, which the compiler would match with all anchors itself.
    @jax.jit
    def terms(variables, image, truth, classes, mask, crowd):
        outputs = detector.outputs(variables, {'image': image[None]})
        return detector._terms(
            image.shape[:2],
            outputs['logits'][0],
            outputs['deltas'][0],
            truth,
            classes,
            mask,
            crowd,
        )

    crowd = np.zeros(5, bool)
    class_value, box_value, weight = terms(
        variables, example['image'], truth, classes, mask, crowd
    )
    box_value = box_value / detector.options.box_weight
    expected = STORED[f'{name}/losses/classification']
    assert float(class_value / weight) == pytest.approx(float(expected), rel=1e-4)
    expected = STORED[f'{name}/losses/bbox_regression']
    assert float(box_value / weight) == pytest.approx(float(expected), rel=1e-4)


def test_weights_of_other_classes_are_matched_by_name():
    """The background and the shared classes of both stages' outputs are copied."""
    options = {'strides': '2-4', 'width': 8, 'hidden': 8, 'pooled_size': 3}
    shapes = {}
    for number in (2, 3):
        model = faster_rcnn.make('cnn:4x1-4x1-8x1', num_classes=number, **options)
        image = jnp.zeros((1, 64, 64, 3))
        variables = jax.eval_shape(model.init, jax.random.key(0), image)
        shapes[number] = flax_variables.by_name(variables)
    axes = matching.axes(shapes[2], shapes[3])
    assert axes == {
        'second/scores/kernel': 1,
        'second/scores/bias': 0,
        'second/deltas/kernel': 1,
        'second/deltas/bias': 0,
    }
    names = detectors.classes(91).names[1:]
    old = np.arange(91 * 4, dtype=np.float32).reshape(91, 4)
    new = matching.matched(old, 0, names, ('dog', 'a new class'), (3, 4))
    np.testing.assert_array_equal(new.is_copied[:, 0], [True, True, False])
    np.testing.assert_array_equal(new.values[0], old[0])
    np.testing.assert_array_equal(new.values[1], old[18])


def test_frozen_batch_norm_has_no_gradient_and_keeps_its_statistics():
    norm = layers.normalization('frozen', True, jnp.float32, jnp.float32)()
    x = jax.random.normal(jax.random.key(0), (4, 3)) + 5
    variables = norm.init(jax.random.key(1), x)

    def summed(params):
        y, state = norm.apply({**variables, 'params': params}, x, mutable='batch_stats')
        return jnp.sum(y**2), (y, state)

    gradient, (y, state) = jax.grad(summed, has_aux=True)(variables['params'])
    np.testing.assert_allclose(y, x, rtol=1e-4)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient))
    jax.tree.map(
        np.testing.assert_array_equal, state['batch_stats'], variables['batch_stats']
    )


def older(name):
    """The name of a tensor in files before torchvision 0.13."""
    name = re.sub(r'(fpn\.\w+_blocks\.\d+)\.0', r'\1', name)
    name = name.replace('rpn.head.conv.0.0', 'rpn.head.conv')
    match = re.match(r'(.*mask_head\.)(\d)\.0(.*)', name)
    if match:
        return f'{match[1]}mask_fcn{int(match[2]) + 1}{match[3]}'
    match = re.match(r'(head\.\w+\.conv)\.(\d)\.0(.*)', name)
    if match:
        return f'{match[1]}.{2 * int(match[2])}{match[3]}'
    return name


@pytest.mark.parametrize('name', LARGE)
@pytest.mark.parametrize('is_old', [False, True])
def test_the_published_names_are_those_of_our_model(name, is_old):
    family, variant, parameters = LARGE[name]
    if is_old and variant.endswith('v2'):
        pytest.skip('there are no old files of the v2')
    tensors = {}
    for key, shape in SHAPES[name].items():
        if variant.endswith('v2') or not key.endswith('num_batches_tracked'):
            new_key = older(key) if is_old else key
            tensors[new_key] = np.broadcast_to(np.float32(1), shape)
    formats = weights_file.FAMILIES[family].FORMATS
    leaves, identity = weights_file._interpret(
        Path(f'{name}.pth'), family, formats, tensors
    )
    assert not identity.options
    assert identity.recipe.preprocessing().size == (800, 1333)
    model = MODULES[family].make(variant, num_classes=len(identity.classes.names))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    expected = flax_variables.by_name(shapes)
    assert {key: leaf.shape for key, leaf in leaves.items()} == {
        key: leaf.shape for key, leaf in expected.items()
    }
    frozen = 0 if variant.endswith('v2') else FROZEN
    counted = sum(leaf.size for leaf in jax.tree.leaves(shapes['params']))
    assert counted - frozen == parameters


@pytest.mark.parametrize('family, outputs', [('faster_rcnn', 90), ('retinanet', 91)])
def test_the_classes_are_those_of_coco_with_their_numbers(family, outputs):
    first = {'faster_rcnn': 'second/scores/bias', 'retinanet': 'head/scores/bias'}
    leaves = {first[family]: np.zeros(91)}
    format = weights_file.FAMILIES[family].FORMATS[-1]
    classes = format.classes(leaves)
    assert len(classes.names) == len(classes.numbers) == outputs
    named = [
        (number, name)
        for number, name in zip(classes.numbers, classes.names, strict=True)
        if name
    ]
    assert named == [tuple(category) for category in coco_classes.categories()]
    assert len(named) == 80
    assert (named[0], named[-1]) == ((1, 'person'), (90, 'toothbrush'))


@pytest.mark.parametrize(
    'source, expected',
    [
        ((480, 640), (800, 1066)),
        ((427, 640), (800, 1199)),
        ((640, 427), (1199, 800)),
        ((100, 1000), (133, 1333)),
        ((1, 5000), (1, 1333)),
    ],
)
def test_an_image_is_resized_between_two_sides(source, expected):
    assert canvases.bounded_size(source, 800, 1333) == expected


def test_the_canvas_is_filled_with_the_mean():
    example = canvases.bounded(STORED['image'], PREPROCESSING)
    height, width = example['content_size']
    assert example['image'].shape == (96, 160, 3)
    assert (height, width) == (94, 150) or (height, width) == (95, 150)
    mean = 255 * np.float32(PREPROCESSING.mean)
    np.testing.assert_array_equal(
        example['image'][height:], mean + np.zeros((1, 160, 3))
    )
