"""README and docs: code blocks run as they stand; links, files and tables are up to date."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from jaxvision.core import config as configs
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


def test_a_task_of_ones_own_trains(tmp_path, monkeypatch):
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


@pytest.mark.filterwarnings('ignore')
def test_the_research_example_runs(tmp_path, monkeypatch, capsys):
    config = configs.load(str(ROOT / 'configs/cnn.py:digits'))
    config.model.variant, config.train.steps = '4-8', '2'
    monkeypatch.chdir(tmp_path)
    loop.run(config, 'runs/cnn')
    exec(block('README.md', 'saliency'), {})  # noqa: S102 (the README's own code)
    assert '(8, 10) (8, 8, 8, 1)' in capsys.readouterr().out
