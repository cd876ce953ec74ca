"""All launch scripts."""

import subprocess
import sys

import pytest
from stand_ins import LAUNCH, ROOT, SHELLCHECK

SCRIPTS = [
    path for path in LAUNCH.iterdir() if path.suffix in ('.sh', '.sbatch', '.slurm')
]


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script):
    assert len(SCRIPTS) == 5
    check = subprocess.run(
        [SHELLCHECK, '--shell=bash', script], text=True, capture_output=True
    )
    assert check.returncode == 0, check.stdout


def test_main_takes_the_arguments_of_every_launcher():
    shown = subprocess.run(
        [sys.executable, '-m', 'jaxvision.main', '--help'],
        cwd=ROOT,
        text=True,
        capture_output=True,
    ).stdout
    for flag in (
        '--config',
        '--workdir',
        '--distributed',
        '--coordinator',
        '--num_processes',
        '--process_id',
    ):
        assert flag in shown
