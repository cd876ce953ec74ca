"""The command `export`: its files, its checks and its errors."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import jaxvision
from jaxvision.cli.export import calibrated, check, exported, formats
from jaxvision.cli.export import command as export
from jaxvision.core.errors import UserError

PAGE = Path(__file__).parents[3] / 'docs' / 'export.md'
FILES = [
    'savedmodel',
    'float32.tflite',
    'float16.tflite',
    'dynamic_int8.tflite',
    'int8.tflite',
    'model.stablehlo',
]
QUICK = (
    'from jaxvision.cli.export import check, command as export; check.SECONDS = 0.05'
)


@pytest.fixture(scope='module', autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, 'SECONDS', 0.05)
        yield


def loadable(folder):
    """The files below a folder that a reader could take for a model."""
    return [
        path
        for path in Path(folder).rglob('*')
        if path.name == 'saved_model.pb' or path.suffix in ('.tflite', '.stablehlo')
    ]


@pytest.fixture(scope='module')
def exports(trained, tmp_path_factory):
    """(the folder of a run's exports, the output of the command); tests do not change it."""
    out = tmp_path_factory.mktemp('exports') / 'export'
    with contextlib.redirect_stdout(io.StringIO()) as screen:
        assert (
            export.main(
                ['--workdir', str(trained), '--out', str(out), '--examples', '200']
            )
            == 0
        )
    return out, screen.getvalue()


def test_a_run_in_every_format(exports):
    out, screen = exports
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*FILES, 'export.json']
    )
    report = json.loads((out / 'export.json').read_text())
    assert report['examples'] == 200
    rows = report['formats']
    assert list(rows) == ['the run', *FILES]
    for file in FILES:
        size = sum(
            path.stat().st_size
            for path in [out / file, *out.glob(f'{file}/**/*')]
            if path.is_file()
        )
        assert rows[file]['size'] == size
        assert rows[file]['metrics'].keys() == rows['the run']['metrics'].keys()
        assert set(rows[file]['differences']) == {'logits', 'probabilities'}
        for times in rows[file]['latency_ms'].values():
            assert 0 < times['median'] <= times['p95']
        assert rows[file]['peak_memory'] > 0
        _, spec = exported.read_extras(out / file)
        assert spec['class_names'] == list('0123456789')
    for file in ('savedmodel', 'model.stablehlo', 'float32.tflite'):
        assert (
            rows[file]['metrics']['eval/accuracy']
            == rows['the run']['metrics']['eval/accuracy']
        )
    for file in FILES:
        assert re.search(rf'^{re.escape(file)} .* MB .* ms .* MB$', screen, re.M)


def test_int8_has_kernels_in_int8_and_close_outputs(exports):
    """test_formats.py has the other roundings."""
    details = Interpreter(str(exports[0] / 'int8.tflite')).get_tensor_details()
    kernels = [tensor for tensor in details if list(tensor['shape'])[1:3] == [3, 3]]
    assert kernels and {tensor['dtype'] for tensor in kernels} == {np.int8}
    report = json.loads((exports[0] / 'export.json').read_text())
    differences = report['formats']['int8.tflite']['differences']
    assert 0 < differences['logits'] < 0.1


def calibrate_here(folder, examples, file):
    """Calibrate without a process of its own, which `exports` has."""
    np.savez(folder / 'inputs.npz', **examples)
    calibrated._main(str(folder), str(folder / 'inputs.npz'), str(file))


@pytest.mark.parametrize(
    'task, inputs, files',
    [
        (
            'generator',
            {'latent': 'float32', 'label': 'int32'},
            ['float32.tflite', 'int8.tflite'],
        ),
        (
            'inpainter',
            {'image': 'uint8', 'mask': 'uint8'},
            ['float32.tflite', 'model.stablehlo'],
        ),
    ],
)
def test_several_inputs_and_numbers_of_any_kind(
    fake, tmp_path, capsys, monkeypatch, task, inputs, files
):
    monkeypatch.setattr(formats, '_calibrate', calibrate_here)
    out = tmp_path / 'export'
    code = export.main(
        [
            '--workdir',
            str(fake(task)),
            '--out',
            str(out),
            '--examples',
            '40',
            '--format',
            ','.join(files[::-1]),
        ]
    )
    assert code == 0, capsys.readouterr().err
    rows = json.loads((out / 'export.json').read_text())['formats']
    assert list(rows) == ['the run', *files]
    details = (
        Interpreter(str(out / 'float32.tflite'))
        .get_signature_runner()
        .get_input_details()
    )
    assert {name: about['dtype'].__name__ for name, about in details.items()} == inputs


def test_a_failed_format_is_an_error_that_names_the_others(
    fake, tmp_path, monkeypatch, capsys
):
    def fails(*_, kind, **__):
        raise RuntimeError('no such operation\nin int8')

    monkeypatch.setattr(formats, 'tflite', fails)
    assert (
        export.main(
            [
                '--workdir',
                str(fake('upscaler')),
                '--out',
                str(tmp_path / 'x'),
                '--format',
                'stablehlo,int8.tflite',
                '--examples',
                '8',
            ]
        )
        == 2
    )
    err = capsys.readouterr().err
    assert 'int8.tflite: this model cannot be converted: no such operation' in err
    assert 'Nothing was exported. To export the others, give --format model.' in err
    assert err.count('\n') == 1 and not list(tmp_path.iterdir())


def test_a_file_that_loses_too_much_by_rounding_is_left_out_unless_named(
    fake, tmp_path, monkeypatch, capsys
):
    write = formats.tflite

    def clumsy(predict, *rest, kind, **more):
        worse = {'float32': 0, 'float16': 0}.get(kind, 0.5)
        write(
            lambda *of: {name: x * (1 - worse) for name, x in predict(*of).items()},
            *rest,
            kind='float32',
            **more,
        )

    monkeypatch.setattr(formats, 'tflite', clumsy)
    assert (
        export.main(
            [
                '--workdir',
                str(fake('upscaler')),
                '--out',
                str(tmp_path / 'x'),
                '--format',
                'tflite',
                '--examples',
                '8',
            ]
        )
        == 0
    )
    assert 'left out: int8.tflite differs from the run' in capsys.readouterr().out
    report = json.loads((tmp_path / 'x' / 'export.json').read_text())
    assert list(report['left_out']) == ['dynamic_int8.tflite', 'int8.tflite']
    assert sorted(path.name for path in (tmp_path / 'x').iterdir()) == [
        'export.json',
        'float16.tflite',
        'float32.tflite',
    ]


def test_another_reader_gets_the_outputs_of_the_run(trained, exports):
    task, variables, spec = jaxvision.load(trained)
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 1)).astype(np.uint8)
    answer = Interpreter(str(exports[0] / 'float32.tflite')).get_signature_runner()(
        image=image
    )
    expected = task.predict(variables, {'image': image})
    largest = np.abs(expected['logits']).max()
    assert np.abs(answer['logits'] - expected['logits']).max() < 1e-5 * largest

    # The example of the page.
    block = re.search(
        r'```python\n(from ai_edge_litert.*?)```', PAGE.read_text(), re.S
    )[1]
    scope = {'images': image}
    exec(block.replace('runs/cnn/export/int8', str(exports[0] / 'float32')), scope)
    np.testing.assert_array_equal(scope['probabilities'], answer['probabilities'])


def test_an_export_replaces_all_files_of_an_earlier_one(trained, exports, tmp_path):
    out = tmp_path / 'export'
    shutil.copytree(exports[0], out)
    assert (
        export.main(
            [
                '--workdir',
                str(trained),
                '--out',
                str(out),
                '--examples',
                '8',
                '--format',
                'stablehlo',
            ]
        )
        == 0
    )
    assert sorted(path.name for path in out.iterdir()) == [
        'export.json',
        'model.stablehlo',
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ['export']


def test_a_file_that_differs_is_an_error_and_leaves_nothing(
    trained, tmp_path, monkeypatch, capsys
):
    right = formats.stablehlo
    monkeypatch.setattr(
        formats,
        'stablehlo',
        lambda predict, *rest, **options: right(
            lambda variables, inputs: {
                name: 1.0001 * x for name, x in predict(variables, inputs).items()
            },
            *rest,
            **options,
        ),
    )
    arguments = [
        '--workdir',
        str(trained),
        '--out',
        str(tmp_path / 'x'),
        '--format',
        'stablehlo',
    ]
    assert export.main(arguments) == 2
    assert 'model.stablehlo differs from the run by 0.0001' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_opened_is_an_error(
    trained, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(
        formats,
        'stablehlo',
        lambda *model, **options: model[-1].write_bytes(b'nonsense'),
    )
    arguments = [
        '--workdir',
        str(trained),
        '--out',
        str(tmp_path / 'x'),
        '--format',
        'stablehlo',
    ]
    assert export.main(arguments) == 2
    assert 'was written, but does not run' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


HALF_WRITTEN = """
import time
from jaxvision.cli.export import formats

def savedmodel(*model, **options):
    folder = model[-1]
    folder.mkdir()
    (folder / 'saved_model.pb').write_bytes(b'half')
    print('half written', flush=True)
    time.sleep(600)

formats.savedmodel = savedmodel
export.main()
"""


def test_a_killed_export_leaves_nothing_that_loads(trained, tmp_path):
    run = tmp_path / 'run'
    shutil.copytree(trained, run)
    process = subprocess.Popen(
        [
            sys.executable,
            '-c',
            f'{QUICK}\n{HALF_WRITTEN}',
            '--workdir',
            run,
            '--examples',
            '8',
            '--format',
            'savedmodel',
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env={**os.environ, 'TMPDIR': str(tmp_path)},
    )
    for line in process.stdout:
        if line.startswith('half written'):
            assert loadable(tmp_path)
            os.killpg(process.pid, signal.SIGKILL)
            break
    assert process.wait() == -signal.SIGKILL
    assert not loadable(run)


def test_an_export_that_is_killed_while_it_is_installed_keeps_the_old_one(
    trained, tmp_path, monkeypatch
):
    (tmp_path / 'staging').mkdir()
    (tmp_path / 'staging' / 'export.json').write_text('new')
    out = tmp_path / 'export'
    out.mkdir()
    (out / 'export.json').write_text('old')

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, 'copytree', killed)
        export._install(tmp_path / 'staging', out)
    assert (out / 'export.json').read_text() == 'old'
    export._install(tmp_path / 'staging', out)
    assert (out / 'export.json').read_text() == 'new'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['export', 'staging']


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--format', 'onnx'], "there is no 'onnx'"),
        (['--step', '77'], 'no checkpoint 77:'),
        (['--examples', '0'], '--examples=0: expected a whole number >= 1'),
        (['--most_lost', 'nan'], '--most_lost=nan: expected a number >= 0'),
        (['--out', __file__], 'expected a new folder or an earlier export'),
    ],
)
def test_mistakes_are_named(trained, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert export.main(['--workdir', str(trained), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_a_run_is_an_error(tmp_path, capsys):
    assert export.main(['--workdir', str(tmp_path)]) == 2
    assert 'is not a run' in capsys.readouterr().err


@pytest.mark.parametrize(
    'files',
    [
        {'export.json': 'mine'},
        {'notes.txt': 'mine'},
        {'export.json': '{"formats": {}}', 'notes.txt': 'mine'},
    ],
)
def test_a_folder_that_holds_other_things_is_left_alone(
    trained, tmp_path, capsys, files
):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert export.main(['--workdir', str(trained), '--out', str(tmp_path)]) == 2
    assert 'Give another --out' in capsys.readouterr().err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files


def test_an_export_that_was_killed_between_two_renames_is_not_lost(tmp_path):
    (tmp_path / 'staging').mkdir()
    (tmp_path / '.export.old').mkdir()
    (tmp_path / '.export.old' / 'export.json').write_text('old')
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(UserError, match='that can be written'),
    ):
        patch.setattr(
            shutil,
            'copytree',
            lambda *_, **__: (_ for _ in ()).throw(OSError(28, 'No space')),
        )
        export._install(tmp_path / 'staging', tmp_path / 'export')
    assert (tmp_path / 'export' / 'export.json').read_text() == 'old'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['export', 'staging']
