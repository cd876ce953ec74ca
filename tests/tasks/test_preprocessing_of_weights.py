"""A run that begins with pretrained weights takes over their preprocessing, in every task."""

import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image

from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.core.files import write_json
from jaxvision.core.spec import ArraySpec, Preprocessing, Spec
from jaxvision.data.noise import Noise
from jaxvision.data.wrappers import Subset
from jaxvision.pretrained import recipes
from jaxvision.tasks.shared import image_input
from jaxvision.train import loop
from jaxvision.train.run import begin, reopen

LEVELS = {'cat': 30, 'dog': 100, 'emu': 170}


def photographs(folder, names=tuple(LEVELS), counts=(20, 20, 20)):
    """Write grey PNGs whose class is their brightness; `counts` images a class in each split."""
    rng = np.random.default_rng(0)
    for split in ('train', 'test'):
        for name, level, count in zip(names, LEVELS.values(), counts, strict=True):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = level + rng.integers(0, 10, (8, 8), np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f'{i}.png')
    return folder


def classifier(folder, *overrides):
    config = configs.default('classification')
    base = (
        f'data.source=folder:{folder}',
        'data.image_size=8',
        'data.batch_size=20',
        'model.name=cnn',
        'model.variant=8',
        'optimizer.lr=0.02',
        'train.steps=40',
        'train.eval_every=40',
        'train.checkpoint_every=40',
    )
    for text in (*base, *overrides):
        configs.override(config, *text.split('=', 1))
    return config


@pytest.fixture(scope='module')
def dark(tmp_path_factory):
    root = tmp_path_factory.mktemp('dark')
    config = classifier(photographs(root / 'photos'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('jaxvision.viz.figures.save', lambda *_: None)
        result = loop.run(config, root / 'run')
    assert result.metrics['eval/accuracy'] == 1
    return root / 'run'


def test_a_run_takes_over_the_mean_and_std_of_its_pretrained_weights(
    dark, tmp_path, no_pictures, capsys
):
    # Most images are bright: with the mean of this folder all would look darker.
    folder = photographs(tmp_path / 'photos', counts=(2, 2, 40))
    start = f'train.init_from={dark}', 'train.steps=0'
    result = loop.run(classifier(folder, *start), tmp_path / 'run')
    assert result.metrics['eval/accuracy'] == 1
    spec = reopen(tmp_path / 'run').spec
    assert spec.preprocessing == reopen(dark).spec.preprocessing
    assert (
        f'preprocessing: as in {dark}: 8x8, stretched; mean' in capsys.readouterr().out
    )
    begin(classifier(folder, *start, 'task.recipe=none'), tmp_path / 'own')
    output = capsys.readouterr().out
    assert f'It differs from that of the weights in {dark}: the mean is' in output


def test_weights_of_classes_are_copied_by_name(dark, tmp_path, no_pictures, capsys):
    # Alphabetical order puts 'cat' third, where 'emu' was.
    folder = tmp_path / 'photos'
    photographs(folder, ('cat', 'bee', 'ape'))
    start = f'train.init_from={dark}'
    run = begin(classifier(folder, start), tmp_path / 'run')
    assert (
        ': 1 of 3 classes copied by name (cat), 2 initialised (ape, bee); 2 of the '
        'source left out (dog, emu)'
    ) in capsys.readouterr().out
    head = run.init().params['model']['head']
    old = reopen(dark).restore('last').params['model']['head']
    np.testing.assert_array_equal(head['kernel'][:, 2], old['kernel'][:, 0])
    np.testing.assert_array_equal(head['bias'], [0, 0, old['bias'][0]])
    new_head_run = begin(
        classifier(folder, start, 'train.init_new=model/head'), tmp_path / 'n'
    )
    assert 'by name' not in capsys.readouterr().out
    fresh = new_head_run.init().params['model']['head']['kernel']
    np.testing.assert_array_equal(head['kernel'][:, :2], fresh[:, :2])
    # All old classes in another order, and a new one: the head is larger.
    photographs(tmp_path / 'more', ('emu', 'zoo', 'cat'))
    shutil.copytree(tmp_path / 'more/train/zoo', tmp_path / 'more/train/dog')
    result = loop.run(
        classifier(tmp_path / 'more', start, 'train.steps=0'), tmp_path / 'larger'
    )
    assert (
        '3 of 4 classes copied by name (cat, dog, emu), 1 init'
        in capsys.readouterr().out
    )
    assert result.metrics.keys() >= {'eval/accuracy'}


def test_weights_of_multi_label_classes_are_copied_by_name(
    dark, tmp_path, no_pictures, capsys
):
    folder = photographs(tmp_path / 'photos')
    files = sorted(folder.glob('*/*/*.png'))
    rows = [
        f'{file.relative_to(folder)},ape;{file.parent.name},{file.parts[-3]}'
        for file in files
    ]
    (folder / 'labels.csv').write_text('\n'.join(['file,label,split', *rows]) + '\n')
    run = begin(classifier(folder, f'train.init_from={dark}'), tmp_path / 'run')
    assert run.spec.multi_label and run.spec.class_names == ('ape', 'cat', 'dog', 'emu')
    assert '3 of 4 classes copied by name' in capsys.readouterr().out
    head = run.init().params['model']['head']
    old = reopen(dark).restore('last').params['model']['head']
    np.testing.assert_array_equal(head['kernel'][:, 1:], old['kernel'])


MEAN = {'mean': (0.2,), 'std': (0.3,)}
STRETCH = Preprocessing(size=(48, 48), resize='stretch', **MEAN)
READY = Preprocessing(size=(28, 28), **MEAN)
RECIPE = recipes.named('timm').at(64).preprocessing()


def run_of(folder, preprocessing, image_size):
    """Write a run folder that has nothing but its config and preprocessing."""
    folder.mkdir()
    config = configs.default('classification')
    configs.override(config, 'data.image_size', str(image_size))
    write_json(folder / 'config.json', config.to_dict())
    spec = Spec(inputs={'image': ArraySpec((1, 1, 1))}, targets={})
    write_json(
        folder / 'spec.json', spec.replace(preprocessing=preprocessing).to_json()
    )
    return folder


@pytest.mark.parametrize(
    'pretrained, image_size, image_shape, overrides, expected',
    [
        # Nothing is set: the preprocessing of the weights, for images of any size.
        (STRETCH, 48, (None, None, 1), (), {}),
        (STRETCH, 48, (28, 28, 1), (), {}),
        (READY, 32, (28, 28, 1), (), {}),
        (READY, 32, (90, 70, 1), (), {'resize': 'stretch'}),
        (RECIPE, 64, (None, None, 3), (), {}),
        (RECIPE, 64, (28, 28, 1), (), {}),
        # Colour images become grey, because the weights are of grey images.
        (READY, 32, (28, 28, 3), (), {'resize': 'stretch'}),
        # A value that is neither the default nor that of the weights overrides.
        (STRETCH, 48, (None, None, 1), ('data.image_size=40',), {'size': (40, 40)}),
        (STRETCH, 48, (None, None, 1), ('data.image_size=48',), {}),
        (
            RECIPE,
            64,
            (None, None, 3),
            ('data.image_size=96',),
            {'size': (96, 96), 'shorter': 101},
        ),
        (
            STRETCH,
            48,
            (None, None, 1),
            ('task.resize=center_crop',),
            {'resize': 'center_crop'},
        ),
        (READY, 32, (28, 28, 1), ('data.image_size=64',), {}),
        (
            READY,
            32,
            (None, None, 1),
            ('data.image_size=64', 'task.resize=center_crop'),
            {'size': (64, 64), 'resize': 'center_crop'},
        ),
        # Weights that were trained on unnormalised pixels get these again.
        (
            dataclasses.replace(READY, mean=(), std=()),
            32,
            (28, 28, 1),
            (),
            {'mean': (0.0,), 'std': (1.0,)},
        ),
    ],
)
def test_config_fields_override_the_preprocessing_of_the_weights(
    pretrained, image_size, image_shape, overrides, expected, tmp_path
):
    folder = run_of(tmp_path / 'run', pretrained, image_size)
    config = configs.default('classification')
    for text in (f'train.init_from={folder}', *overrides):
        configs.override(config, *text.split('=', 1))
    of_dataset = Preprocessing.of_dataset(
        image_shape, config.data.image_size, config.task.resize
    )
    rules = ('stretch', 'center_crop', 'shorter_side')
    chosen = image_input.as_weights(config, of_dataset, image_shape, rules)
    assert chosen == dataclasses.replace(pretrained, **expected)
    configs.override(config, 'task.recipe', 'none')
    without_recipe = image_input.as_weights(config, of_dataset, image_shape, rules)
    assert without_recipe == of_dataset


def test_weights_of_images_that_are_not_square_need_such_images(tmp_path):
    wide = Preprocessing(size=(20, 30), **MEAN)
    folder = run_of(tmp_path / 'run', wide, 32)
    config = configs.default('video')
    configs.override(config, 'train.init_from', str(folder))
    of_dataset = Preprocessing.of_dataset((20, 30, 1), 32, 'stretch')
    chosen = image_input.as_weights(config, of_dataset, (20, 30, 1), ('stretch',))
    assert chosen == wide
    with pytest.raises(UserError, match='expected images of 20x30 pixels'):
        image_input.as_weights(config, of_dataset, (24, 30, 1), ('stretch',))


@pytest.mark.parametrize(
    'task, overrides',
    [
        ('few_shot', ('data.source=digits', 'task.ways=2', 'task.evaluations=2x1')),
        ('video', ('data.source=moving_digits/motions', 'data.image_size=64')),
        (
            'video_summary',
            (
                'data.source=moving_digits/motions',
                'data.image_size=64',
                'task.supervised=false',
                'task.montages=0',
            ),
        ),
        ('captioning', ('data.source=digit_scenes/64', 'task.vocabulary_examples=10')),
    ],
)
def test_every_task_takes_over_the_preprocessing_of_the_weights(
    task, overrides, tmp_path, monkeypatch
):
    from jaxvision.core.registry import resolve
    from jaxvision.train.sources import Sources

    channels = 3 if task == 'captioning' else 1
    pretrained = Preprocessing(
        size=(16, 16), resize='stretch', mean=(0.2,) * channels, std=(0.3,) * channels
    )
    image_size = 64 if task.startswith('video') else 32
    folder = run_of(tmp_path / 'run', pretrained, image_size)
    config = configs.default(task)
    for text in (f'train.init_from={folder}', *overrides):
        configs.override(config, *text.split('=', 1))
    source = Sources(config)['train']
    spec = resolve('tasks', task).describe(config, source)
    assert spec.preprocessing == pretrained
    if task in ('few_shot', 'video_summary'):
        # These sources resize. After the run has begun, the folder of the weights is not needed.
        shutil.rmtree(folder)
        begun = Sources(config, preprocessing=pretrained)['train']
        name = 'support' if task == 'few_shot' else 'video'
        np.testing.assert_array_equal(begun[0][name], source[0][name])
        assert begun[0][name].shape[-3:] == (16, 16, 1)


def test_the_statistics_of_no_images_are_refused():
    empty = Subset(Noise(4, 2, 3), np.arange(0), 'nothing')
    config = configs.default('classification')
    with pytest.raises(UserError, match="the split 'nothing' of noise has no images"):
        image_input.statistics(config, empty, None, lambda batch: batch['image'], 10)
