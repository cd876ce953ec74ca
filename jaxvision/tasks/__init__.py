"""The tasks by name: one folder each, with `FIELDS`, `describe` and `make` in task.py."""

from ml_collections import ConfigDict

from jaxvision.core.registry import resolve
from jaxvision.core.spec import Spec
from jaxvision.core.task import Task

NAMES = {
    name: f'jaxvision.tasks.{name}.task'
    for name in (
        'captioning',
        'classification',
        'few_shot',
        'gan',
        'inpainting',
        'super_resolution',
        'video',
        'video_prediction',
        'video_summary',
    )
}


def make(config: ConfigDict, spec: Spec) -> Task:
    """Build the task of a config, with the parts of `train.frozen` frozen."""
    # Imported here, so that the list of names needs no model.
    from jaxvision.tasks.shared.freezing import freeze

    task = resolve('tasks', config.task.name).make(config, spec)
    return freeze(task, config.train.frozen.split(','))
