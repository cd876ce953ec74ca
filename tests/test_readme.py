"""The README's code is run as it stands; only the length of the runs is cut."""

import re
import sys
from pathlib import Path

import pytest

from jaxvision.core import config as configs
from jaxvision.train import loop

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()
BLOCKS = re.findall(r'```python\n(.*?)```', README, re.DOTALL)


def block(about: str) -> str:
    (found,) = [block for block in BLOCKS if about in block]
    return found


def test_its_commands_are_the_two_that_a_newcomer_gives():
    commands = re.findall(r'^    (python3 -m venv .*)$', README, re.MULTILINE)
    assert [command.split(' && ')[-1] for command in commands] == [
        '.venv/bin/python -m jaxvision.main --config configs/cnn.py',
        '.venv/bin/python -m pytest',
    ]


def test_pictures_and_configs_that_it_names_are_there():
    for path in re.findall(r'(configs/\w+\.\w+)', README):
        assert (ROOT / path).exists(), path


def test_a_task_of_ones_own_trains(tmp_path, monkeypatch):
    code = block('Learns to take noise off')
    assert code.count('\n') < 60
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'denoise.py').write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    config = configs.load(str(tmp_path / 'mine' / 'denoise.py:digits'))
    config.train.steps = '3 epochs'
    result = loop.run(config, tmp_path / 'run')
    assert result.finished
    before = next(
        row for row in loop.Metrics(tmp_path / 'run', 99).rows if 'eval/psnr' in row
    )
    assert (
        result.metrics['eval/psnr'] > before['eval/psnr']
    )  # the last epoch's against the first's
    assert (tmp_path / 'run' / 'figures' / 'strips.png').exists()
    sys.modules.pop('mine.denoise', None)


@pytest.mark.filterwarnings('ignore')
def test_the_research_example_runs(tmp_path, monkeypatch, capsys):
    config = configs.load(str(ROOT / 'configs/cnn.py:digits'))
    config.model.variant, config.train.steps = '4-8', '2'
    monkeypatch.chdir(tmp_path)
    loop.run(config, 'runs/cnn')
    exec(block('saliency'), {})  # noqa: S102: the README's own code
    assert '(8, 10) (8, 8, 8, 1)' in capsys.readouterr().out
