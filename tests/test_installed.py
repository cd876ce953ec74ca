"""What an installation holds, by setup.cfg, and how it works without the checkout."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'jaxvision'


@pytest.fixture(scope='module')
def setup():
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / 'setup.cfg')
    return parser


def test_setup_lists_every_package_and_the_configs(setup):
    folders = [file.parent.relative_to(ROOT) for file in PACKAGE.rglob('__init__.py')]
    packages = ['.'.join(folder.parts) for folder in folders]
    listed = setup['options']['packages'].split()
    assert sorted(listed) == sorted([*packages, 'jaxvision.configs'])
    assert setup['options']['package_dir'].split() == [
        'jaxvision.configs',
        '=',
        'configs',
    ]


def test_setup_lists_every_file_that_is_not_python(setup):
    data = setup['options.package_data']
    listed = [
        PACKAGE.parent.joinpath(*package.split('.')) / name
        for package, names in data.items()
        for name in names.split()
    ]
    others = {
        path
        for path in PACKAGE.rglob('*')
        if path.is_file() and path.suffix not in ('.py', '.pyc')
    }
    assert set(listed) == others


def test_the_console_command_is_there(setup):
    scripts = setup['options.entry_points']['console_scripts']
    assert scripts.split() == ['jaxvision', '=', 'jaxvision.cli.command:main']


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """A folder of installed packages as a wheel makes it, away from the checkout."""
    folder = tmp_path_factory.mktemp('site')
    ignored = shutil.ignore_patterns('__pycache__')
    shutil.copytree(PACKAGE, folder / 'jaxvision', ignore=ignored)
    shutil.copytree(ROOT / 'configs', folder / 'jaxvision/configs', ignore=ignored)
    return folder


def python(site, code, cwd):
    done = subprocess.run(
        [
            sys.executable,
            '-c',
            f'import sys; sys.path.insert(0, {str(site)!r}); {code}',
        ],
        cwd=cwd,
        env={'PATH': '', 'HOME': str(cwd)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done


def test_an_installed_config_goes_by_its_name(site, tmp_path):
    done = python(
        site,
        'import jaxvision; from jaxvision.core import config; '
        'assert jaxvision.__file__.startswith(sys.path[0]); '
        'loaded = config.load("cnn:fashion_mnist"); '
        'print(loaded.data.source, *config.installed())',
        tmp_path,
    )
    names = sorted(path.stem for path in (ROOT / 'configs').glob('*.py'))
    assert done.stdout.split() == ['fashion_mnist', *names], done.stderr
