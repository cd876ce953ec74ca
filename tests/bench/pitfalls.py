"""Puts known faults into a copy of the package, and checks that the tests fail.

    python tests/bench/pitfalls.py [--only 6,12,mosaic]

The faults of detectors are in pitfall_faults.py, those of segmentation in segmentation_faults.py.
All their tests first have to pass without a fault. A fault is 'caught' if each of its tests fails,
and 'MISSED' if one passes. It is 'BROKEN' if its old text does not occur exactly once, or if a test
fails only because the changed code is no program. The exit code is 1 unless all are caught.
"""

import argparse
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
# A plugin of pytest: the first example that fails is enough, no smaller one is searched for.
PLUGIN = """
from hypothesis import Phase, settings

settings.register_profile('faults', phases=[Phase.explicit, Phase.generate])
settings.load_profile('faults')
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
    (folder / 'no_shrinking.py').write_text(PLUGIN)


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
            'no_shrinking',
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


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--only', default='', help='first words of pitfalls, such as 6,12,mosaic'
    )
    faults = chosen(parser.parse_args().only)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_package(folder)
        tests = sorted({test for fault in faults for test in fault.tests})
        code, failed = failures(folder, tests)
        if code:
            print(f'without a fault {len(failed)} tests fail: {failed}')
            return 1
        print(f'without a fault all {len(tests)} tests pass\n', flush=True)
        verdicts = []
        for fault in faults:
            verdicts.append(verdict(folder, fault))
            print(f'{fault.pitfall:60}  {fault.file:34}  {verdicts[-1]}', flush=True)
    caught = verdicts.count('caught')
    print(f'\n{caught} of {len(faults)} faults are caught')
    return int(caught < len(faults))


if __name__ == '__main__':
    sys.exit(main())
