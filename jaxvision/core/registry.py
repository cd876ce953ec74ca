"""Find tasks and models by the names that configs give them.

The rooms `tasks` and `models` list their names in `NAMES`. Both rooms rank above the engine,
which reaches them only through the functions of this file.
"""

import dataclasses
import importlib
from types import ModuleType

from jaxvision.core.errors import UserError, unknown
from jaxvision.core.fields import Config
from jaxvision.core.spec import Preprocessing, Spec, from_json
from jaxvision.core.task import Task
from jaxvision.core.types import Json

_PREPROCESSING_FIELDS = {field.name for field in dataclasses.fields(Preprocessing)}


def resolve(room: str, name: str) -> ModuleType:
    """Import a task or a model by the name that a config gives it.

    Args:
        room: 'tasks' or 'models'.
        name: a name from the `NAMES` of the room, or the dotted path of a user's module.

    Returns:
        The module, which has a function `make`.

    Raises:
        UserError: There is no such module, or it has no function `make`.
        ModuleNotFoundError: The module imports another module that is missing, or the
            module of a name in `NAMES` is missing.
    """
    names = importlib.import_module(f'jaxvision.{room}').NAMES
    kind = room.removesuffix('s')
    dotted = name if '.' in name.strip('.') else names.get(name)
    if dotted is not None:
        try:
            module = importlib.import_module(dotted)
        except ModuleNotFoundError as error:
            is_missing = f'{dotted}.'.startswith(f'{error.name}.')
            # The module exists, but a module that it imports does not. Or the module is
            # missing in spite of its listing.
            if name in names or not is_missing:
                raise
        else:
            if hasattr(module, 'make'):
                return module
            raise UserError(
                f'{dotted} has no function make, so it is no {kind}. '
                'See docs/extending.md'
            )
    known = [*names, 'or the dotted path of a Python module']
    raise unknown(f'there is no {kind}', name, known)


def details_of(task: str) -> type | None:
    """Find the dataclass `Details` of a task; None if the task defines none.

    Raises:
        UserError: There is no such task.
    """
    return getattr(resolve('tasks', task), 'Details', None)


def read_spec(value: Json, config: Config) -> Spec:
    """Read the spec of a run from its JSON form, the content of spec.json.

    Raises:
        UserError: The spec is damaged, or another version of jaxvision wrote it.
    """
    return from_json(value, details_of, config.task.name)


def make_task(config: Config, spec: Spec) -> Task:
    """Build the task of a config and a spec, by `jaxvision.tasks.make`.

    Raises:
        UserError: The config is wrong, or the spec lacks the preprocessing that the
            task needs.
    """
    tasks = importlib.import_module('jaxvision.tasks')
    try:
        return tasks.make(config, spec)
    except AttributeError as error:
        # A task that needs the preprocessing reads its fields.
        if error.obj is None and error.name in _PREPROCESSING_FIELDS:
            raise UserError(
                'spec.json: preprocessing=null: expected an object with size, mean and std, '
                f'which the task {config.task.name!r} needs. Restore the file, or train the '
                'run again'
            ) from error
        raise
