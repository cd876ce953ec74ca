"""jaxvision: image recognition in JAX, pure functions over one engine."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # Importing a model alone must stay light.
    from jaxvision.core.spec import Spec
    from jaxvision.core.task import Task
    from jaxvision.core.types import Tree

__version__ = '0.1.0'


def load(workdir: str | Path, step: str | int = 'last') -> 'tuple[Task, Tree, Spec]':
    """Reopen a run to predict with it.

    `task.predict(variables, {'image': uint8 [B, H, W, C]})` returns the predictions.

    Args:
        workdir: the run's folder.
        step: the 'last' or 'best' checkpoint, or the number of one.

    Returns:
        (the task, its variables, the spec of its data).

    Raises:
        UserError: The folder holds no run, or no such checkpoint.
    """
    from jaxvision.train import saved

    return saved.load(Path(workdir), step)
