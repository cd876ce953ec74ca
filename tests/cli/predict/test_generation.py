"""Images from a generator: the same seed and classes give the same images."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

import jaxvision
from jaxvision.cli.predict import generation


@pytest.fixture(scope='session')
def generators(fake):
    return fake('generator')


def images(entries):
    return [np.asarray(Image.open(picture)) for picture in entries]


def test_images_and_their_grid(main, generators):
    code, out, err, entries = main('--workdir', generators)
    assert code == 0 and not err and '16 of 16 pictures generated' in out
    assert [entry['answer']['label'] for entry in entries.values()] == [
        str(i % 10) for i in range(16)
    ]
    pictures = images(entries)
    assert all(picture.shape == (8, 8) for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 16
    task, variables, _ = jaxvision.load(generators)
    for i in (0, 13):
        inputs = {
            'latent': generation.latent(0, i, (16,))[None].astype('float32'),
            'label': np.int32([i % 10]),
        }
        expected = np.asarray(task.predict(variables, inputs)['image'])[0, ..., 0]
        assert np.abs(pictures[i] - expected).max() < 0.51
    grid = np.asarray(Image.open('predictions/grid.png'))
    assert grid.shape == (8 + 1 + 8, 10 * 9 - 1, 3)  # a column a class
    np.testing.assert_array_equal(grid[:8, 9:17, 0], pictures[1])
    report = json.loads(Path('predictions/predictions.json').read_text())
    assert report['seed'] == 0 and report['truncation'] == 0
    assert report['answered'] == 16 and Path(report['grid']).exists()


def test_a_seed_gives_the_same_images_for_any_batch_size(main, generators):
    options = ['--number', '5', '--label', '3']
    *_, first = main('--workdir', generators, *options, '--seed', '7')
    first = images(first)
    *_, again = main(
        '--workdir', generators, *options, '--seed', '7', '--batch_size', '2'
    )
    for one, other in zip(first, images(again), strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1
    *_, other = main('--workdir', generators, *options, '--seed', '8')
    assert all(
        (one != two).any() for one, two in zip(first, images(other), strict=True)
    )


@pytest.mark.parametrize('truncation', [0.0, 0.05, 0.7, 2.0])
def test_latents_are_normal_up_to_the_truncation(truncation):
    latents = generation.latent(3, 1, (4000,), truncation)
    expected = stats.truncnorm(-truncation, truncation) if truncation else stats.norm()
    assert np.abs(latents).max() <= (truncation or 10)
    assert stats.kstest(latents, expected.cdf).pvalue > 0.01


def test_truncation_reaches_the_generator(main, generators):
    *_, free = main('--workdir', generators, '--number', '2')
    free = images(free)
    code, *_, tight = main(
        '--workdir', generators, '--number', '2', '--truncation', '0.2'
    )
    assert code == 0 and (images(tight)[0] != free[0]).any()
    report = json.loads(Path('predictions/predictions.json').read_text())
    assert report['truncation'] == 0.2


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['x.png'], 'FILE=x.png: expected no files'),
        (['--number', '0'], '--number=0: expected a whole number >= 1'),
        (['--label', 'cat'], "there is no class 'cat'"),
        (['--label', '10'], "there is no class '10'"),
        (['--seed', '-1'], '--seed=-1: expected a whole number >= 0'),
        (['--truncation', '-1'], '--truncation=-1.0: expected at least 0.01'),
        (['--truncation', 'nan'], '--truncation=nan: expected at least 0.01'),
        (['--mask', 'x.png'], '--mask: expected only with an inpainting run'),
        (
            ['--support', 'x'],
            '--support: expected only with a few-shot run or --weights',
        ),
        (['--no_pictures'], '--no_pictures: expected only with files'),
        (['--recipe', 'timm'], '--recipe: expected only with --weights'),
    ],
)
def test_a_wrong_argument_is_one_line(main, generators, arguments, message):
    Image.new('L', (8, 8)).save('x.png')
    code, out, err, _ = main('--workdir', generators, *arguments)
    assert code == 2 and not out and err.count('\n') == 1 and message in err
    assert not Path('predictions').exists()


def test_a_generator_without_classes(main, fake):
    run = fake('generator', 'task.conditional=false')
    code, *_, entries = main('--workdir', run, '--number', '5')
    assert code == 0 and all(entry['answer'] == {} for entry in entries.values())
    assert np.asarray(Image.open('predictions/grid.png')).shape == (
        17,
        26,
        3,
    )  # 2 lines of 3
    code, _, err, _ = main('--workdir', run, '--label', '1')
    assert code == 2 and 'generates no classes' in err


def test_only_earlier_predictions_are_replaced(main, generators, tmp_path):
    for name in ('0000.png', 'grid.png', 'predictions.json'):
        out = tmp_path / f'of {name}'
        out.mkdir()
        (out / name).write_text('mine')
        code, _, err, _ = main('--workdir', generators, '--number', '2', '--out', out)
        assert code == 2 and f'{name}, which `predict` did not write' in err
        assert [path.name for path in out.iterdir()] == [name]
    for _ in range(2):
        assert main('--workdir', generators, '--number', '2')[0] == 0


def test_a_classifier_takes_no_number(main, trained):
    Image.new('L', (8, 8)).save('x.png')
    for name in ('--number', '--seed', '--truncation', '--label'):
        code, _, err, _ = main('--workdir', trained, 'x.png', name, '1')
        assert code == 2 and err == (
            f'error: {name}: expected only with a generator. {trained} predicts for '
            f'images. Remove {name}.\n'
        )
    for name, owner in (
        ('--mask', 'an inpainting run'),
        ('--support', 'a few-shot run or --weights'),
        ('--image_size', '--weights'),
    ):
        code, _, err, _ = main('--workdir', trained, 'x.png', name, '1')
        assert code == 2 and f'{name}: expected only with {owner}. {trained} ' in err
    code, _, err, _ = main('--workdir', trained)
    assert code == 2 and f'FILE: expected images. {trained} predicts for' in err
