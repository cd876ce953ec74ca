"""The tasks by name. The task.py of a task defines `FIELDS`, `describe` and `make`."""

from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.registry import resolve
from jaxvision.core.spec import Spec
from jaxvision.core.task import Task

NAMES = {
    name: f'jaxvision.tasks.{name}.task'
    for name in (
        'captioning',
        'classification',
        'detection',
        'few_shot',
        'gan',
        'inpainting',
        'segmentation',
        'super_resolution',
        'video',
        'video_prediction',
        'video_summary',
    )
}


def make(config: Config, spec: Spec) -> Task:
    """Build the task that a config names, and freeze the parts in `train.frozen`.

    A wrong part in `train.frozen` raises a UserError not here, but in the task's `init`.

    Raises:
        UserError: The config is wrong, or the task's `make` does not return a `Task`
            with all required fields.
    """
    # Imported here, so that the list of names needs no model.
    from jaxvision.tasks.shared.freezing import freeze

    name = config.task.name
    try:
        task = resolve('tasks', name).make(config, spec)
    except TypeError as error:
        if 'Task.__init__' not in str(error):
            raise
        raise UserError(
            f'{name}.make: {error}. Pass every field of Task by its name.'
        ) from error
    if not isinstance(task, Task):
        raise UserError(f'{name}.make: expected a Task, got {type(task).__name__}')
    return freeze(task, config.train.frozen.split(','))
