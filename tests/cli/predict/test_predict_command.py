"""Predictions for files of any kind: answers, reasons and errors of the command."""

import argparse
import dataclasses
import errno
import hashlib
import json
import types
import typing
import zipfile
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest
from helpers import hostile_files, weighed
from helpers.untrained import save_untrained
from PIL import Image

import jaxvision
from jaxvision.cli.export import exported, formats
from jaxvision.cli.predict import command, model, weights
from jaxvision.cli.predict.predictor import PredictorModule
from jaxvision.core.spec import ArraySpec
from jaxvision.core.task import Predictor
from jaxvision.train import loop, saved
from jaxvision.viz import figures

MEGABYTE = 2**20


@pytest.fixture(scope='module')
def digits(trained, tmp_path_factory):
    """A folder with the first 40 test images, and the run's probabilities for them."""
    folder = tmp_path_factory.mktemp('digits')
    task, variables, _ = jaxvision.load(trained)
    images = loop.reopen(trained).sources['test'].batch(range(40))['image']
    for number, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(folder / f'{number:02}.png')
    return folder, np.asarray(
        jax.jit(task.predict)(variables, {'image': images})['probabilities']
    )


@pytest.fixture(scope='module')
def colour(tiny, tmp_path_factory):
    """A run on photographs stretched to 32x32, saved before its first step."""
    folder = tmp_path_factory.mktemp('photos')
    workdir = tmp_path_factory.mktemp('colour')
    for name in ('cat', 'tac'):
        (folder / name).mkdir()
        for number in range(4):
            crop = hostile_files.PHOTO.crop((40 * number, 0, 40 * number + 200, 200))
            (crop if name == 'cat' else crop.rotate(90)).save(
                folder / name / f'{number}.png'
            )
    config = tiny(
        f'data.source=folder:{folder}', 'data.image_size=32', 'data.batch_size=4'
    )

    # Initial weights hardly depend on the image.
    def sharpen(params):
        head = params['model']['head']
        head['kernel'] = 20 * head['kernel']

    save_untrained(config, workdir, sharpen)
    return workdir


@pytest.fixture(scope='module')
def hostile(colour, tmp_path_factory):
    """The command over the hostile files: (expected, entries, process' outcome, peak bytes)."""
    root = tmp_path_factory.mktemp('hostile')
    expected = hostile_files.make(root / 'in')
    code, peak = weighed.predict(root, '--workdir', colour, root / 'in')
    report = json.loads((root / 'predictions/predictions.json').read_text())
    return types.SimpleNamespace(
        root=root,
        expected=expected,
        report=report,
        code=code,
        entries={entry['file']: entry for entry in report['files']},
        stdout=(root / 'stdout').read_text('utf-8'),
        stderr=(root / 'stderr').read_text('utf-8'),
        peak=peak,
    )


def test_every_hostile_file_is_accounted_for_once(hostile):
    assert len(hostile.expected) >= 200
    assert sorted(entry['file'] for entry in hostile.report['files']) == sorted(
        hostile.expected
    )
    for path, expected in hostile.expected.items():
        entry = hostile.entries[path]
        outcome = hostile_files.ANSWERED if 'answer' in entry else hostile_files.REFUSED
        assert expected in (outcome, hostile_files.EITHER), entry
    refused = [entry for entry in hostile.report['files'] if 'error' in entry]
    assert hostile.report['unanswered'] == len(refused)
    assert hostile.report['answered'] == len(hostile.expected) - len(refused)


def test_hostile_files_end_in_exit_code_1_and_no_noise(hostile):
    assert hostile.code == 1
    *progress, last = hostile.stderr.splitlines()
    assert 'files have no prediction' in last and all(
        'files/s' in line for line in progress
    )
    assert 'Traceback' not in hostile.stdout
    # A heading, a line a file, an empty line and a sum.
    assert hostile.stdout.count('\n') == len(hostile.expected) + 3
    for entry in hostile.report['files']:
        assert 'Error: ' not in entry.get('error', ''), entry  # not foreseen


def test_hostile_files_take_bounded_memory(hostile):
    """The libraries take a fixed part, and each of two threads 8 bytes a pixel of its image.

    The 8 bytes are 4 of Pillow, 3 of the decoded image and 1 for smaller arrays.
    """
    bound = 700 * MEGABYTE + 2 * 8 * Image.MAX_IMAGE_PIXELS
    assert hostile.peak < bound, (
        f'{hostile.peak / MEGABYTE:.0f} of {bound / MEGABYTE:.0f} MiB'
    )


def test_every_prediction_has_a_separate_picture(hostile):
    pictures = [
        entry['picture'] for entry in hostile.report['files'] if 'answer' in entry
    ]
    assert len({picture.casefold() for picture in pictures}) == len(pictures)
    for picture in pictures:
        with Image.open(hostile.root / picture) as image:
            assert max(image.size) < 900
    assert len(list((hostile.root / 'predictions').iterdir())) == len(pictures) + 1


@pytest.mark.parametrize('format', ['jpeg', 'png', 'tiff', 'webp'])
def test_a_turned_image_has_the_prediction_of_the_upright_one(hostile, format):
    def cat(name):
        top = hostile.entries[str(hostile.root / 'in' / name)]['answer']['top']
        return next(likely['probability'] for likely in top if likely['class'] == 'cat')

    upright = cat(f'turned_1.{format}')
    for orientation in range(2, 9):
        # A JPEG's blocks begin at another corner.
        tolerance = 1e-3 if format == 'jpeg' else 1e-5
        assert cat(f'turned_{orientation}.{format}') == pytest.approx(
            upright, abs=tolerance
        )
    assert abs(cat('sideways.png') - upright) > 2e-3


@pytest.mark.parametrize(
    'options', [[], ['--batch_size', '7'], ['--batch_size', '1000'], ['--no_pictures']]
)
def test_the_predictions_are_those_of_the_evaluation(main, trained, digits, options):
    folder, probabilities = digits
    code, out, err, entries = main('--workdir', trained, folder, *options)
    assert code == 0 and not err and '40 of 40 files predicted' in out
    for number, expected in enumerate(probabilities):
        file = str(folder / f'{number:02}.png')
        answer = entries[file]['answer']
        assert answer['class'] == str(expected.argmax())
        assert answer['probability'] == pytest.approx(expected.max(), abs=1e-5)
        assert f'{file}  {answer["class"]}      {answer["probability"]:.4f}\n' in out
        assert ('picture' in entries[file]) == ('--no_pictures' not in options)
    assert len(list(Path('predictions').glob('*.png'))) == (
        0 if '--no_pictures' in options else 40
    )


def test_images_of_other_sizes_are_resized(main, trained, digits):
    folder, _ = digits
    Image.open(folder / '00.png').convert('RGB').resize((80, 80)).save(
        'large.webp', lossless=True
    )
    code, _, _, entries = main('--workdir', trained, 'large.webp', folder / '00.png')
    assert code == 0
    large, small = (
        entries[name]['answer'] for name in ('large.webp', str(folder / '00.png'))
    )
    assert large['class'] == small['class']
    assert large['probability'] == pytest.approx(small['probability'], abs=0.1)


def test_an_exported_model_predicts_as_the_run(main, trained, digits):
    task, variables, spec = jaxvision.load(trained)
    settings = saved.read_config(trained).to_dict()
    formats.stablehlo(task.predict, variables, spec, settings, Path('model.stablehlo'))
    of_run = main('--workdir', trained, digits[0])
    of_file = main('--workdir', 'model.stablehlo', digits[0])
    assert of_file[:3] == of_run[:3] and of_file[0] == 0
    assert of_file[3].keys() == of_run[3].keys()
    assert main('--workdir', 'model.stablehlo', digits[0], '--step', 'best')[0] == 2


@pytest.mark.parametrize(
    'error, message',
    [
        (
            ModuleNotFoundError(name='ai_edge_litert'),
            'expected the package ai_edge_litert, which runs this format',
        ),
        (ValueError('no flatbuffer'), 'its runtime can open (no flatbuffer)'),
    ],
)
def test_an_exported_model_that_does_not_open_is_an_error(
    main, trained, digits, monkeypatch, error, message
):
    monkeypatch.setattr(exported, 'open_exported', mock.Mock(side_effect=error))
    with zipfile.ZipFile('model.tflite', 'w') as extras:
        for name in ('config.json', 'spec.json'):
            extras.write(trained / name, name)
        extras.writestr(
            'sha256', hashlib.sha256(b'').hexdigest()
        )  # there is no model before them
    code, _, err, _ = main('--workdir', 'model.tflite', digits[0])
    assert code == 2 and message in err


@pytest.fixture
def loaded(monkeypatch, trained):
    """loaded(inputs of the spec, task field=value) changes the task that the run has."""

    def patch(inputs=None, **fields):
        run = saved.open_saved(Path(trained))
        changed = dataclasses.replace(
            run,
            task=dataclasses.replace(run.task, **fields),
            spec=run.spec.replace(inputs=inputs or run.spec.inputs),
        )
        monkeypatch.setattr(saved, 'open_saved', lambda *_: changed)

    return patch


def test_the_prediction_of_a_task_without_show_is_its_outputs(
    main, trained, digits, loaded
):
    def outputs(variables, inputs):
        return {'mean': inputs['image'].mean((1, 2, 3)), 'image': inputs['image'] / 255}

    loaded(show=None, predict=outputs)
    code, out, _, entries = main('--workdir', trained, digits[0] / '00.png')
    (entry,) = entries.values()
    image = np.asarray(Image.open(digits[0] / '00.png'))
    assert code == 0 and 'picture' not in entry and 'pictures' not in out
    assert entry['answer']['mean'] == pytest.approx(image.mean(), rel=1e-5)
    np.testing.assert_allclose(
        np.squeeze(entry['answer']['image']), image / 255, rtol=1e-5
    )


def test_a_task_with_other_inputs_than_its_predictor_is_refused(
    main, trained, digits, loaded
):
    loaded({'image': ArraySpec((8, 8, 1)), 'mask': ArraySpec((8, 8))})
    code, _, err, _ = main('--workdir', trained, digits[0])
    assert code == 2 and 'not image, mask' in err and err.count('\n') == 1


def test_a_task_without_a_predictor_is_an_error_that_shows_how_to_declare_one(
    main, trained, digits, loaded
):
    loaded(predictor='none')
    code, _, err, _ = main('--workdir', trained, digits[0])
    assert code == 2 and err.count('\n') == 1
    assert "its task has predictor='none'" in err
    assert "'image', 'detector', 'segmenter', 'restoration'" in err
    assert "Task(predictor='image', ...)" in err


@pytest.mark.parametrize(
    'declared, message',
    [
        ('restoration', 'expected a tiling'),
        ('video', 'expected a `prepare`'),
        ('generator', 'expected the inputs latent or label and latent'),
        ('support', 'expected the inputs query and support and support_mask'),
    ],
)
def test_a_task_that_declares_a_wrong_predictor_is_refused(
    main, trained, digits, loaded, declared, message
):
    loaded(predictor=declared, prepare=None)
    files = [] if declared == 'generator' else [digits[0]]
    support = ['--support', digits[0]] if declared == 'support' else []
    code, _, err, _ = main('--workdir', trained, *files, *support)
    assert code == 2 and err.count('\n') == 1
    assert f'its task has predictor={declared!r}' in err and message in err


def test_every_predictor_that_a_task_may_declare_has_a_module():
    names = typing.get_args(Predictor)
    assert set(names) == {*command.PREDICTORS, 'none'}
    for module in command.PREDICTORS.values():
        assert isinstance(module, PredictorModule)


def test_every_argument_belongs_to_one_predictor_and_is_in_the_help(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(['--help'])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    owned = []
    for module in (*command.PREDICTORS.values(), weights):
        group = argparse.ArgumentParser(argument_default=argparse.SUPPRESS)
        module.add_arguments(group)
        # Without defaults, an argument is present only if the user gives it.
        assert not vars(group.parse_args([]))
        *_, last_group = group._action_groups
        assert f'\n{last_group.title}:\n' in text
        arguments = [action.dest for action in last_group._group_actions]
        fields = dataclasses.fields(module.Options)
        assert arguments == [field.name for field in fields]
        owned += arguments
    assert len(set(owned)) == len(owned) == 19
    assert all(f'--{name} ' in text for name in owned)


def test_an_interrupted_command_keeps_the_earlier_predictions(
    main, trained, digits, loaded
):
    before = main('--workdir', trained, digits[0] / '00.png')[-1]

    def show(inputs, outputs):
        raise KeyboardInterrupt

    loaded(show=show)
    code, *_, after = main('--workdir', trained, digits[0])
    assert code == 130 and after == before
    assert not list(Path('predictions').glob('*partial'))


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--workdir', 'RUN', 'none.png'], 'there is no file or folder none.png'),
        (['--workdir', 'RUN', 'IN/*.tif'], 'no file matches'),
        (
            ['--workdir', 'nowhere', 'IN'],
            '--workdir=nowhere: expected a run or an exported model',
        ),
        (
            ['--workdir', 'RUN', 'IN', '--batch_size', '0'],
            '--batch_size=0: expected a whole number >= 1',
        ),
        (['--workdir', 'RUN', 'IN', '--out', 'IN'], 'give another --out'),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_opened(
    main, trained, digits, monkeypatch, arguments, message
):
    monkeypatch.setattr(model, 'open_model', lambda *_: pytest.fail('opened'))
    names = {'RUN': str(trained), 'IN': str(digits[0])}
    code, out, err, _ = main(*(names.get(argument, argument) for argument in arguments))
    assert code == 2 and not out
    assert (
        err.startswith('error: ')
        and err.count('\n') == 1
        and message.lower() in err.lower()
    )
    assert not Path('predictions').exists()


def test_a_file_of_another_program_is_not_replaced(main, trained, digits, tmp_path):
    out = tmp_path / 'mine'
    image = digits[0] / '07.png'
    out.mkdir()
    for file in ('predictions.json', '07.png'):
        (out / file).write_text('mine')
        code, _, err, _ = main('--workdir', trained, image, '--out', out)
        assert code == 2 and f'{file}, which `predict` did not write' in err
        assert (out / file).read_text() == 'mine'
        (out / file).unlink()
    # Files of an earlier report are replaced.
    for _ in range(2):
        assert main('--workdir', trained, image, '--out', out)[0] == 0


def test_other_mistakes_are_one_line(main, trained, digits, tmp_path):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'file').touch()
    (tmp_path / 'strange.tflite').write_bytes(b'TFL3')
    for arguments, message in (
        (
            ['--workdir', 'folder', digits[0]],
            '--workdir=folder: expected a run or an exported model',
        ),
        (
            ['--workdir', 'strange.tflite', digits[0]],
            'expected a file that jaxvision exported',
        ),
        (['--workdir', trained, digits[0], '--step', '99'], 'no checkpoint 99:'),
        (
            ['--workdir', trained, digits[0], '--out', 'file/below'],
            'expected a folder that can be written',
        ),
    ):
        code, _, err, _ = main(*arguments)
        assert code == 2 and err.count('\n') == 1 and message in err


def test_a_full_disk_is_an_error_and_leaves_no_partial_files(
    main, trained, digits, monkeypatch
):
    def save(path, picture):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(figures, 'save', save)
    code, _, err, entries = main('--workdir', trained, digits[0])
    assert code == 2 and err.count('\n') == 1 and 'No space left on device' in err
    assert not entries and not list(Path('predictions').iterdir())
