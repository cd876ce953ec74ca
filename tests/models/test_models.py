"""What holds for every model, and the papers' parameter counts."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.random_weights import random_leaves

from jaxvision.core.errors import UserError
from jaxvision.models.backbones import cnn, resnet, vgg, vit

CLASSES = 5

# model: its file, variant and options, and how to make it shallow enough for a quick test
MODELS = {
    'cnn': (cnn, '8-16', dict(dropout=0.5), {}),
    'resnet-basic': (
        resnet,
        '18',
        dict(stem='cifar', drop_path=0.9),
        dict(depths=(1, 2)),
    ),
    'resnet-bottleneck': (
        resnet,
        '50',
        dict(norm='group', drop_path=0.9),
        dict(depths=(1, 2)),
    ),
    'vgg-pool': (vgg, '11', dict(batch_norm=True, head='pool'), {}),
    'vgg-fc': (vgg, '11', dict(), {}),
    'vit-cls': (vit, 'Ti/16', dict(dropout=0.1, drop_path=0.2), dict(depth=2)),
    'vit-mean': (vit, 'Ti/8', dict(pool='mean', dropout=0.1), dict(depth=2)),
}
EVERY_MODEL = pytest.mark.parametrize('name', MODELS)
IMAGE = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
KEYS = jax.random.split(jax.random.key(2), 2)


def build(name, **more):
    module, variant, options, shallow = MODELS[name]
    return module.make(variant, num_classes=CLASSES, **options, **more).clone(**shallow)


def random_variables(model):
    return random_leaves(jax.eval_shape(model.init, jax.random.key(0), IMAGE))


@EVERY_MODEL
def test_every_model_trains(name):
    model = build(name)
    variables = random_variables(model)

    @jax.jit
    def apply(variables, keys):
        return model.apply(
            variables, IMAGE, train=True, keys=keys, mutable=['batch_stats']
        )

    (outputs, tensors), new = apply(variables, None)
    assert outputs.shape == (2, 5)
    np.testing.assert_array_equal(outputs, tensors['logits'])
    assert set(variables) <= {'params', 'batch_stats'}
    statistics = jax.tree.leaves(variables.get('batch_stats', {}))
    assert all(
        (old != updated).any()
        for old, updated in zip(statistics, jax.tree.leaves(new), strict=True)
    )

    if name != 'vgg-pool':
        (dropped, _), _ = apply(variables, KEYS)
        assert (dropped != outputs).any()


@EVERY_MODEL
def test_every_model_runs_in_bfloat16(name):
    model = build(name, dtype=jnp.bfloat16)
    variables = random_variables(model)
    outputs, tensors = jax.jit(model.apply)(variables, IMAGE)
    del tensors['logits']
    assert outputs.dtype == jnp.float32 and jnp.isfinite(outputs).all()
    assert all(tensor.dtype == jnp.bfloat16 for tensor in tensors.values())
    assert all(jnp.isfinite(tensor).all() for tensor in tensors.values())

    precise, _ = jax.jit(build(name).apply)(variables, IMAGE)
    assert jnp.abs(outputs - precise).max() < 0.1 * jnp.abs(precise).max()


@pytest.mark.parametrize('name', ['resnet-basic', 'vit-cls'])
def test_remat_does_not_change_gradients(name):
    variables = random_variables(build(name))

    @partial(jax.jit, static_argnums=1)
    def gradient(variables, model):
        def loss(params):
            (outputs, _), new = model.apply(
                {**variables, 'params': params},
                IMAGE,
                train=True,
                keys=KEYS,
                mutable=['batch_stats'],
            )
            return jnp.sum(jnp.tanh(outputs)), new

        return jax.grad(loss, has_aux=True)(variables['params'])

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, b, rtol=0, atol=1e-4 * max(1e-3, float(np.abs(a).max()))
        ),
        gradient(variables, build(name)),
        gradient(variables, build(name, remat=True)),
    )


def test_unused_intermediates_cost_no_computation():
    model = resnet.make('18', num_classes=CLASSES, stem='cifar')
    variables = jax.eval_shape(model.init, jax.random.key(0), IMAGE)

    def flops(pick):
        apply = jax.jit(lambda variables: pick(model.apply(variables, IMAGE)))
        return apply.lower(variables).compile().cost_analysis()['flops']

    stage1 = flops(lambda outputs: outputs[1]['stage1'])
    assert stage1 < 0.4 * flops(lambda outputs: outputs[0])


@pytest.mark.parametrize(
    'module, variant, options, message',
    [
        (cnn, '16-', {}, "Write them as '16-32-64'"),
        (
            resnet,
            '20',
            {},
            "model.variant='20': expected one of '18', '34', '50', '101', '152'",
        ),
        (resnet, '18', {'stem': 'mnist'}, "stem='mnist'"),
        (vgg, '17', {}, "'11', '13', '16', '19'"),
        (vgg, '11', {'head': 'none'}, "'fc', 'pool'"),
        (vit, 'B', {}, "model.variant='B': expected SIZE/PATCH"),
        (vit, 'B/16', {'pool': 'max'}, "'cls', 'mean'"),
    ],
)
def test_an_unknown_variant_or_option_is_an_error_that_lists_the_choices(
    module, variant, options, message
):
    with pytest.raises(UserError, match=message):
        module.make(variant, num_classes=CLASSES, **options)


def test_importing_a_model_imports_no_heavy_package():
    code = """
import sys
sys.argv = ['program', '--no-such-flag']
import jaxvision.models.backbones.resnet
heavy = {'tensorflow', 'tensorflow_datasets', 'grain', 'ml_collections', 'jaxvision.data',
         'jaxvision.train', 'jaxvision.main'} & set(sys.modules)
flags = sys.modules.get('absl.flags')
sys.exit(f'imported {heavy}' if heavy else flags and flags.FLAGS.is_parsed() and 'flags parsed')
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    'module, variant, size, message',
    [
        (cnn, '4-4-4-4-4', 8, 'with 5 stages: expected fewer for images of 8x8'),
        (
            vit,
            'Ti/16',
            28,
            'patches of 16 pixels: expected images of a multiple of it, but .* 28x28',
        ),
    ],
)
def test_an_image_of_unsuitable_size_is_an_error(module, variant, size, message):
    model = module.make(variant, num_classes=2)
    with pytest.raises(UserError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, 1)))


def test_vgg_stops_pooling_at_one_pixel():
    model = vgg.make('11', num_classes=2, head='pool')
    _, tensors = jax.eval_shape(
        model.init_with_output, jax.random.key(0), jnp.zeros((1, 12, 12, 1))
    )[0]
    assert [tensors[f'pool{i}'].shape[1] for i in range(1, 6)] == [6, 3, 1, 1, 1]
