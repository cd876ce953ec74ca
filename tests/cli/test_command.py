"""The console command: its list of commands, its names, and its imports at the start."""

import subprocess
import sys
from pathlib import Path

import pytest

import jaxvision
from jaxvision.cli import command, invocation

ROOT = Path(__file__).parents[2]
START = 'import sys; from jaxvision.cli.command import main; code = main({}); '


def python(script):
    done = subprocess.run(
        [sys.executable, '-c', script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize('arguments', [[], ['--help'], ['-h']])
def test_it_lists_the_commands_with_a_sentence_each(capsys, arguments):
    assert command.main(arguments) == 0
    out = capsys.readouterr().out
    for name in command.COMMANDS:
        (line,) = [line for line in out.splitlines() if line.split()[:1] == [name]]
        assert line.endswith('.') and len(line.split()) > 4


def test_it_prints_its_version(capsys):
    assert command.main(['--version']) == 0
    assert capsys.readouterr().out == f'jaxvision {jaxvision.__version__}\n'


def test_a_misspelt_command_names_the_nearest(capsys):
    assert command.main(['trian']) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: there is no command 'trian'; did you mean 'train'?")
    assert err.count('\n') == 1


@pytest.mark.parametrize('arguments', [['--help'], ['--version'], ['trian'], []])
def test_it_imports_nothing_heavy_before_a_command_is_chosen(arguments):
    out = python(
        START.format(arguments)
        + "heavy = ('jax', 'numpy', 'flax', 'ml_collections', 'argparse'); "
        'print("loaded", *[name for name in heavy if name in sys.modules])'
    )
    assert out.splitlines()[-1] == 'loaded'


@pytest.mark.parametrize('name', command.COMMANDS)
def test_every_command_has_help_under_both_of_its_names(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['/bin/jaxvision', name, '--help'])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 0
    console = capsys.readouterr().out
    module, *more = invocation._MODULES[name]
    done = subprocess.run(
        [sys.executable, '-m', module, *more, '--help'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0
    assert done.stdout.startswith(f'usage: python -m {module} ')
    assert console.startswith(f'usage: jaxvision {name} ')
    assert console.partition('\n\n')[2] == done.stdout.partition('\n\n')[2]


def test_the_help_of_eval_describes_eval_alone(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['/bin/jaxvision', 'eval', '--help'])
    with pytest.raises(SystemExit):
        command.main()
    out = capsys.readouterr().out
    assert 'Evaluate a checkpoint of a run.' in out and '--split' in out
    assert '--mode' not in out and 'Train' not in out


def test_suggested_commands_have_the_form_of_the_running_one(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, 'executable', str(tmp_path / '.venv/bin/python'))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['x/jaxvision/main.py', '--config', 'cnn'])
    assert invocation.program('train') == 'python -m jaxvision.main'
    assert (
        invocation.command('eval', '--workdir', 'my run')
        == ".venv/bin/python -m jaxvision.main --mode eval --workdir 'my run'"
    )
    monkeypatch.setattr(sys, 'argv', ['.venv/bin/jaxvision', 'train'])
    assert invocation.program('train') == 'jaxvision train'
    assert (
        invocation.command('eval', '--workdir', 'my run')
        == ".venv/bin/jaxvision eval --workdir 'my run'"
    )
    # An active environment needs no path.
    (tmp_path / '.venv/bin').mkdir(parents=True)
    program = tmp_path / '.venv/bin/jaxvision'
    program.write_text('#!/bin/sh\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', str(program.parent))
    assert invocation.command('predict') == 'jaxvision predict'
