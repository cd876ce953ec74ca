"""The console command: `jaxvision COMMAND`."""

import importlib
import sys
from typing import NamedTuple

import jaxvision
from jaxvision.core.errors import unknown


class Command(NamedTuple):
    """A command of the console.

    Attributes:
        sentence: its purpose, for the list of commands.
        module: the module whose function `main(arguments)` runs it.
        arguments: arguments that precede those of the user.
    """

    sentence: str
    module: str
    arguments: tuple[str, ...] = ()


COMMANDS = {
    'train': Command('Train a config, or resume its run.', 'jaxvision.cli.train'),
    'eval': Command(
        'Evaluate a checkpoint of a run.', 'jaxvision.cli.train', ('--mode', 'eval')
    ),
    'sweep': Command(
        'Search for better settings of a config.', 'jaxvision.cli.sweep.command'
    ),
    'predict': Command(
        'Predict for your images and videos.', 'jaxvision.cli.predict.command'
    ),
    'attack': Command(
        'Measure the robust accuracy of a run, or make adversarial images.',
        'jaxvision.cli.attack.command',
    ),
    'certify': Command(
        'Certify radii within which no change of an image changes its class.',
        'jaxvision.cli.certify.command',
    ),
    'corrupt': Command(
        'Measure a run on noisy, blurred, foggy and compressed images.',
        'jaxvision.cli.corrupt.command',
    ),
    'calibrate': Command(
        'Fit the temperature and conformal sets of a classifier, and measure them.',
        'jaxvision.cli.calibrate.command',
    ),
    'explain': Command(
        'Explain predictions by maps of pixels.', 'jaxvision.cli.explain.command'
    ),
    'export': Command(
        'Write a run as SavedModel, TFLite or StableHLO.',
        'jaxvision.cli.export.command',
    ),
    'bench': Command(
        'Measure the speed of a config, or plan its cost on other hardware.',
        'jaxvision.cli.bench.command',
    ),
    'inspect': Command(
        'Check a dataset: splits, classes, duplicates, unreadable files.',
        'jaxvision.cli.inspect',
    ),
    'models': Command(
        'List architectures, their sizes and their pretrained weights.',
        'jaxvision.cli.models',
    ),
}
_HELP = """usage: jaxvision COMMAND [ARGUMENT ...]

{commands}

`jaxvision COMMAND --help` describes a command. `jaxvision --version` prints the version.
A first run: jaxvision train --config cnn"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command that the first argument names.

    Args:
        arguments: a name and the arguments of that command; None: the arguments of the process.
            An empty list prints the help.

    Returns:
        The exit code of the command. It is 0 after the help or the version, and 2 if
        there is no such command.

    Raises:
        SystemExit: The arguments of the command are malformed, or contain --help.
    """
    if arguments is None:
        arguments = sys.argv[1:]
    name, *rest = arguments or ['--help']
    if name in ('-h', '--help', 'help'):
        print(_help())
        return 0
    if name == '--version':
        print(f'jaxvision {jaxvision.__version__}')
        return 0
    if name not in COMMANDS:
        error = unknown('there is no command', name, COMMANDS)
        print(f'error: {error}', file=sys.stderr)
        return 2
    command = COMMANDS[name]
    module = importlib.import_module(command.module)
    return module.main([*command.arguments, *rest])


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = []
    for name, command in COMMANDS.items():
        lines.append(f'  {name:<{width}}  {command.sentence}')
    return _HELP.format(commands='\n'.join(lines))
