"""Tasks and models by the names that configs give them.

The rooms `tasks` and `models` list what they offer in `NAMES`. They stand above the engine,
which reaches them only through the functions of this file.
"""

import importlib
from types import ModuleType

from jaxvision.core.errors import UserError, unknown
from jaxvision.core.fields import Config
from jaxvision.core.spec import Spec, from_json
from jaxvision.core.task import Task
from jaxvision.core.types import Json


def resolve(room: str, name: str) -> ModuleType:
    """Import a task or a model by the name that a config gives it.

    Args:
        room: 'tasks' or 'models', whose `NAMES` lists what it offers.
        name: a name of that list, or the dotted path of the user's own module.

    Returns:
        The module, which has a function `make`.

    Raises:
        UserError: There is no such module, or it has no function `make`.
    """
    names = importlib.import_module(f'jaxvision.{room}').NAMES
    dotted = name if '.' in name.strip('.') else names.get(name)
    if dotted is not None:
        try:
            module = importlib.import_module(dotted)
        except ModuleNotFoundError as error:
            if not f'{dotted}.'.startswith(f'{error.name}.'):
                raise  # The module exists, but a module that it imports does not.
        else:
            if hasattr(module, 'make'):
                return module
            if name not in names:
                raise UserError(
                    f'{dotted} has no function make, so it is no {room[:-1]}. '
                    'See docs/extending.md'
                )
    known = [*names, 'or a dotted module of your own']
    raise unknown(f'there is no {room[:-1]}', name, known)


def details_of(task: str) -> type | None:
    """The type of the details that a task's spec holds, or None."""
    return getattr(resolve('tasks', task), 'Details', None)


def read_spec(value: Json, config: Config) -> Spec:
    """Read the spec of a run from its JSON form."""
    return from_json(value, details_of, config.task.name)


def make_task(config: Config, spec: Spec) -> Task:
    """Build the task of a config and a spec: `jaxvision.tasks.make`."""
    return importlib.import_module('jaxvision.tasks').make(config, spec)
