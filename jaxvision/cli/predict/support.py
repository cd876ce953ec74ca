"""Predictions of classes that a few images show, without training."""

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision.cli.export import exported
from jaxvision.cli.predict import images
from jaxvision.cli.predict.file_by_file import FilePredictor
from jaxvision.cli.predict.model import Model, predict_padded
from jaxvision.cli.predict.predictor import Request, check_inputs
from jaxvision.core.errors import UserError
from jaxvision.core.types import Example, Records
from jaxvision.data import files, walk
from jaxvision.data.protocol import Unreadable
from jaxvision.data.split_names import are_splits, class_name

DOES = 'predicts classes that --support shows'
FILES = 'images'
OWNER = 'a few-shot run or --weights'


@dataclasses.dataclass(frozen=True)
class Options:
    """The arguments.

    Attributes:
        support: a folder with one folder a class.
    """

    support: str = ''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --support."""
    group = parser.add_argument_group(
        'few-shot runs, and --weights',
        'A few images of each class show which classes there are, without training.',
    )
    group.add_argument(
        '--support',
        metavar='DIR',
        help='a folder with one folder a class, of any names and any number of images',
    )


def make(model: Model, request: Request, options: Options) -> FilePredictor:
    """Predict a class of --support for each image, and draw a picture.

    Args:
        model: a few-shot run.
        request: with the paths of the images.
        options: with the folder of the classes.

    Raises:
        UserError: The support is no folder of class folders, or has a damaged image.
    """
    if exported.is_exported(Path(model.name)):
        raise UserError(
            f'--workdir={model.name}: expected a run. An exported few-shot model takes '
            'episodes of one shape alone.'
        )
    if not options.support:
        raise UserError(
            f'--support: expected a folder with one folder a class. {model.name} {DOES}: '
            'give --support DIR.'
        )
    check_inputs(model, {'support', 'support_mask', 'query'})
    class_names, support = read_support(model, Path(options.support), request.out)

    def read(path: str, draws: bool) -> Example:
        return {**images.read(model, path, draws), 'class_names': class_names}

    def predict(inputs: Records) -> Records:
        return predict_queries(model, support, inputs['image'])

    def predict_each(examples: Sequence[Example], size: int) -> list[Records]:
        return predict_padded(predict, ['image'], examples, size)

    shots = support['support_mask'].sum(1).tolist()
    return images.make_predictor(
        model,
        request,
        read=read,
        predict_each=predict_each,
        about={'support': dict(zip(class_names, shots, strict=True))},
    )


def read_support(model: Model, folder: Path, out: Path) -> tuple[list[str], Records]:
    """Read the images of each class.

    Args:
        model: a few-shot run.
        folder: with one folder a class.
        out: a folder that is left out.

    Returns:
        The class names; 'support' [N, K, H, W, C] and its 'support_mask' [N, K]. Classes
        of fewer images are padded.

    Raises:
        UserError: There are no two class folders, they are those of splits, or an image cannot
            be read.
    """
    if not folder.is_dir():
        raise UserError(
            f'--support={folder}: expected a folder with one folder a class, and there is '
            'no such folder.'
        )
    paths_by_class = _find_classes(folder, out)
    class_images = [
        [_read(model, path) for path in paths] for paths in paths_by_class.values()
    ]
    shots = max(len(pixels) for pixels in class_images)
    image_shape = model.spec.inputs['query'].shape[1:]
    support = np.zeros((len(class_images), shots, *image_shape), np.uint8)
    mask = np.zeros((len(class_images), shots), np.uint8)
    for i, pixels in enumerate(class_images):
        support[i, : len(pixels)] = pixels
        mask[i, : len(pixels)] = 1
    return list(paths_by_class), {'support': support, 'support_mask': mask}


def predict_queries(model: Model, support: Records, query: np.ndarray) -> Records:
    """Predict for images as the queries of one episode.

    Args:
        model: a few-shot run.
        support: as `read_support` returns it.
        query: uint8 [B, H, W, C].

    Returns:
        The outputs [B, ...].
    """
    episode = {name: array[None] for name, array in support.items()}
    outputs = model.predict({**episode, 'query': query[None]})
    return {name: array[0] for name, array in outputs.items()}


def _find_classes(folder: Path, out: Path) -> dict[str, list[str]]:
    """The files of each class, by its name."""
    contents = walk.contents_of(folder)
    if contents.error:
        raise UserError(
            f'--support={folder}: expected a folder that can be listed: {contents.error}.'
        )
    if are_splits(contents.folders):
        names = ', '.join(f'{name}/' for name in contents.folders)
        raise UserError(
            f'--support={folder}: expected one folder a class. {names} are names of '
            f'splits: give --support {folder / contents.folders[0]} or another one.'
        )
    for name in contents.unreadable:
        if not os.path.splitext(name)[1]:
            raise UserError(
                f'--support={folder}: expected one folder a class. {folder / name} is a '
                'broken link: mend or remove it.'
            )
    paths_by_class: dict[str, list[str]] = {}
    for name in contents.folders:
        if _is_empty(folder / name):
            raise UserError(
                f'--support={folder}: expected images of each class. The folder '
                f'{folder / name} has no files: fill it or remove it.'
            )
        if not _holds_only_written(folder / name):
            paths = files.find([str(folder / name)], str(out))
            paths_by_class.setdefault(class_name(name), []).extend(paths)
    if len(paths_by_class) < 2:
        raise UserError(
            f'--support={folder}: expected at least two folders, one for each class. It '
            f'has {len(paths_by_class)}.'
        )
    return paths_by_class


def _is_empty(folder: Path) -> bool:
    below = list(walk.walk(folder))
    return not any(contents.names or contents.written for contents in below)


def _holds_only_written(folder: Path) -> bool:
    """Whether a folder holds nothing but folders that this program wrote, such as runs/."""
    return not any(contents.names for contents in walk.walk(folder))


def _read(model: Model, path: str) -> np.ndarray:
    try:
        return model.prepare(files.read(path))['image']
    except Unreadable as error:
        raise UserError(f'--support: {path}: {error}') from error
