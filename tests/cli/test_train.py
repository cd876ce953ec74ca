"""The output of `train` and `eval`: a line for each mistake, exit codes, next commands."""

import errno
import re
import sys
import textwrap

import pytest

from jaxvision.cli import train as program
from jaxvision.core import files
from jaxvision.train import loop, writers

CONFIG = """
    from jaxvision.core import config as configs

    def get_config(source='digits'):
        config = configs.default('classification')
        config.data.source = source
        config.data.batch_size = 8
        config.data.image_size = 8
        config.model.name = 'cnn'
        config.model.variant = '4'
        config.train.steps = config.train.eval_every = config.train.checkpoint_every = '2'
        return config
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The path of a config file in the current folder."""
    (tmp_path / 'small.py').write_text(textwrap.dedent(CONFIG))
    monkeypatch.chdir(tmp_path)
    return 'small.py'


@pytest.fixture
def main(capsys):
    """main(argument, ...) -> (exit code, stdout, stderr)"""

    def run(*arguments):
        capsys.readouterr()
        try:
            code = program.main(list(arguments))
        except SystemExit as error:  # of argparse
            code = error.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


def check_mistake(result, *texts):
    code, _, err = result
    assert code == 2 and err.startswith('error: ') and 'Traceback' not in err
    for text in texts:
        assert text in err


def check_one_line(result, *texts):
    check_mistake(result, *texts)
    assert result[2].count('\n') == 1


def test_it_trains_prints_the_next_commands_and_does_not_train_again(
    config, main, tmp_path, monkeypatch, drawn
):
    code, out, err = main('--config', config)
    assert code == 0
    assert re.search(r'\nfinished at step 2\n  test +accuracy 0\.\d{4}', out)
    assert 'runs/small' in out and 'curves.png' in out and 'confusion.png' in out
    assert '-m jaxvision.main --mode eval --workdir runs/small\n' in out
    assert '-m jaxvision.predict --workdir runs/small FILE...\n' in out
    assert {path.name for path in (tmp_path / 'runs/small/figures').iterdir()} >= {
        'curves.png',
        'confusion.png',
        'mistakes.png',
    }
    monkeypatch.setattr(sys, 'argv', ['/bin/jaxvision', 'train', '--config', config])
    code, out, _ = main('--config', config)
    assert code == 0 and 'already finished at step 2' in out
    assert 'jaxvision eval --workdir runs/small\n' in out
    assert 'jaxvision export --workdir runs/small\n' in out

    code, out, _ = main('--workdir', 'runs/small', '--mode', 'eval')
    assert code == 0 and 'step 2: eval/accuracy' in out


def test_other_settings_in_an_old_folder_are_shown(config, main, no_pictures):
    assert main('--config', config, '--workdir', 'run')[0] == 0
    check_mistake(
        main('--config', config, '--workdir', 'run', '--config.optimizer.lr=0.5'),
        'other settings',
        'optimizer.lr',
        '0.001',
        '0.5',
        '--workdir',
    )


@pytest.mark.parametrize(
    'arguments, texts',
    [
        (['--config.optimizer.Lr=1'], ["'Lr'", "did you mean 'lr'?"]),
        (['--config.optimiser.lr=1'], ["'optimiser'", "did you mean 'optimizer.lr'?"]),
        (
            ['--config.data.batch_size=lots'],
            ['config.data.batch_size=lots', 'a whole number'],
        ),
        (['--config.model.name=resnett'], ["'resnett'", 'resnet', 'cnn']),
        (
            ['--config.model.options.drop_out=0.1'],
            ["'drop_out'", "did you mean 'dropout'?"],
        ),
        (['--config.optimizer.name=adam'], ["'adam'", 'adamw', 'sgd']),
        (['--config.optimizer.schedule=cos'], ["'cos'", 'cosine']),
        (
            ['--config.data.source=folder:not/there'],
            ['not/there', 'there is no such folder'],
        ),
        (['--config.data.source=nowhere10'], ['nowhere10', 'no data set of TFDS']),
        (['--config.train.steps=soon'], ["'soon'", '2 epochs']),
        (['--config.optimizer.warmup=5'], ['optimizer.warmup', '5 steps']),
        (['--mode', 'eval', '--workdir', 'nowhere'], ['nowhere is not a run']),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(config, main, arguments, texts):
    check_one_line(main('--config', config, *arguments), *texts)


@pytest.mark.parametrize(
    'arguments, expected',
    [
        ([], '--workdir: expected the folder of a run to evaluate. Give --workdir RUN'),
        (
            ['--workdir', 'run', '--split', 'foo'],
            "--split='foo': expected one of 'test', 'validation'",
        ),
        (['--workdir', 'run', '--split', 'tset'], "Did you mean 'test'?"),
        (['--num_processes', 'two'], '--num_processes: invalid int value'),
        (['--workdir'], '--workdir: expected one argument. `'),
    ],
)
def test_a_mistake_of_eval_is_one_line_without_its_other_name(
    main, arguments, expected, monkeypatch
):
    monkeypatch.setattr(sys, 'argv', ['/bin/jaxvision', 'eval', *arguments])
    result = main('--mode', 'eval', *arguments)
    check_one_line(result, expected)
    assert 'usage' not in result[2] and '--mode' not in result[2]


@pytest.mark.parametrize(
    'arguments, command',
    [
        (['--workdir', 'my run'], "jaxvision eval --workdir 'my run'"),
        (['--config', 'cnn', '--step', 'best'], 'jaxvision eval --workdir RUN'),
        (['--config', 'cnn', '--out', 'results'], '--out=results: expected no --out'),
    ],
)
def test_arguments_of_eval_in_training_name_the_command_that_takes_them(
    main, arguments, command, monkeypatch
):
    monkeypatch.setattr(sys, 'argv', ['/bin/jaxvision', 'train', *arguments])
    check_one_line(main(*arguments), command)


def test_a_missing_config_is_named(config, main):
    check_mistake(
        main('--config', 'configs/none.py'), '--config=configs/none.py: expected a file'
    )
    check_mistake(main('--config', 'cnm'), "no config 'cnm'; did you mean 'cnn'?")
    check_mistake(
        main(), '--config: expected the config to train. Give --config CONFIG'
    )


def test_an_unknown_argument_is_answered_with_the_form_of_fields(config, main):
    code, _, err = main('--config', config, 'optimizer.lr=1')
    assert code == 2 and '--config.FIELD=VALUE' in err


def test_a_dataset_that_is_not_prepared_names_the_command_for_it(
    config, main, tmp_path
):
    check_mistake(
        main(
            '--config',
            config,
            '--config.data.source=cifar10',
            f'--config.data.dir={tmp_path}',
        ),
        'tfds build cifar10',
        str(tmp_path),
    )


def test_an_empty_class_folder_is_named(config, main, photos):
    (photos / 'three').mkdir()
    check_mistake(
        main('--config', f'{config}:folder:{photos}'),
        str(photos / 'three'),
        'no images',
    )


def test_a_truncated_jpeg_is_named(config, main, photos):
    from PIL import Image

    whole = photos / 'one' / '00.png'
    Image.open(whole).resize((64, 64)).save(photos / 'one' / '00.jpg')
    whole.unlink()
    data = (photos / 'one' / '00.jpg').read_bytes()
    (photos / 'one' / '00.jpg').write_bytes(data[: len(data) // 2])
    check_mistake(
        main('--config', f'{config}:folder:{photos}', '--config.train.steps=2 epochs'),
        str(photos / 'one' / '00.jpg'),
        'data.on_corrupt=replace',
    )


def test_a_checkpoint_that_disagrees_with_the_config_is_named(
    config, main, tmp_path, no_pictures
):
    assert main('--config', config, '--workdir', 'run')[0] == 0
    settings = files.read_json(tmp_path / 'run/config.json')
    settings['model']['variant'] = '6'
    files.write_json(tmp_path / 'run/config.json', settings)
    check_mistake(
        main('--workdir', 'run', '--mode', 'eval'),
        'checkpoints/2',
        'config.json and spec.json of the run disagree',
        'float32[4]',
        'float32[6]',
    )


@pytest.mark.parametrize(
    'error',
    [
        OSError(errno.ENOSPC, 'No space left on device'),
        OSError(errno.EDQUOT, 'Disk quota exceeded'),
        ValueError(
            'UNKNOWN: Error writing "d/1": [OS error 28: ENOSPC No space left on device]'
        ),
    ],
)
def test_a_full_disk_is_one_line_without_a_traceback(
    config, main, monkeypatch, no_pictures, error
):
    def flush(self):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(writers.Metrics, 'flush', flush)
        check_mistake(
            main('--config', config, '--workdir', 'run'),
            'the disk is full',
            'Make room and repeat',
        )
    code, out, _ = main('--config', config, '--workdir', 'run')  # there is room again
    assert code == 0 and 'finished at step 2' in out


def test_an_unexpected_error_keeps_its_traceback(config, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, 'Input/output error')

    monkeypatch.setattr(loop, 'run', broken)
    with pytest.raises(OSError, match='Input/output'):
        program.main(['--config', config])


def test_help_lists_every_field_with_its_value(config, main):
    from jaxvision.core import config as configs

    code, out, _ = main('--config', f'{config}:mnist5k', '--config.seed=7', '--help')
    assert code == 0 and 'exit codes:' in out
    for name, field in configs.declared('classification').items():
        text = f'{name}.NAME=' if name.endswith('.options') else f'{name}='
        assert f'--config.{text}' in out
        assert field.doc in out
    assert '--config.data.source=mnist5k\n' in out and '--config.seed=7\n' in out
    code, out, _ = main('--help')
    assert code == 0 and '--workdir' in out


@pytest.mark.parametrize(
    'config, overrides, expected',
    [
        ('configs/cnn.py', {}, 'runs/cnn'),
        ('configs/cnn.py:fashion_mnist', {}, 'runs/cnn-fashion_mnist'),
        ('cnn', {}, 'runs/cnn'),
        ('cnn:fashion_mnist', {}, 'runs/cnn-fashion_mnist'),
        ('cnn.py', {'seed': '1', 'optimizer.lr': '0.1'}, 'runs/cnn-lr=0.1-seed=1'),
        (
            'cnn.py',
            {'data.dir': '/data', 'train.keep': '5', 'data.threads': '4'},
            'runs/cnn',
        ),
        (
            'cnn.py',
            {'data.source': 'folder:/my photos'},
            'runs/cnn-source=folder_my_photos',
        ),
    ],
)
def test_the_default_folder_is_named_after_the_fields_that_change_the_result(
    config, overrides, expected
):
    assert program.default_workdir(config, overrides) == expected


def test_long_names_are_cut_and_stay_different():
    first, second = (
        program.default_workdir('c.py', {'data.source': 'folder:' + 'x' * 200 + end})
        for end in 'ab'
    )
    assert first != second and max(len(first), len(second)) <= 105
