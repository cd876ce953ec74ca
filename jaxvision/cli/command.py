"""The console command: `jaxvision COMMAND`."""

import importlib
import sys
from typing import NamedTuple

import jaxvision
from jaxvision.core.errors import unknown


class Command(NamedTuple):
    """A module with a function `main(arguments)`, and what it is for."""

    sentence: str
    module: str
    arguments: tuple[str, ...] = ()


COMMANDS = {
    'train': Command('Train a config, or resume its run.', 'jaxvision.cli.train'),
    'eval': Command(
        'Evaluate a checkpoint of a run.', 'jaxvision.cli.train', ('--mode', 'eval')
    ),
    'predict': Command(
        'Answer for images or videos of your own.', 'jaxvision.cli.predict.command'
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
        'Look at a dataset: splits, classes, duplicates, unreadable files.',
        'jaxvision.cli.inspect',
    ),
    'models': Command(
        'List architectures, sizes and the weights that each can read.',
        'jaxvision.cli.models',
    ),
}
_HELP = """usage: jaxvision COMMAND [ARGUMENT ...]

{commands}

`jaxvision COMMAND --help` tells more. `jaxvision --version` prints the version.
A first run: jaxvision train --config cnn"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command that the first argument names, with the other arguments."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ['--help']
    if name in ('-h', '--help', 'help'):
        print(_help())
        return 0
    if name == '--version':
        print(f'jaxvision {jaxvision.__version__}')
        return 0
    if name not in COMMANDS:
        print(
            f'error: {unknown("there is no command", name, COMMANDS)}', file=sys.stderr
        )
        return 2
    command = COMMANDS[name]
    return importlib.import_module(command.module).main([*command.arguments, *rest])


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [
        f'  {name:<{width}}  {command.sentence}' for name, command in COMMANDS.items()
    ]
    return _HELP.format(commands='\n'.join(lines))
