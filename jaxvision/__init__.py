"""jaxvision: image and video recognition, generation and restoration in JAX."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # Importing a model alone must stay light.
    from jaxvision.core.spec import Spec
    from jaxvision.core.task import Task
    from jaxvision.core.types import Tree

__version__ = '0.1.0'


def load(workdir: str | Path, step: str | int = 'last') -> 'tuple[Task, Tree, Spec]':
    """Reopen a run to predict with it.

    For a task on images, `task.predict(variables, {'image': uint8 [B, H, W, C]})`
    returns the predictions. `spec.inputs` has the shape [H, W, C] of a prepared image,
    and the inputs of other tasks.

    Args:
        workdir: the run's folder.
        step: 'last', 'best' or the step of a checkpoint.

    Returns:
        (the task, its variables, the spec of its data). The variables are averaged
        weights where the run keeps them.

    Raises:
        UserError: The folder holds no run, or the checkpoint does not exist or is
            damaged.
    """
    from jaxvision.train import saved

    with _without_warnings('absl'):
        return saved.load(Path(workdir), step)


@contextlib.contextmanager
def _without_warnings(name: str) -> Iterator[None]:
    """Hide what a logger says below the level ERROR, and restore the logger afterwards.

    Orbax warns that a read-only checkpoint manager is read-only.
    """
    logger = logging.getLogger(name)

    def is_error(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    logger.addFilter(is_error)
    try:
        yield
    finally:
        logger.removeFilter(is_error)
