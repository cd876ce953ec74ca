"""How the user started a command: `jaxvision train` or `python -m jaxvision.main`."""

import os
import shlex
import shutil
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxvision.core.errors import UserError

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


def run(command: Callable[[], int]) -> int:
    """Run a command and return its exit code.

    A mistake of the user is one line on stderr, and exit code 2.

    Args:
        command: does the work and returns an exit code.
    """
    try:
        return command()
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `| head` has read enough. Python's last flush must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def parser(name: str, description: str | None, **settings: Any) -> ArgumentParser:
    """Make the parser of a command, whose description keeps its lines.

    Args:
        name: name of the console command, such as 'train'.
        description: the help text.
        **settings: further arguments of `argparse.ArgumentParser`.
    """
    return ArgumentParser(
        program(name),
        description=description,
        allow_abbrev=False,
        formatter_class=RawDescriptionHelpFormatter,
        **settings,
    )


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
