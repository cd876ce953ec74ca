"""The start of a command: its parser, its exit code, and its name on the command line."""

import os
import shlex
import shutil
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter, _ActionsContainer
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from jaxvision.core.errors import UserError

# The arguments after `python -m`, by the name of the console command.
_MODULES = {
    'train': ('jaxvision.main',),
    'eval': ('jaxvision.main', '--mode', 'eval'),
    'sweep': ('jaxvision.sweep',),
    'predict': ('jaxvision.predict',),
    'attack': ('jaxvision.attack',),
    'calibrate': ('jaxvision.calibrate',),
    'certify': ('jaxvision.certify',),
    'corrupt': ('jaxvision.corrupt',),
    'explain': ('jaxvision.explain',),
    'export': ('jaxvision.export',),
    'bench': ('jaxvision.bench',),
    'inspect': ('jaxvision.inspect',),
    'models': ('jaxvision.models',),
}


def run(command: Callable[[], int]) -> int:
    """Run a command and return its exit code.

    A `UserError` becomes one line on stderr, and exit code 2. Ctrl-C gives 130. A
    closed pipe behind stdout gives 1. Any other error is raised.

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
        # The reader has closed the pipe, such as `| head`. Python flushes stdout once more at
        # its end, and must not raise the error again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def require_run(option: str, folder: str) -> None:
    """Check that a folder holds a run, before JAX is imported.

    Args:
        option: the option that names the folder, such as '--workdir'.
        folder: the folder, as the user gave it.

    Raises:
        UserError: The folder has no config.json.
    """
    if not Path(folder, 'config.json').exists():
        raise UserError(
            f'{option}={folder}: expected the folder of a run. It has no config.json.'
        )


class _Parser(ArgumentParser):
    """A parser that reports a mistake in one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        """Print a mistake and exit with code 2."""
        message = message.removeprefix('argument ').removesuffix('.')
        self.exit(2, f'error: {message}. `{self.prog} --help` lists the arguments.\n')


def parser(name: str, description: str | None, **settings: Any) -> ArgumentParser:
    """Make the parser of a command.

    The description is printed with its line breaks. A mistake in the arguments is one line on
    stderr, and ends the process with exit code 2. Arguments must not be abbreviated.

    Args:
        name: name of the console command, such as 'train'.
        description: the help text.
        **settings: further arguments of `argparse.ArgumentParser`.
    """
    return _Parser(
        program(name),
        description=description,
        allow_abbrev=False,
        formatter_class=RawDescriptionHelpFormatter,
        **settings,
    )


def add_checkpoint(parser: ArgumentParser, title: str) -> None:
    """Add --workdir, which the parser requires, and --step, which is last by default.

    Args:
        parser: the parser.
        title: help text of --workdir, such as 'run folder'.
    """
    parser.add_argument('--workdir', metavar='RUN', required=True, help=title)
    parser.add_argument(
        '--step',
        default='last',
        help='checkpoint: last (the default), best or a number',
    )


def add_split(container: _ActionsContainer, title: str) -> None:
    """Add --split, which is test by default.

    Args:
        container: a parser or a group of arguments.
        title: use of the split, such as 'split of the images'.
    """
    container.add_argument(
        '--split',
        choices=('test', 'validation'),
        default='test',
        help=f'{title} (%(default)s)',
    )


def program(name: str) -> str:
    """Return the name of the running command for its usage line.

    Args:
        name: name of the console command, such as 'train'.

    Returns:
        'jaxvision' and the first argument of the user, such as 'jaxvision train'. For
        another program than `jaxvision`: 'python -m jaxvision.main' or another module.
    """
    if _is_console_command():
        return ' '.join(['jaxvision', *sys.argv[1:2]])
    return f'python -m {_MODULES[name][0]}'


def command(name: str, *arguments: str) -> str:
    """Write another command in the form in which the user started the running one.

    Args:
        name: name of the console command, such as 'train'.
        *arguments: the arguments after the name.

    Returns:
        A line for a shell, quoted where needed, such as 'jaxvision eval ...' or
        'python -m jaxvision.main --mode eval ...'.
    """
    start = ('jaxvision', name)
    if not _is_console_command():
        start = ('python', '-m', *_MODULES[name])
    return shlex.join([path_of(start[0]), *start[1:], *arguments])


def path_of(name: str) -> str:
    """Return the shortest path of a program of this Python environment.

    Args:
        name: file name of the program, such as 'tensorboard'.

    Returns:
        The name alone if PATH finds it in this environment, else a path, relative below
        the current folder. The program may not exist.
    """
    path = Path(sys.executable).parent / name
    path_on_shell = shutil.which(name)
    if path_on_shell and Path(path_on_shell).parent == path.parent:
        return name
    if path.is_relative_to(Path.cwd()):
        return os.path.relpath(path)
    return str(path)


def _is_console_command() -> bool:
    return Path(sys.argv[0]).stem == 'jaxvision'
