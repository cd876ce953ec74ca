"""How the user started a command: `jaxvision train` or `python -m jaxvision.main`."""

import os
import shlex
import shutil
import sys
from pathlib import Path

# What follows `python -m` where the console command has one name.
_MODULES = {
    'train': ('jaxvision.main',),
    'eval': ('jaxvision.main', '--mode', 'eval'),
    'predict': ('jaxvision.predict',),
    'export': ('jaxvision.export',),
    'bench': ('jaxvision.bench',),
    'inspect': ('jaxvision.inspect',),
    'models': ('jaxvision.models',),
}


def program(name: str) -> str:
    """Name the running command for its usage line.

    Args:
        name: name of the console command, such as 'train'.

    Returns:
        'jaxvision train' after the console command, else 'python -m jaxvision.main'.
    """
    if not _by_console():
        module, *arguments = _MODULES[name]
        is_package = module == 'jaxvision'
        return ' '.join(['python -m', module, *(arguments if is_package else [])])
    return ' '.join(['jaxvision', *sys.argv[1:2]])


def command(name: str, *arguments: str) -> str:
    """Write another command the way in which the user started this one.

    Args:
        name: name of the console command, such as 'train'.
        *arguments: what follows it.
    """
    start = ('jaxvision', name)
    if not _by_console():
        start = ('python', '-m', *_MODULES[name])
    return shlex.join([path_of(start[0]), *start[1:], *arguments])


def path_of(name: str) -> str:
    """Return how a program of this environment is called from the current folder.

    Args:
        name: file name of the program, such as 'tensorboard'.
    """
    path = Path(sys.executable).parent / name
    found = shutil.which(name)
    if found and Path(found).parent == path.parent:
        return name
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _by_console() -> bool:
    return Path(sys.argv[0]).stem == 'jaxvision'
