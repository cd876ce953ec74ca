"""FCN, DeepLab, SegFormer and their backbones: sizes, dilation, training and wrong options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.random_weights import random_leaves

from jaxvision.core.errors import UserError
from jaxvision.models.backbones import feature_maps, mit, resnet
from jaxvision.models.segmenters import deeplab, fcn, segformer

CLASSES = 3
BACKBONE = 'cnn:4x1-6x1-8x1-8x1'
# The auxiliary head of DeepLab is the head of FCN.
MODELS = {
    'deeplab_plus': (deeplab, {'width': 8, 'decoder': True, 'rates': '1-2'}),
    'segformer': (segformer, {'width': 8}),
}


def shapes_of(model, image, **options):
    def run(key, image):
        variables = model.init(key, image)
        return model.apply(variables, image, **options)

    return jax.eval_shape(run, jax.random.key(0), image)


@pytest.mark.parametrize('name', MODELS)
def test_a_segmenter_trains_on_any_backbone(name):
    """Every parameter has a gradient, and every statistic changes."""
    module, options = MODELS[name]
    model = module.make(BACKBONE, num_classes=CLASSES, **options)
    image = jax.random.normal(jax.random.key(1), (2, 32, 48, 3))
    variables = random_leaves(jax.eval_shape(model.init, jax.random.key(0), image))
    keys = jax.random.split(jax.random.key(2), 2)

    @jax.jit
    def gradient(variables):
        def loss(params):
            (outputs, _), new = model.apply(
                {**variables, 'params': params},
                image,
                train=True,
                keys=keys,
                mutable=['batch_stats'],
            )
            total = sum(jnp.square(x - 1).sum() for x in outputs.values())
            return total, (outputs, new['batch_stats'])

        return jax.grad(loss, has_aux=True)(variables['params'])

    gradients, (outputs, statistics) = gradient(variables)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))
    changed = jax.tree.map(
        lambda old, new: bool((old != new).any()), variables['batch_stats'], statistics
    )
    assert all(jax.tree.leaves(changed))
    assert outputs['logits'].shape == (2, 8, 12, CLASSES)
    has_auxiliary = name != 'segformer'
    assert ('auxiliary' in outputs) == has_auxiliary
    evaluated, _ = shapes_of(model, image)
    assert evaluated.keys() == {'logits'}


@pytest.mark.parametrize(
    'output_stride, expected',
    [
        (32, [(2, (1, 1)), (1, (1, 1)), (2, (1, 1)), (1, (1, 1))]),
        (16, [(2, (1, 1)), (1, (1, 1)), (1, (1, 2)), (1, (2, 2))]),
        (8, [(1, (1, 2)), (1, (2, 2)), (1, (2, 4)), (1, (4, 4))]),
    ],
)
def test_the_first_block_of_a_dilated_stage_has_the_dilation_before(
    output_stride, expected
):
    """(stride, dilations) of two blocks of stages 3 and 4, as in torchvision and timm."""
    model = resnet.make('50', num_classes=0, output_stride=output_stride)
    samplings = [model._sampling(stage, block) for stage in (3, 4) for block in (1, 2)]
    assert samplings == expected
    assert model._sampling(2, 1) == (2, (1, 1))
    image = jax.ShapeDtypeStruct((1, 65, 97, 3), jnp.float32)
    _, tensors = shapes_of(model, image)
    side = {8: (9, 13), 16: (5, 7), 32: (3, 4)}[output_stride]
    assert tensors['stage4'].shape == (1, *side, 2048)


def test_a_dilated_network_sees_what_the_strided_one_sees():
    """Every fourth cell of the last dilated map is a cell of the strided network's map."""
    image = jax.random.normal(jax.random.key(1), (1, 64, 64, 3))
    options = dict(block=resnet.BasicBlock, depths=(1, 1, 1, 1))
    strided = resnet.ResNet(0, **options)
    dilated = resnet.ResNet(0, **options, output_stride=8)
    variables = random_leaves(jax.eval_shape(strided.init, jax.random.key(0), image))
    _, expected = jax.jit(strided.apply)(variables, image)
    _, tensors = jax.jit(dilated.apply)(variables, image)
    for stage, step in (('stage3', 2), ('stage4', 4)):
        every = tensors[stage][:, ::step, ::step]
        np.testing.assert_allclose(every, expected[stage], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    'variant, sizes',
    [
        ('b0', [(20, 13), (10, 7), (5, 4), (3, 2)]),
        ('cnn:4x1-4x1-4x1-4x1-4x1', [(78, 50), (39, 25), (19, 12), (9, 6), (4, 3)]),
        ('vit:Ti/16', [(5, 3)]),
    ],
)
def test_segformer_reads_maps_of_any_backbone(variant, sizes):
    model = segformer.make(variant, num_classes=CLASSES)
    size = (80, 48) if variant.startswith('vit') else (78, 50)
    image = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    outputs, tensors = shapes_of(model, image)
    finest = sizes[0] if len(sizes) < 5 else sizes[2]
    assert outputs['logits'].shape == (1, *finest, CLASSES)
    if variant.startswith('vit'):
        return
    for stage, side in enumerate(sizes, start=1):
        assert tensors[f'stage{stage}'].shape[1:3] == side


def test_maps_of_tokens_leave_out_the_class_token_and_keep_rows():
    image = jnp.zeros((1, 32, 48, 3))
    tokens = jnp.arange(7)[None, :, None] - 1.0
    intermediates = {f'block{i}': tokens + 10 * i for i in range(1, 7)}
    found = feature_maps.of_tokens(intermediates, image, 16, 3)
    expected = np.arange(6).reshape(1, 2, 3, 1)
    for x, block in zip(found, (2, 4, 6), strict=True):
        np.testing.assert_array_equal(x, expected + 10 * block)


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda: resnet.make('50', num_classes=0, output_stride=4), 'output_stride=4'),
        (
            lambda: resnet.make('18', num_classes=0, stem='cifar', output_stride=8),
            'output_stride=8',
        ),
        (lambda: deeplab.make(BACKBONE, num_classes=2, rates='6,12'), "rates='6,12'"),
        (lambda: fcn.make('resnet', num_classes=2), 'expected NAME:VARIANT'),
        (lambda: segformer.make('b6', num_classes=2), 'expected NAME:VARIANT'),
        (lambda: mit.make('b6', num_classes=2), "'b6'"),
    ],
)
def test_a_wrong_option_is_an_error_with_its_remedy(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_a_missing_map_and_a_small_image_are_errors_with_their_remedy():
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    model = fcn.make(BACKBONE, num_classes=2, output_stride=16)
    with pytest.raises(UserError, match=r'\(1, 2, 4, 8\), and 16 is not'):
        shapes_of(model, image)
    small = jax.ShapeDtypeStruct((1, 16, 40, 3), jnp.float32)
    with pytest.raises(UserError, match='at least 32 pixels'):
        shapes_of(mit.make('b0', num_classes=2), small)
