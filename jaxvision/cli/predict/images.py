"""Predictions for single images, preprocessed as in the run's evaluation."""

import argparse
import dataclasses
from pathlib import Path

from jaxvision.cli.predict.file_by_file import FilePredictor, show_outputs
from jaxvision.cli.predict.model import Model
from jaxvision.cli.predict.predictor import Entry, Request, check_inputs
from jaxvision.core.types import Example
from jaxvision.data import decode, files, jpeg
from jaxvision.viz import figures

DOES = 'predicts for images'
FILES = 'images'
OWNER = ''

LARGEST_SIDE = 640  # pixels of the image in an annotated picture


@dataclasses.dataclass(frozen=True)
class Options:
    """There are no arguments of its own."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the predictor."""
    parser.add_argument_group(
        'classifiers and other runs on images',
        'Images have any size and any format that Pillow reads.\n'
        'OUT gets one annotated picture an image.',
    )


def make(model: Model, request: Request, options: Options) -> FilePredictor:
    """Predict for each image and, if the task shows its outputs, draw a picture.

    Args:
        model: a run on images.
        request: with the paths of the images.
        options: none.
    """
    check_inputs(model, {'image'})
    return make_predictor(model, request)


def make_predictor(model: Model, request: Request, **changes) -> FilePredictor:
    """Build the predictor of a task that takes images; `changes` are its attributes."""
    pictures = picture_paths(model, request)
    predictor = FilePredictor(
        names=request.paths,
        pictures=pictures,
        outputs=pictures,
        batch_size=request.batch_size,
        threads=model.threads,
        read=lambda path, draws: read(model, path, draws),
        predict_each=model.predict_each,
        show=model.task.show or show_outputs,
        save=save,
    )
    return dataclasses.replace(predictor, **changes)


def picture_paths(model: Model, request: Request) -> list[Path]:
    """The path of each file's picture; none if the task draws none or the user wants none."""
    if not model.task.show or not request.pictures:
        return []
    return files.picture_paths(request.paths, request.out)


def read(model: Model, path: str, draws: bool) -> Example:
    """Read and prepare an image.

    Args:
        model: whose preprocessing applies.
        path: of the image.
        draws: whether the example gets 'original', the image upright, if large made smaller.

    Raises:
        Unreadable: The file is no image, or damaged.
    """
    image = files.read(path)
    # A JPEG is decoded twice to parts of its size, which is faster than once whole.
    if draws and not jpeg.is_jpeg(image):
        image = decode.decode(image, 3)
    example = model.prepare(image)
    if draws:
        example['original'] = decode.thumbnail(image, 3, LARGEST_SIDE)
    return example


def save(path: Path, picture: figures.Picture) -> Entry:
    """Write a picture; returns what the entry says of it."""
    figures.save(path, picture)
    return {'picture': str(path)}
