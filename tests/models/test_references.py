"""Models equal PyTorch's with the same weights (tests/bench/torch_references.py)."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.reference_weights import draw, excerpt, pictures

from jaxvision.models.backbones import cnn, inception, resnet, vgg, vit

DATA = Path(__file__).with_name('data')
LEAVES = {
    'kernel': 'weight',
    'scale': 'weight',
    'bias': 'bias',
    'mean': 'running_mean',
    'var': 'running_var',
}


def cnn_name(module):
    module = re.sub(
        r'(stage\d)_conv(\d)', lambda m: f'{m[1]}.{3 * int(m[2]) - 3}', module
    )
    module = re.sub(
        r'(stage\d)_norm(\d)', lambda m: f'{m[1]}.{3 * int(m[2]) - 2}', module
    )
    return module.replace('head', 'fc')


def resnet_name(module):
    module = re.sub(
        r'stage(\d)_block(\d)/', lambda m: f'layer{m[1]}.{int(m[2]) - 1}.', module
    )
    module = module.replace('shortcut_conv', 'downsample.0')
    module = module.replace('shortcut_norm', 'downsample.1')
    module = module.replace('stem_conv', 'conv1').replace('stem_norm', 'norm1')
    return module.replace('norm', 'bn').replace('head', 'fc')


def vgg_name(depths, batch_norm, head):
    names, index = (
        {'fc6': 'classifier.1', 'fc7': 'classifier.4', 'head': f'classifier.{head}'},
        0,
    )
    for block, depth in enumerate(depths, 1):
        for i in range(1, depth + 1):
            names[f'conv{block}_{i}'] = f'features.{index}'
            names[f'norm{block}_{i}'] = f'features.{index + 1}'
            index += 3 if batch_norm else 2
        index += 1
    return names.get


def vit_name(module):
    module = re.sub(r'block(\d+)/', lambda m: f'blocks.{int(m[1]) - 1}.', module)
    module = module.replace('attention/', 'attn.').replace('out', 'proj')
    return module.replace('mlp', 'mlp.fc').replace(
        'patch_embedding', 'patch_embed.proj'
    )


def torch_leaf(name, path, shape):
    """Random weights for a leaf of Flax's tree, seeded by its PyTorch name, in Flax's layout."""
    *modules, leaf = (key.key for key in path[1:])
    if leaf in ('cls', 'position_embedding'):
        return draw(
            {'cls': 'cls_token', 'position_embedding': 'pos_embed'}[leaf], shape
        )
    torch_name = f'{name("/".join(modules))}.{LEAVES[leaf]}'
    if leaf != 'kernel':
        return draw(torch_name, shape)
    if len(shape) == 4:
        return draw(torch_name, (shape[3], shape[2], *shape[:2])).transpose(2, 3, 1, 0)
    kernel = draw(torch_name, shape[::-1])
    if modules == ['fc6']:  # PyTorch flattens [C, H, W], Flax [H, W, C]
        kernel = (
            kernel.reshape(shape[1], 512, 2, 2)
            .transpose(0, 2, 3, 1)
            .reshape(shape[::-1])
        )
    return kernel.T


@pytest.mark.parametrize(
    'reference, module, variant, options, size, name',
    [
        ('cnn', cnn, '16-32-64', {}, 28, cnn_name),
        ('resnet18_cifar', resnet, '18', {'stem': 'cifar'}, 32, resnet_name),
        ('resnet50', resnet, '50', {}, 64, resnet_name),
        ('vgg11_fc', vgg, '11', {}, 64, vgg_name((1, 1, 2, 2, 2), False, 7)),
        (
            'vgg16_bn_pool',
            vgg,
            '16',
            {'batch_norm': True, 'head': 'pool'},
            32,
            vgg_name((2, 2, 3, 3, 3), True, 2),
        ),
        ('vit_ti16_cls', vit, 'Ti/16', {}, 64, vit_name),
        ('vit_s8_mean', vit, 'S/8', {'pool': 'mean'}, 32, vit_name),
    ],
)
def test_outputs_equal_pytorch(reference, module, variant, options, size, name):
    model = module.make(variant, num_classes=10, **options)
    channels = 1 if module is cnn else 3
    require_stored(
        reference, intermediates_with_random_weights(model, size, channels, name)
    )


def intermediates_with_random_weights(model, size, channels, name):
    image = jnp.asarray(pictures(size, channels), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    variables = jax.tree.map_with_path(
        lambda p, x: torch_leaf(name, p, x.shape), shapes
    )
    _, tensors = jax.jit(model.apply)(variables, image)
    return tensors


def require_stored(reference, tensors):
    stored = np.load(DATA / f'{reference}.npz')
    assert set(stored) <= set(tensors)
    for key, expected in stored.items():
        got = excerpt(tensors[key])
        assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max(), key


def test_inception_equals_pytorch():
    """tests/bench/torch_inception.py; of 107 pixels the last blocks see 2x2."""
    require_stored(
        'inception',
        intermediates_with_random_weights(
            inception.InceptionV3(), 107, 3, lambda module: module.replace('/', '.')
        ),
    )
