import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.random_weights import random_leaves

from jaxvision.core.errors import UserError
from jaxvision.core.registry import resolve
from jaxvision.models import tuning
from jaxvision.models.blocks.inverted_residual import InvertedResiduals, Stage

CLASSES = 3


def make(name, variant, **options):
    return resolve('models', name).make(variant, num_classes=CLASSES, **options)


def images(batch=4, side=32):
    return jax.random.normal(jax.random.key(0), (batch, side, side, 3))


@pytest.mark.parametrize(
    'name, variant, expected',
    [
        (
            'resnet',
            '18',
            [
                'stem_conv stem_norm',
                'stage1_block1',
                'stage1_block2',
                'stage2_block1',
                'stage2_block2',
                'stage3_block1',
                'stage3_block2',
                'stage4_block1',
                'stage4_block2',
                'head',
            ],
        ),
        (
            'vit',
            'Ti/16',
            [
                'cls patch_embedding position_embedding',
                *[f'block{i}' for i in range(1, 12)],
                'block12 norm',
                'head',
            ],
        ),
        (
            'efficientnet',
            'Lite0',
            [
                'stem_conv stem_norm',
                *[f'block{i}' for i in range(1, 17)],
                'last_conv last_norm',
                'head',
            ],
        ),
        (
            'mobilenet_v2',
            '1.0',
            [
                'stem_conv stem_norm',
                *[f'block{i}' for i in range(1, 18)],
                'last_conv last_norm',
                'head',
            ],
        ),
    ],
)
def test_blocks_have_the_order_of_the_computation(name, variant, expected):
    blocks = tuning.blocks(
        make(name, variant), jax.ShapeDtypeStruct((1, 32, 32, 3), 'float32')
    )
    assert [' '.join(sorted(block)) for block in blocks] == expected


@pytest.mark.parametrize(
    'name, variant',
    [('vgg', '11'), ('cnn', '4-8'), ('convnext', 'T'), ('strided', '4-4')],
)
def test_blocks_contain_all_parameters(name, variant):
    model, shape = make(name, variant), jax.ShapeDtypeStruct((1, 32, 32, 3), 'float32')
    names = [name for block in tuning.blocks(model, shape) for name in block]
    params = jax.eval_shape(model.init, jax.random.key(0), shape)['params']
    assert sorted(names) == sorted(params) and names[-1] == 'head'


def test_a_model_without_a_head_is_an_error():
    model = resolve('models', 'resnet').make('18', num_classes=0)
    with pytest.raises(UserError, match=r'^model\.name: .* last module named head'):
        tuning.blocks(model, images(1))
    small = resolve('models', 'cnn').make('4', num_classes=0)
    variables = small.init(jax.random.key(0), images(1))
    with pytest.raises(
        UserError, match='a last module named head, .* but CNN has none'
    ):
        tuning.head_input(small, variables, images(1))


@pytest.fixture(scope='module')
def small():
    """A model with batch norm, dropout and drop path, and its variables."""
    model = InvertedResiduals(
        3,
        8,
        (Stage(1, 3, 1, 8, 2), Stage(2, 3, 2, 12, 2)),
        16,
        nn.relu6,
        0.25,
        0.2,
        0.5,
    )
    return model, random_leaves(
        jax.eval_shape(model.init, jax.random.key(1), images(1))
    )


def train(model, variables, **options):
    def apply(variables, x, keys):
        with tuning.tuned(**options):
            (logits, _), state = model.apply(
                variables, x, train=True, keys=keys, mutable=['batch_stats']
            )
        return logits, state

    return jax.jit(apply)(variables, images(), jax.random.split(jax.random.key(2), 4))


def test_frozen_modules_compute_as_in_evaluation(small):
    model, variables = small
    names = {name for block in tuning.blocks(model, images(1)) for name in block}
    below = names - {'block4', 'last_conv', 'last_norm', 'head'}
    _, state = train(model, variables, staying=below)
    same = jax.tree.map(
        lambda a, b: bool((a == b).all()),
        state,
        {'batch_stats': variables['batch_stats']},
    )['batch_stats']
    assert {name for name in same if jax.tree.all(same[name])} == below & same.keys()
    # With all modules and the last dropout frozen, training equals evaluation.
    logits, state = train(model, variables, staying=names | {'dropout'})
    answer = jax.jit(model.apply)(variables, images())[0]
    np.testing.assert_allclose(logits, answer, atol=1e-5 * np.abs(answer).max())
    logits, state = train(model, variables, statistics_stay=True)
    assert jax.tree.all(
        jax.tree.map(jnp.array_equal, state['batch_stats'], variables['batch_stats'])
    )
    # Drop path is random.
    assert np.abs(logits - answer).max() > 0.01 * np.abs(answer).max()


def test_head_input_times_the_kernel_gives_the_logits(small):
    model, variables = small

    @jax.jit
    def features_and_logits(variables):
        features = tuning.head_input(model, variables, images())
        return features, model.apply(variables, images())[0]

    features, answer = features_and_logits(variables)
    head = variables['params']['head']
    np.testing.assert_allclose(
        features @ head['kernel'] + head['bias'],
        answer,
        atol=1e-5 * np.abs(answer).max(),
    )


def test_low_rank_updates_equal_updated_matrices():
    model = make('vit', 'Ti/16', depth=1)
    variables = jax.jit(model.init)(jax.random.key(0), images(1))
    updates = tuning.low_rank(jax.random.key(1), variables['params'], rank=3)
    assert set(updates) == {'block1'}
    assert set(updates['block1']) == {'attention', 'mlp1', 'mlp2'}

    @jax.jit
    def apply(variables, updates=None):
        with tuning.tuned(lora=updates or {}):
            return model.apply(variables, images())[0]

    plain = apply(variables)
    np.testing.assert_array_equal(apply(variables, updates), plain)

    updates = jax.tree.map(
        lambda x: jax.random.normal(jax.random.key(2), x.shape) / 10, updates
    )
    merged = jax.tree.map(jnp.array, variables)
    for block in updates:
        for path in (('attention', 'qkv'), ('attention', 'out'), ('mlp1',), ('mlp2',)):
            module, update = merged['params'][block], updates[block]
            for name in path:
                module, update = module[name], update[name]
            module['kernel'] += update['down'] @ update['up']
    logits = apply(variables, updates)
    np.testing.assert_allclose(logits, apply(merged), atol=2e-5)
    assert np.abs(logits - plain).max() > 0.01


@pytest.mark.parametrize(
    'name, variant, rank, message',
    [
        (
            'resnet',
            '18',
            4,
            "task.trained='lora 4': expected a model with linear layers",
        ),
        ('vit', 'Ti/16', 192, "task.trained='lora 192': expected a rank from 1 to 191"),
    ],
)
def test_a_rank_without_suitable_matrices_is_an_error(name, variant, rank, message):
    params = jax.eval_shape(make(name, variant).init, jax.random.key(0), images(1))[
        'params'
    ]
    with pytest.raises(UserError, match=message):
        tuning.low_rank(jax.random.key(0), params, rank)
