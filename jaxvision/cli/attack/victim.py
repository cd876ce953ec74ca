"""The attacked run: what it must be for each kind of attack."""

from jaxvision.cli import runs
from jaxvision.cli.pixel_classifiers import PixelClassifier
from jaxvision.cli.runs import Checkpoint
from jaxvision.core.errors import UserError


def open_with_loss(workdir: str, step: str) -> Checkpoint:
    """Open a checkpoint of a detector or a segmenter, and configure JAX for it.

    Args:
        workdir: the run folder.
        step: 'last', 'best' or a number.

    Raises:
        UserError: There is no such run or checkpoint, or its task has no loss in
            inference.
    """
    opened = runs.reopen(workdir)
    if opened.task.inference_loss is None:
        raise UserError(
            f'--workdir={workdir}: expected a classifier of images, a detector or a '
            f'segmenter, and its task is {opened.config.task.name}. Give the folder of '
            'another run.'
        )
    return runs.restore(workdir, opened, step)


def require_same_images(victim: PixelClassifier, source: PixelClassifier) -> None:
    """Check that two runs take the same images and name the same classes.

    Raises:
        UserError: They differ.
    """
    for what in ('inputs', 'class_names'):
        if getattr(victim.run.spec, what) != getattr(source.run.spec, what):
            raise UserError(
                f'--source={source.name}: expected the {what.replace("_", " ")} of '
                f'{victim.name}. Give a run on the same images and classes.'
            )
