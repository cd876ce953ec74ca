"""README and docs: code blocks run as they stand; links, files and tables are up to date."""

import contextlib
import functools
import io
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import pytest

from jaxvision.cli.command import COMMANDS as COMMANDS_OF_CONSOLE
from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.train import loop

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md')),
    *sorted((ROOT / 'docs').rglob('*.md')),
]


def page_id(path):
    return path.relative_to(ROOT).as_posix()


def block(page: str, about: str) -> str:
    """The one Python block of a page that holds this text."""
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / page).read_text(), re.DOTALL)
    (found,) = [block for block in blocks if about in block]
    return found


def test_readme_is_one_screen_and_begins_with_two_commands():
    readme = (ROOT / 'README.md').read_text()
    assert len(readme.encode()) <= 8192
    commands = re.findall(r'^    (python3 -m venv .*)$', readme, re.MULTILINE)
    assert [command.split(' && ')[-1] for command in commands] == [
        '.venv/bin/jaxvision train --config cnn',
        '.venv/bin/python -m pytest -n auto',
    ]


@pytest.mark.parametrize('path', PAGES, ids=page_id)
def test_links_lead_to_files(path):
    for link in re.findall(r'\]\(([^)#]+)(?:#[^)]*)?\)', path.read_text()):
        if '://' not in link:
            assert (path.parent / link).exists(), link


@pytest.mark.parametrize('path', PAGES, ids=page_id)
def test_configs_and_scripts_that_a_page_names_are_there(path):
    text = path.read_text()
    for name in re.findall(
        r'(?<![\w/])((?:configs|launch|tests/bench)/\w+\.\w+)', text
    ):
        assert (ROOT / name).exists(), name
    for name in re.findall(r'--config ([a-z]\w*)(?=[\s:`\']|$)', text):
        assert (ROOT / 'configs' / f'{name}.py').exists(), name


def test_tables_hold_what_the_list_of_results_holds():
    script = ROOT / 'docs' / 'tables.py'
    done = subprocess.run(
        [sys.executable, script, '--check'], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_task_of_ones_own_trains(tmp_path, monkeypatch, drawn):
    code = block('docs/extending.md', 'Remove noise from images')
    assert code.count('\n') <= 85
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'denoise.py').write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    config = configs.load(str(tmp_path / 'mine' / 'denoise.py:digits'))
    config.train.steps = '3 epochs'
    result = loop.run(config, tmp_path / 'run')
    assert result.finished
    rows = loop.Metrics(tmp_path / 'run', 99).rows
    first = next(row for row in rows if 'eval/psnr' in row)
    assert result.metrics['eval/psnr'] > first['eval/psnr']
    assert (tmp_path / 'run' / 'figures' / 'strips.png').exists()
    sys.modules.pop('mine.denoise', None)


def test_a_model_of_ones_own_names_its_variants():
    example: dict[str, Any] = {}
    exec(block('docs/extending.md', 'A small network'), example)  # noqa: S102
    model = example['make']('small', num_classes=3)
    images = jax.numpy.zeros((2, 8, 8, 1))
    (logits, maps), _ = model.init_with_output(jax.random.key(0), images)
    assert logits.shape == (2, 3) and maps['pooled'].shape == (2, 32)
    with pytest.raises(UserError, match="model.variant='smal': .*Did you mean 'small'"):
        example['make']('smal', num_classes=3)


@pytest.mark.filterwarnings('ignore')
def test_the_research_example_runs(trained, tmp_path, monkeypatch, capsys):
    shutil.copytree(trained, tmp_path / 'runs' / 'cnn')
    monkeypatch.chdir(tmp_path)
    exec(block('README.md', 'saliency'), {})  # noqa: S102 (the README's own code)
    assert '(8, 10) (8, 8, 8, 1)' in capsys.readouterr().out


COMMANDS = [
    (page_id(path), line.strip())
    for path in PAGES
    for line in path.read_text().replace('\\\n', ' ').splitlines()
    if re.match(r'    (?:\S*/)?(?:jaxvision |python -m jaxvision\.)', line)
]
RESULTS = json.loads((ROOT / 'docs' / 'results.json').read_text())
COMMANDS += [
    ('docs/results.json', command)
    for command in sorted({result['command'] for result in RESULTS})
    if command.startswith('jaxvision ')
]


@pytest.fixture(scope='module')
def help_of():
    """`help_of('predict')`: the help of a command, without a config's fields."""

    @functools.cache
    def read(command):
        module = {'train': 'main', 'eval': 'main'}.get(command, command)
        screen = io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(screen),
            pytest.raises(SystemExit) as ended,
        ):
            patch.setattr(sys, 'argv', [f'jaxvision/{module}.py', '--help'])
            # cli/test_command.py starts each of them in a process of its own.
            runpy.run_module(f'jaxvision.{module}', run_name='__main__')
        assert ended.value.code == 0
        return screen.getvalue()

    return read


@functools.cache
def fields_of(config: str) -> set[str]:
    loaded = configs.load(str(ROOT / 'configs' / f'{config}.py'))
    return set(configs.declared(loaded.task.name)) | {'task.name'}


@pytest.mark.parametrize('page, line', COMMANDS)
def test_the_flags_and_fields_of_a_documented_command_exist(page, line, help_of):
    words = shlex.split(line, comments=True)
    start = next(i for i, word in enumerate(words) if 'jaxvision' in word)
    command = words[start + 1] if words[start].endswith('jaxvision') else None
    command = command or words[start].rpartition('.')[2]
    assert command in (*COMMANDS_OF_CONSOLE, 'main') or command.startswith('-')
    arguments = ' '.join(words[start + 1 :])
    for flag in re.findall(r'(?<!\S)--(?!config\.)(\w+)', arguments):
        assert flag == 'help' or re.search(rf'--{flag}\b', help_of(command)), flag
    config = re.search(r'--config[ =](?:configs/)?(\w+)', arguments)
    if config and (ROOT / 'configs' / f'{config[1]}.py').exists():
        for field in re.findall(r'--config\.([\w.]+)=', arguments):
            is_option = '.options.' in field
            assert is_option or field in fields_of(config[1]), field


def test_pages_document_commands():
    assert len(COMMANDS) > 80
