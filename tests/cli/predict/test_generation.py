"""Images made by a generator: a function of the seed, of the classes that were asked for."""

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
    assert code == 0 and not err and '16 of 16 pictures made' in out
    assert [entry['answer']['label'] for entry in entries.values()] == [
        str(i % 10) for i in range(16)
    ]
    found = images(entries)
    assert (
        all(image.shape == (8, 8) for image in found)
        and len({x.tobytes() for x in found}) == 16
    )
    task, variables, _ = jaxvision.load(generators)
    for i in (0, 13):
        inputs = {
            'latent': generation.latent(0, i, (16,))[None].astype('float32'),
            'label': np.int32([i % 10]),
        }
        wanted = np.asarray(task.predict(variables, inputs)['image'])[0, ..., 0]
        assert np.abs(found[i] - wanted).max() < 0.51
    grid = np.asarray(Image.open('predictions/grid.png'))
    assert grid.shape == (8 + 1 + 8, 10 * 9 - 1, 3)  # a column a class
    np.testing.assert_array_equal(grid[:8, 9:17, 0], found[1])
    told = json.loads(Path('predictions/predictions.json').read_text())
    assert told['seed'] == 0 and told['truncation'] == 0 and told['answered'] == 16
    assert Path(told['grid']).exists()


def test_a_seed_makes_the_same_images_whatever_else_is_asked_for(main, generators):
    asked = ['--number', '5', '--label', '3']
    *_, first = main('--workdir', generators, *asked, '--seed', '7')
    first = images(first)
    *_, again = main(
        '--workdir', generators, *asked, '--seed', '7', '--batch_size', '2'
    )
    for one, other in zip(first, images(again), strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1
    *_, other = main('--workdir', generators, *asked, '--seed', '8')
    assert all(
        (one != two).any() for one, two in zip(first, images(other), strict=True)
    )


@pytest.mark.parametrize('truncation', [0.0, 0.05, 0.7, 2.0])
def test_latents_are_normal_up_to_the_truncation(truncation):
    drawn = generation.latent(3, 1, (4000,), truncation)
    wanted = stats.truncnorm(-truncation, truncation) if truncation else stats.norm()
    assert np.abs(drawn).max() <= (truncation or 10)
    assert stats.kstest(drawn, wanted.cdf).pvalue > 0.01


def test_truncation_reaches_the_generator(main, generators):
    *_, free = main('--workdir', generators, '--number', '2')
    free = images(free)
    code, *_, tight = main(
        '--workdir', generators, '--number', '2', '--truncation', '0.2'
    )
    assert code == 0 and (images(tight)[0] != free[0]).any()
    told = json.loads(Path('predictions/predictions.json').read_text())
    assert told['truncation'] == 0.2


@pytest.mark.parametrize(
    'arguments, says',
    [
        (['x.png'], 'FILE=x.png: expected none'),
        (['--number', '0'], '--number=0: expected a whole number >= 1'),
        (['--label', 'cat'], "there is no class 'cat'"),
        (['--label', '10'], "there is no class '10'"),
        (['--seed', '-1'], '--seed=-1: expected a whole number >= 0'),
        (['--truncation', '-1'], '--truncation=-1.0: expected at least 0.01'),
        (['--truncation', 'nan'], '--truncation=nan: expected at least 0.01'),
        (['--mask', 'x.png'], '--mask: expected with a run that fills holes'),
        (['--support', 'x'], '--support: expected with a few-shot run or --weights'),
        (['--no_pictures'], '--no_pictures: expected with files'),
        (['--recipe', 'timm'], '--recipe: expected with --weights'),
    ],
)
def test_wrong_use_is_one_line(main, generators, arguments, says):
    Image.new('L', (8, 8)).save('x.png')
    code, out, err, _ = main('--workdir', generators, *arguments)
    assert code == 2 and not out and err.count('\n') == 1 and says in err
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
    assert code == 2 and 'knows no classes' in err


def test_only_earlier_answers_are_replaced(main, generators, tmp_path):
    for name in ('0000.png', 'grid.png', 'predictions.json'):
        out = tmp_path / f'of {name}'
        out.mkdir()
        (out / name).write_text('mine')
        code, _, err, _ = main('--workdir', generators, '--number', '2', '--out', out)
        assert code == 2 and f'{name}, which no earlier predict wrote' in err
        assert [path.name for path in out.iterdir()] == [name]
    for _ in range(2):
        assert main('--workdir', generators, '--number', '2')[0] == 0


def test_a_classifier_takes_no_number(main, trained):
    Image.new('L', (8, 8)).save('x.png')
    for name in ('--number', '--seed', '--truncation', '--label'):
        code, _, err, _ = main('--workdir', trained, 'x.png', name, '1')
        assert code == 2 and err == (
            f'error: {name}: expected with a generator. {trained} predicts for images: '
            f'leave {name} out.\n'
        )
    for name, owner in (
        ('--mask', 'a run that fills holes'),
        ('--support', 'a few-shot run or --weights'),
        ('--image_size', '--weights'),
    ):
        code, _, err, _ = main('--workdir', trained, 'x.png', name, '1')
        assert code == 2 and f'{name}: expected with {owner}. {trained} ' in err
    code, _, err, _ = main('--workdir', trained)
    assert code == 2 and f'FILE: expected images. {trained} predicts for' in err
