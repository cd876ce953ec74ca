"""Published weights, as the variables of a run: `train.init_from=FILE`."""

import inspect
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxvision.core.config import resolve
from jaxvision.core.errors import UserError
from jaxvision.pretrained import convert, published

Tree = Any


def variables(config: ConfigDict, file: Path) -> Tree:
    """The variables of a run whose `model` is that of the file.

    Raises:
        UserError: the file is damaged, or its weights are not of `config.model`.
    """
    found = published.read(file, config.model.name)
    _check_options(config, file, found)
    return of_player(convert.variables(found.leaves))


def of_player(variables: Tree, player: str = 'model') -> Tree:
    """Those of a run, of a model's own."""
    params = {'params': {player: variables['params']}}
    state = {name: tree for name, tree in variables.items() if name != 'params'}
    return {**params, 'model_state': {player: state}}


def _check_options(config: ConfigDict, file: Path, found: published.Published) -> None:
    """Shapes do not tell all: with another option the same leaves compute something else."""
    defaults = inspect.signature(resolve('models', config.model.name).make).parameters
    for name, value in found.options.items():
        chosen = config.model.options.get(name, defaults[name].default)
        if chosen != value:
            raise UserError(
                f'{file} holds weights of {found.format.publisher}, which are of '
                f'model.options.{name}={value!r}, not {chosen!r}'
            )
