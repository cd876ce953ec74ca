"""Puts known faults into a copy of the package, and checks that the tests fail.

    python tests/bench/pitfalls.py [--only 6,12,mosaic] [--verdicts FILE]

The faults of detectors are in pitfall_faults.py, those of segmentation in segmentation_faults.py.
All their tests first have to pass without a fault. A fault is 'caught' if each of its tests fails,
and 'MISSED' if one passes. It is 'BROKEN' if its old text does not occur exactly once, or if a test
fails only because the changed code is no program. The exit code is 1 unless all are caught.

With --verdicts, FILE keeps the verdict of every fault. A run that was stopped goes on there, if
neither the package nor its tests have changed. The runs share their compiled programs.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pitfall_faults
import segmentation_faults
from faults import Fault

ROOT = Path(__file__).parents[2]
COPIED = ('jaxvision', 'tests', 'configs', 'pyproject.toml', 'setup.cfg')
# A plugin of pytest. The first example that fails is enough: no smaller one is searched for.
# A fault changes few programs, so each run reads the other ones from the folder of the first.
PLUGIN = """
import jax
import pytest
from hypothesis import Phase, settings

settings.register_profile('faults', phases=[Phase.explicit, Phase.generate])
settings.load_profile('faults')


@pytest.hookimpl(trylast=True)
def pytest_configure():
    jax.config.update('jax_compilation_cache_dir', {programs!r})
"""
# Errors of a fault that is no program, which every test would catch.
NO_PROGRAM = re.compile(
    r'(Syntax|Indentation|Name|Import|Attribute|Type|TypeCheck|UnboundLocal)Error'
)


def copy_package(folder: Path) -> None:
    """Copy the package and its tests."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns('__pycache__')
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    plugin = PLUGIN.format(programs=str(folder / 'programs'))
    (folder / 'quick_failures.py').write_text(plugin)


def fingerprint(folder: Path) -> str:
    """Hash the package and its tests."""
    content = hashlib.sha256()
    files = [file for name in COPIED for file in folder.glob(f'{name}/**/*.py')]
    for file in sorted(files):
        content.update(str(file.relative_to(folder)).encode())
        content.update(file.read_bytes())
    return content.hexdigest()


def failures(folder: Path, tests: Sequence[str]) -> tuple[int, dict[str, str]]:
    """Run tests in a folder: (exit code of pytest, {test that failed: its error})."""
    done = subprocess.run(
        [
            sys.executable,
            '-m',
            'pytest',
            '-p',
            'no:cacheprovider',
            '-p',
            'quick_failures',
            '--tb=no',
            '-rfE',
            *tests,
        ],
        cwd=folder,
        env=os.environ | {'PYTHONPATH': str(folder), 'COLUMNS': '500'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    failed = {}
    for line in done.stdout.splitlines():
        if line.startswith(('FAILED ', 'ERROR ')):
            test, _, error = line.partition(' ')[2].partition(' - ')
            failed[test] = error
    if done.returncode > 1:
        print(done.stdout)
    return done.returncode, failed


def verdict(folder: Path, fault: Fault) -> str:
    """Put a fault in, run its tests, and take it out again."""
    file = folder / 'jaxvision' / fault.file
    text = file.read_text()
    number = text.count(fault.old)
    if number != 1:
        return f'BROKEN: the old text occurs {number} times'
    file.write_text(text.replace(fault.old, fault.new))
    code, failed = failures(folder, fault.tests)
    file.write_text(text)
    if code > 1:
        return f'BROKEN: pytest ends with {code}'
    for test in fault.tests:
        # A test without its parameters has failed if it did with one of them.
        errors = [error for name, error in failed.items() if name.startswith(test)]
        if not errors:
            return f'MISSED by {test}'
        if all(NO_PROGRAM.search(error) for error in errors):
            return f'BROKEN: {errors[0]}'
    return 'caught'


def chosen(only: str) -> list[Fault]:
    """The faults whose pitfall begins with one of some words; all without words."""
    words = [word for word in only.split(',') if word]
    return [
        fault
        for fault in (*pitfall_faults.FAULTS, *segmentation_faults.FAULTS)
        if not words or fault.pitfall.partition(' ')[0] in words
    ]


class Verdicts:
    """The verdicts of one state of the package, kept in a file."""

    def __init__(self, file: str, state: str):
        self._file = Path(file) if file else None
        self._state = state
        self._verdicts = self._read()

    def _read(self) -> dict[str, str]:
        if self._file is None or not self._file.exists():
            return {}
        stored = json.loads(self._file.read_text())
        return stored['verdicts'] if stored['state'] == self._state else {}

    def get(self, fault: Fault) -> str | None:
        return self._verdicts.get(f'{fault.pitfall}: {fault.new}')

    def put(self, fault: Fault, answer: str) -> None:
        self._verdicts[f'{fault.pitfall}: {fault.new}'] = answer
        if self._file is None:
            return
        content = {'state': self._state, 'verdicts': self._verdicts}
        partial = self._file.with_suffix('.partial')
        partial.write_text(json.dumps(content, indent=1))
        partial.replace(self._file)

    def __len__(self) -> int:
        return len(self._verdicts)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--only', default='', help='first words of pitfalls, such as 6,12,mosaic'
    )
    parser.add_argument(
        '--verdicts', default='', help='file of verdicts, where a stopped run goes on'
    )
    arguments = parser.parse_args()
    faults = chosen(arguments.only)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_package(folder)
        verdicts = Verdicts(arguments.verdicts, fingerprint(folder))
        tests = sorted({test for fault in faults for test in fault.tests})
        if not len(verdicts):
            code, failed = failures(folder, tests)
            if code:
                print(f'without a fault {len(failed)} tests fail: {failed}')
                return 1
            print(f'without a fault all {len(tests)} tests pass\n', flush=True)
        for fault in faults:
            if verdicts.get(fault) is None:
                verdicts.put(fault, verdict(folder, fault))
            answer = verdicts.get(fault)
            print(f'{fault.pitfall:60}  {fault.file:34}  {answer}', flush=True)
    caught = sum(verdicts.get(fault) == 'caught' for fault in faults)
    print(f'\n{caught} of {len(faults)} faults are caught')
    return int(caught < len(faults))


if __name__ == '__main__':
    sys.exit(main())
