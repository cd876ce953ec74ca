"""The runs that `attack` and `calibrate` take: classifiers of images, with one label an image."""

from jaxvision.core.errors import UserError
from jaxvision.train.saved import SavedRun


def require_classifier(workdir: str, run: SavedRun) -> None:
    """Check that a run classifies images with one label an image.

    Args:
        workdir: the folder, as the user gave it.
        run: the run.

    Raises:
        UserError: It is another kind of run.
    """
    name = run.config.task.name
    if name != 'classification':
        raise UserError(
            f'--workdir={workdir}: expected a run of classification, and its task is {name}. '
            'Give the folder of a classifier of images.'
        )
    if run.spec.multi_label:
        raise UserError(
            f'--workdir={workdir}: expected one label an image, and its images have '
            'several. Give the folder of another run.'
        )
