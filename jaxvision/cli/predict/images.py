"""Predictions for single images, preprocessed as in the run's evaluation."""

import argparse
import dataclasses
import functools
from pathlib import Path

from jaxvision.cli.predict.file_by_file import FilePredictor, show_outputs
from jaxvision.cli.predict.model import Model
from jaxvision.cli.predict.predictor import Entry, Request, check_inputs
from jaxvision.core.task import Show
from jaxvision.core.types import Example
from jaxvision.data import decode, files, jpeg
from jaxvision.viz import figures

DOES = 'predicts for images'
FILES = 'images'
OWNER = ''

LARGEST_SIDE = 640  # longest side of the image in an annotated picture, pixels


@dataclasses.dataclass(frozen=True)
class Options:
    """The predictor has no arguments of its own."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a description to the help."""
    parser.add_argument_group(
        'classifiers and other runs on images',
        'Images have any size and any format that Pillow reads.\n'
        'OUT gets one annotated picture for each image.',
    )


def make(model: Model, request: Request, options: Options) -> FilePredictor:
    """Make the predictor of images, which draws a picture if the task has `show`.

    Args:
        model: a run on images.
        request: with the paths of the images.
        options: no options.

    Raises:
        UserError: The task takes other inputs.
    """
    check_inputs(model, {'image'})
    return make_predictor(model, request)


def make_predictor(model: Model, request: Request, **changes) -> FilePredictor:
    """Make a predictor of files, which reads images unless an attribute changes this.

    Args:
        model: the model.
        request: with the paths of the files.
        **changes: attributes of `FilePredictor` in place of those for images, such as
            `read`.
    """
    pictures = picture_paths(model, request)
    show = model.task.show or show_outputs
    about = {}
    if 'temperature' in model.calibration:
        show = _show_sets(model, show)
        about['calibration'] = model.calibration
    predictor = FilePredictor(
        names=request.paths,
        pictures=pictures,
        outputs=pictures,
        batch_size=request.batch_size,
        threads=model.threads,
        read=functools.partial(read, model),
        predict_each=model.predict_each,
        show=show,
        save=save,
        about=about,
    )
    return dataclasses.replace(predictor, **changes)


def _show_sets(model: Model, show: Show) -> Show:
    """Add conformal sets to the answers of a calibrated classifier."""
    from jaxvision.tasks.shared import calibrated
    from jaxvision.train import saved

    with saved.naming_folder(Path(model.name)):
        return calibrated.show_sets(model.calibration, model.spec.class_names, show)


def picture_paths(model: Model, request: Request) -> list[Path]:
    """Return the path of the annotated picture of each input file, in order.

    The list is empty if the task cannot draw, or the user wants no pictures.
    """
    if not model.task.show or not request.pictures:
        return []
    return files.picture_paths(request.paths, request.out)


def read(model: Model, path: str, draws: bool) -> Example:
    """Read and prepare an image.

    Args:
        model: with the preprocessing.
        path: of the image.
        draws: whether the example also gets 'original', the upright image, which is shrunk
            to a longest side of 640 pixels.

    Returns:
        The input arrays of the network, and perhaps 'original' as uint8 [h, w, 3].

    Raises:
        Unreadable: The file is no image, or it is damaged.
    """
    image = files.read(path)
    # A JPEG is decoded twice at reduced sizes, which is faster than once at its full size.
    if draws and not jpeg.is_jpeg(image):
        image = decode.decode(image, 3)
    example = model.prepare(image)
    if draws:
        example['original'] = decode.thumbnail(image, 3, LARGEST_SIDE)
    return example


def save(path: Path, picture: figures.Picture) -> Entry:
    """Write a picture as PNG, and return its part of the entry: {'picture': path}."""
    figures.save(path, picture)
    return {'picture': str(path)}
