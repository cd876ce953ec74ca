"""`jaxvision explain` on a small trained classifier."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

import jaxvision
from jaxvision.cli.explain import command


@pytest.fixture
def digits(tmp_path):
    from sklearn.datasets import load_digits

    folder = tmp_path / 'digits'
    folder.mkdir()
    for row in range(2):
        pixels = (15 * load_digits().images[row]).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f'{row}.png')
    return folder


@pytest.fixture
def explain(called, tmp_path):
    """explain(argument, ...) -> (exit code, stdout, stderr, explanations.json or None)"""

    def call(*arguments):
        outcome = called(command.main, *arguments)
        file = tmp_path / 'explanations' / 'explanations.json'
        report = json.loads(file.read_text()) if file.exists() else None
        return (*outcome, report)

    return call


def test_maps_of_several_methods_have_a_picture_json_and_a_page(
    explain, digits, trained, tmp_path
):
    methods = 'integrated_gradients,grad_cam,occlusion'
    broken = digits / 'broken.png'
    broken.write_text('no image')
    code, out, err, report = explain(
        '--workdir', trained, digits, '--method', methods, '--parts', 4
    )
    assert code == 1
    assert 'broken.png' in out and 'have no explanation' in err
    assert report['score'] == 'logit'
    zero, one, no_image = report['files']
    assert 'error' in no_image
    assert [each['method'] for each in zero['explanations']] == methods.split(',')
    integrated, by_layer, hidden = one['explanations']
    assert integrated['gap'] <= 0.01
    assert integrated['baselines'] == ['black', 'white']
    assert integrated['least'] < 0 < integrated['largest']
    assert by_layer['layer'] == 'stage1'
    assert by_layer['least'] >= 0
    assert hidden['baselines'] == ['mean']
    assert {each['class'] for each in one['explanations']} == {integrated['class']}
    picture = Image.open(one['picture'])
    assert picture.height > picture.width / 2
    page = (tmp_path / 'explanations' / 'index.html').read_text()
    assert page.count('data:image/png;base64,') == 2
    assert 'http' not in page and '<script' not in page
    # One scale for all images, at least as large as most of the values.
    limit = report['scales']['occlusion']['limit']
    assert f'{limit:.3g}' in page
    # The same command replaces its own files.
    code, _, _, again = explain('--workdir', trained, digits, '--method', 'grad_cam')
    by_layer_alone = [file['explanations'] for file in again['files'][:2]]
    assert by_layer_alone == [[file['explanations'][1]] for file in (zero, one)]


def test_a_target_can_be_named(explain, digits, trained):
    code, out, _, report = explain(
        '--workdir',
        trained,
        digits / '0.png',
        '--method',
        'gradient',
        '--target',
        '3',
        '--target',
        '5',
    )
    assert code == 0
    (file,) = report['files']
    assert [each['class'] for each in file['explanations']] == ['3', '5']


def test_images_of_a_class_are_made_without_a_file(explain, trained, tmp_path):
    arguments = ('--workdir', trained, '--method', 'activation', '--samples', 2)
    targets = ('--target', '3', '--target', '5')
    code, out, err, report = explain(*arguments, *targets, '--steps', 40)
    assert code == 0, err
    assert [entry['class'] for entry in report['files']] == ['3', '5']
    task, variables, spec = jaxvision.load(trained)
    noise = jax.random.uniform(jax.random.key(0), (20, *spec.inputs['image'].shape))
    outputs, _ = task.network.apply(variables, task.network.normalize(noise))
    for entry in report['files']:
        assert len(entry['scores']) == 2
        least = np.max(outputs[:, int(entry['class'])])
        assert min(entry['scores']) > least
        assert Image.open(entry['picture']).width > 100
    page = (tmp_path / 'explanations' / 'index.html').read_text()
    assert page.count('data:image/png;base64,') == 2
    (tmp_path / 'file').write_text('mine')
    code, _, err, _ = explain(*arguments, '--target', '5', '--out', 'file')
    assert code == 2 and 'expected a folder' in err and err.count('\n') == 1
    # The images of a class do not depend on the other classes.
    code, _, _, alone = explain(*arguments, '--target', '5', '--steps', 40)
    assert alone['files'][0]['scores'] == report['files'][1]['scores']


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--method', 'activation'], 'expected activation alone, without FILE'),
        (['--method', 'grad_camm'], "--method='grad_camm': expected one of"),
        (['--layer', 'stage7'], "--layer='stage7': expected one of 'stage1', 'pooled'"),
        (['--target', 'cat'], "there is no class 'cat'"),
        (['--method', 'rollout'], 'expected a ViT'),
        (['--baseline', 'gray', '--method', 'rise'], "Did you mean 'grey'?"),
        (['--check'], 'expected --workdir RUN and no FILE'),
        (['--parts', '1'], '--parts=1'),
        (
            ['--steps', '9'],
            '--steps=9: expected only with a method that uses it: activa',
        ),
        (['--parts', '4', '--method', 'gradient'], 'uses it: occlusion, rise, shapley'),
        (['--parts', '4'], '--parts=4: expected only with a method'),
        (['--samples', '4', '--method', 'grad_camm'], "--method='grad_camm'"),
        (['--examples', '4'], '--examples=4: expected only with --check'),
        (['--model', 'resnet:50'], '--model: expected only with --weights'),
    ],
)
def test_mistakes_are_named(explain, digits, trained, arguments, message):
    code, _, err, _ = explain('--workdir', trained, digits / '0.png', *arguments)
    assert code == 2
    assert message in err


def test_files_of_others_are_not_replaced(explain, digits, trained, tmp_path):
    out = tmp_path / 'explanations'
    out.mkdir()
    (out / 'index.html').write_text('mine')
    code, _, err, _ = explain('--workdir', trained, digits)
    assert code == 2
    assert 'which `explain` did not write' in err
    assert (out / 'index.html').read_text() == 'mine'


def test_check_measures_methods_beside_maps_that_no_model_made(
    explain, trained, tmp_path
):
    code, out, _, _ = explain(
        '--workdir',
        trained,
        '--check',
        '--examples',
        3,
        '--method',
        'grad_cam,rise',
        '--samples',
        20,
    )
    assert code == 0
    report = json.loads((tmp_path / 'explanations' / 'check.json').read_text())
    assert report['targets'] == 3
    rows = report['methods']
    assert list(rows) == ['grad_cam', 'rise', 'center', 'brightness']
    for row in rows.values():
        assert 0 <= row['infidelity']['mean'] <= 1
        assert 0 <= row['deletion']['mean'] <= 1
        # The digits have no masks.
        assert 'pointing' not in row
    assert 'correlation' in rows['rise'] and 'correlation' not in rows['center']
    assert 'brightness' in out
