"""Published weights equal their publishers' own networks: torchvision's and timm's as
tests/bench/published_references.py stored them, Keras' here."""

import functools
import gzip
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.published_files import draw_norms, write_keras, write_safetensors
from helpers.reference_weights import draw, excerpt, photographs, pictures

from jaxvision.core.errors import UserError
from jaxvision.core.registry import resolve
from jaxvision.models.backbones import efficientnet
from jaxvision.pretrained import (
    flax_variables,
    imagenet_classes,
    packaged_weights,
    position_embeddings,
    weights_file,
)

DATA = Path(__file__).with_name('data')
NAMES = json.loads(gzip.decompress((DATA / 'published_names.json.gz').read_bytes()))
LARGE = [name for name in NAMES if ' ' in name]
SHALLOW = tuple(stage._replace(depth=1) for stage in efficientnet.STAGES)
CHANGED = {  # in networks with fewer blocks than any variant
    'vit': {'depth': 2},
    'torchvision_convnext': {'depths': (1,) * 4},
    'timm_convnext': {'depths': (1,) * 4},
    'torchvision_efficientnet': {'stages': SHALLOW},
    'timm_tf_efficientnet': {'stages': SHALLOW},
}


def drawn(name):
    return {
        key: draw(key, tuple(shape)).astype(np.float32)
        for key, shape in NAMES[name].items()
    }


def tensors_of(file, model, image, **changed):
    """Our intermediates of a file of weights, of a network `changed` in these fields."""
    family, _, variant = model.partition(':')
    found = weights_file.read(file, family)
    network = (
        resolve('models', family)
        .make(variant, num_classes=10, **found.identity.options)
        .clone(**changed)
    )
    shapes = jax.eval_shape(network.init, jax.random.key(0), image)
    _, tensors = jax.jit(network.apply)(flax_variables.fit(found.leaves, shapes), image)
    return tensors


@pytest.mark.parametrize(
    'name, model, suffix',
    [
        ('torchvision_resnet18', 'resnet:18', '.safetensors'),
        ('torchvision_vgg11_bn', 'vgg:11', '.npz'),
        ('torchvision_vit', 'vit:Ti/16', '.safetensors'),
        ('timm_vit', 'vit:Ti/16', '.safetensors'),
        ('google_vit', 'vit:Ti/16', '.npz'),
        ('torchvision_mobilenet_v2', 'mobilenet_v2:0.5', '.safetensors'),
        ('torchvision_efficientnet', 'efficientnet:B0', '.safetensors'),
        ('timm_tf_efficientnet', 'efficientnet:B0', '.safetensors'),
        ('torchvision_convnext', 'convnext:T', '.npz'),
        ('timm_convnext', 'convnext:T', '.npz'),
    ],
)
def test_outputs_equal_the_publishers_own(name, model, suffix, tmp_path):
    timm = name.removeprefix(
        'timm_'
    )  # of tf_efficientnet, options are told by the file's name
    file, weights = tmp_path / f'{timm}_b0{suffix}', drawn(name)
    np.savez(file, **weights) if suffix == '.npz' else write_safetensors(weights, file)
    changed = CHANGED.get('vit' if model.startswith('vit') else name, {})
    tensors = tensors_of(file, model, jnp.asarray(pictures(64), jnp.float32), **changed)
    stored = np.load(DATA / f'{name}.npz')
    assert {'logits'} < set(stored) <= set(tensors)
    for key, expected in stored.items():
        assert (
            np.abs(excerpt(tensors[key]) - expected).max()
            <= 1e-4 * np.abs(expected).max()
        ), key


def test_keras_resnet_equals_ours(tmp_path):
    from keras import Model, applications
    from keras.src.applications import resnet

    def blocks(x):
        x = resnet.stack_residual_blocks_v1(x, 64, 2, stride1=1, name='conv2')
        return resnet.stack_residual_blocks_v1(x, 128, 1, name='conv3')

    whole = resnet.ResNet(
        blocks,
        False,
        True,
        weights_name='',
        weights=None,
        classes=10,
        input_shape=(64, 64, 3),
        classifier_activation=None,
    )
    rng = np.random.default_rng(0)
    draw_norms(whole, rng)
    places = {
        'stage1': 'conv2_block2_out',
        'stage2': 'conv3_block1_out',
        'pooled': 'avg_pool',
        'logits': 'predictions',
    }
    keras = Model(
        whole.inputs, [whole.get_layer(layer).output for layer in places.values()]
    )
    image = rng.integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
    expected = keras(applications.resnet.preprocess_input(image.copy()))  # in BGR

    file = write_keras(whole, tmp_path / 'weights.h5')
    means = np.float32([123.68, 116.779, 103.939])
    tensors = tensors_of(file, 'resnet:50', image - means, depths=(2, 1))
    for name, value in zip(places, map(np.asarray, expected), strict=True):
        assert np.abs(tensors[name] - value).max() <= 1e-4 * np.abs(value).max(), name

    recipe = weights_file.read(file, 'resnet').identity.recipe
    assert recipe.name == 'keras_caffe'
    np.testing.assert_allclose(
        (image / 255 - recipe.mean) / recipe.std, image - means, 1e-3
    )
    whole.save_weights(tmp_path / 'new.weights.h5')
    old, new = (
        weights_file.read(path, 'resnet').leaves
        for path in (file, tmp_path / 'new.weights.h5')
    )
    jax.tree.map(np.testing.assert_array_equal, old, new)


def keras_mobilenet():
    from keras import applications

    return applications.MobileNetV2(
        (64, 64, 3), 0.35, weights=None, classes=10, classifier_activation=None
    )


def keras_efficientnet():
    from keras.src.applications.efficientnet import EfficientNet

    return EfficientNet(
        1.0,
        0.1,
        64,
        weights=None,
        input_shape=(64, 64, 3),
        classes=10,
        classifier_activation=None,
        weights_name='',
    )


def keras_convnext():
    from keras.src.applications.convnext import ConvNeXt

    return ConvNeXt(
        (1,) * 4,
        (8, 16, 24, 32),
        weights=None,
        name='convnext_tiny',
        classes=10,
        input_shape=(64, 64, 3),
        classifier_activation=None,
    )


def in_2018(layer):
    """The name that a layer of MobileNetV2 had."""
    found = re.fullmatch(
        r'(expanded_conv|block_(\d+))_(expand|depthwise|project)(_BN)?', layer
    )
    if not found:
        return {'predictions': 'Logits'}.get(layer, layer)
    number, kinds = found[2] or 0, ('bn', 'bn_') if found[4] else ('mobl', '')
    return f'{kinds[0]}{number}_conv_{number}_{kinds[1]}{found[3]}'


@pytest.mark.parametrize(
    'make, model, renamed, changed',
    [
        (keras_mobilenet, 'mobilenet_v2:0.35', in_2018, None),
        (
            keras_efficientnet,
            'efficientnet:B0',
            lambda layer: layer,
            {'stages': SHALLOW},
        ),
        (
            keras_convnext,
            'convnext:T',
            lambda layer: layer,
            {'depths': (1,) * 4, 'widths': (8, 16, 24, 32)},
        ),
    ],
)
def test_every_form_of_a_keras_file_equals_keras_own_network(
    make, model, renamed, changed, tmp_path
):
    keras, rng = make(), np.random.default_rng(0)
    draw_norms(keras, rng)
    image, family = (
        rng.integers(0, 256, (2, 64, 64, 3)).astype(np.float32),
        model.partition(':')[0],
    )
    file = write_keras(keras, tmp_path / 'published.h5', renamed)
    for name in ('new.weights.h5', 'saved.h5'):
        (keras.save_weights if 'weights' in name else keras.save)(tmp_path / name)
        old, new = (
            weights_file.read(path, family).leaves for path in (file, tmp_path / name)
        )
        jax.tree.map(np.testing.assert_array_equal, old, new)
    if (
        changed is None
    ):  # it takes long to compile: published_references.py has its logits
        assert_fitting(file, model, classes=10)
        return
    recipe = weights_file.read(file, family).identity.recipe
    rgb = np.float32((image / 255 - recipe.mean) / recipe.std)
    # ConvNeXt normalises by itself; so would EfficientNet, if these were its published weights:
    # here it divides by 255 alone.
    expected = np.asarray(keras(rgb * 255 if family == 'efficientnet' else image))
    logits = tensors_of(file, model, rgb, **changed)['logits']
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()


def assert_fitting(file, model, classes=1000):
    """(what is found, the side of its images): each of its leaves is one of our model's."""
    family = model.partition(':')[0]
    found = weights_file.read(file, family)
    size = found.identity.image_size or 224
    shapes = shapes_of(model, classes, size, **found.identity.options)
    assert {name: leaf.shape for name, leaf in found.leaves.items()} == shapes
    return found, size


@functools.cache
def shapes_of(model, classes, size, **options):
    """{name: shape} of the variables of our model."""
    family, _, variant = model.partition(':')
    network = resolve('models', family).make(variant, num_classes=classes, **options)
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    variables = jax.eval_shape(network.init, jax.random.key(0), image)
    leaves = flax_variables.by_name(variables)
    return {name: leaf.shape for name, leaf in leaves.items()}


@pytest.mark.parametrize(
    'variant, parameters',
    [('Lite0', 4_652_008), ('Lite1', 5_416_680), ('Lite2', 6_092_072)],
)
def test_real_weights_of_imagenet_answer_as_in_their_publishers_code(
    variant, parameters
):
    file = packaged_weights.locate(f'efficientnet_{variant.lower()}')
    found, size = assert_fitting(file, f'efficientnet:{variant}')
    assert found.identity.recipe.name == f'efficientnet_lite_{size}'
    image = photographs(size)
    tensors = tensors_of(file, f'efficientnet:{variant}', image, num_classes=1000)
    expected = np.load(DATA / 'efficientnet_lite.npz')[variant]
    assert np.abs(tensors['logits'] - expected).max() <= 1e-5 * np.abs(expected).max()
    assert imagenet_classes.class_names()[expected[1].argmax()] == 'espresso'
    assert parameters == sum(
        leaf.size
        for name, leaf in found.leaves.items()
        if not name.endswith(('/mean', '/var'))
    )


@pytest.mark.parametrize('name', LARGE)
def test_every_tensor_of_a_published_network_is_ours(name, monkeypatch):
    publisher, _, model = name.split()
    tensors = {
        key: np.broadcast_to(np.float32(0), shape) for key, shape in NAMES[name].items()
    }
    shapes = {key: tensor.shape for key, tensor in tensors.items()}
    monkeypatch.setattr(weights_file.tensor_file, 'read', lambda path: tensors)
    monkeypatch.setattr(weights_file.tensor_file, 'read_shapes', lambda path: shapes)
    found, size = assert_fitting('weights.pth', model)
    identity = found.identity
    assert publisher in identity.format.publisher and ('384' in name) == (size == 384)
    assert weights_file.identify('weights.pth', model.partition(':')[0]) == identity


@pytest.mark.parametrize('size', [3, 7])
def test_positions_are_resampled_as_timm_does(size):
    embedding = draw('pos_embed', (1, 17, 6)).astype(np.float32)
    expected = np.load(DATA / f'positions{size}.npy')
    got = position_embeddings.resample(embedding, expected.shape)
    np.testing.assert_allclose(got, expected, atol=2e-7)
    np.testing.assert_allclose(
        position_embeddings.resample(embedding[:, 1:], expected[:, 1:].shape),
        expected[:, 1:],
        atol=2e-7,
    )
    for shape in ((1, 17, 6), (1, 20, 6), (1, 16, 6), (17, 6)):
        assert position_embeddings.resample(embedding, shape) is embedding


def test_names_that_training_puts_before_all_are_left_out(tmp_path):
    weights = drawn('timm_vit')
    plain = weights_file.read(write_safetensors(weights, tmp_path / 'a'), 'vit').leaves
    # Stacked in any order, and with tensors beside the network: a counter, which is no
    # weight, and another, which keeps its name so that a run can tell of it.
    for prefix in ('module.', 'model._orig_mod.', '_orig_mod.module.model.'):
        named = {prefix + name: tensor for name, tensor in weights.items()}
        named |= {'n_averaged': np.ones(()), 'criterion.weight': np.ones(3)}
        file = write_safetensors(named, tmp_path / 'b')
        found = weights_file.read(file, 'vit').leaves
        np.testing.assert_array_equal(found.pop('criterion.weight'), np.ones(3))
        jax.tree.map(np.testing.assert_array_equal, found, plain)
        assert weights_file.identify(file, 'vit').recipe.name == 'timm_vit'
    two = weights | {f'module.{name}': tensor for name, tensor in weights.items()}
    with pytest.raises(UserError, match="it holds 2, with the prefixes '', 'module.'"):
        weights_file.read(write_safetensors(two, tmp_path / 'b'), 'vit')
    np.savez(
        tmp_path / 'c.npz',
        **{'params/' + name: leaf for name, leaf in drawn('google_vit').items()},
        **{'opt/head/bias': np.ones(3)},
    )
    assert weights_file.read(tmp_path / 'c.npz', 'vit').leaves['head/bias'].shape == (
        10,
    )


def test_a_file_of_another_family_is_an_error(tmp_path):
    file = write_safetensors(drawn('timm_vit'), tmp_path / 'vit.safetensors')
    with pytest.raises(
        UserError,
        match=r'vit.safetensors: expected resnet as .*tensors are blocks\.0\.',
    ):
        weights_file.read(file, 'resnet')
    with pytest.raises(
        UserError, match="that has pretrained weights, not 'cnn'.* resnet, vgg, vit"
    ):
        weights_file.read(file, 'cnn')


@pytest.mark.parametrize('name', sorted(NAMES))
def test_a_tensor_beside_a_network_keeps_its_name(name, monkeypatch):
    model = name.split()[-1]
    family = next(each for each in weights_file.FAMILIES if each in model)
    tensors = {
        key: np.broadcast_to(np.float32(0), shape) for key, shape in NAMES[name].items()
    }
    extra = {
        'criterion.weight': np.ones(3, np.float32),
        'steps': np.ones((), np.float32),
    }
    monkeypatch.setattr(weights_file.tensor_file, 'read', lambda path: tensors | extra)
    found = weights_file.read('weights.pth', family)
    assert extra.keys() <= found.leaves.keys()


@pytest.mark.parametrize(
    'name, content, said',
    [
        (
            'model.safetensors.index.json',
            b'{"metadata": {}, "weight_map": {"a": "1.bin", "b": "2.bin", "c": "2.bin"}}',
            'index of weights in 2 other files. Save all of them in one',
        ),
        ('config.json', b' {"hidden": 3}', 'this is JSON. Check the path'),
        ('a.pth', b'\n<!DOCTYPE html><html>', 'this is a web page. Download'),
        ('a.pth', b'version https://git-lfs.github.com/spec/v1', 'pointer of Git LFS'),
        (
            'model-00002-of-00003.safetensors',
            b'anything',
            'this is part 2 of 3. Save them in one file',
        ),
    ],
)
def test_an_intact_file_without_weights_is_not_called_damaged(
    name, content, said, tmp_path
):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said) as told:
        weights_file.read(tmp_path / name, 'resnet')
    assert 'damaged' not in str(told.value) and '\n' not in str(told.value)


def test_a_whole_keras_model_is_not_called_damaged(tmp_path):
    from keras import Sequential, layers

    model = Sequential([layers.Input((4,)), layers.Dense(2)])
    model.save(tmp_path / 'model.keras')
    with pytest.raises(
        UserError, match=r'a whole Keras model. Save them by .*weights\.h5'
    ):
        weights_file.read(tmp_path / 'model.keras', 'resnet')


def test_a_header_of_any_length_is_no_text(tmp_path):
    # The first byte is of the header's length, and as text would be '{', '<' or a space.
    for first in b'{< \n':
        length = next(n for n in range(200, 900) if n % 256 == first)
        header = b'{"layer1.0.conv1.weight":{"dtype":"F32","shape":[1,1,1,1],"data_offsets":[0,4]}}'
        data = length.to_bytes(8, 'little') + header.ljust(length) + bytes(4)
        (tmp_path / 'a').write_bytes(data)
        assert weights_file.read(tmp_path / 'a', 'resnet').leaves
