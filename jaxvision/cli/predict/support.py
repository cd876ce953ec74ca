"""Predictions for classes that a few images define, without training."""

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
from jaxvision.data import content, files, walk
from jaxvision.data.protocol import Unreadable
from jaxvision.data.split_names import are_splits, class_name

DOES = 'predicts the classes of --support'
FILES = 'images'
OWNER = 'a few-shot run or --weights'


@dataclasses.dataclass(frozen=True)
class Options:
    """The arguments of a few-shot run.

    Attributes:
        support: a folder with one folder for each class; '': not given.
    """

    support: str = ''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --support."""
    group = parser.add_argument_group(
        'few-shot runs, and --weights',
        'A few images of each class define the classes, without training.',
    )
    group.add_argument(
        '--support',
        metavar='DIR',
        help='a folder with one folder of images for each class, any number of each',
    )


def make(model: Model, request: Request, options: Options) -> FilePredictor:
    """Make the predictor that assigns a class of --support to each image.

    Args:
        model: a few-shot run.
        request: with the paths of the images.
        options: the folder of the classes.

    Raises:
        UserError: --support is missing or not a folder of class folders, or has a
            damaged image. Or the model is an exported one, or takes other inputs.
    """
    if exported.is_exported(Path(model.name)):
        raise UserError(
            f'--workdir={model.name}: expected the folder of a run. An exported few-shot '
            'model takes episodes of one shape only. Give the run.'
        )
    if not options.support:
        raise UserError(
            f'--support: expected a folder with one folder for each class. {model.name} '
            f'{DOES}. Give --support DIR.'
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
        folder: with one folder for each class.
        out: the output folder, which is ignored inside `folder`.

    Returns:
        (the class names, arrays 'support' uint8 [N, K, H, W, C] and 'support_mask' uint8
        [N, K]). K is the number of images of the largest class. A class with fewer
        images is padded, where the mask is 0.

    Raises:
        UserError: There are fewer than two class folders, one is empty, or they are
            splits. Or an image cannot be read, or equal files are in two classes.
    """
    if not folder.is_dir():
        raise UserError(
            f'--support={folder}: expected a folder with one folder for each class. The '
            'folder does not exist.'
        )
    paths_by_class = _find_classes(folder, out)
    class_images = []
    for paths in paths_by_class.values():
        class_images.append([_read(model, path) for path in paths])
    _check_differ(paths_by_class)
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
        support: 'support' uint8 [N, K, H, W, C] and 'support_mask' uint8 [N, K], 0 for
            padding.
        query: prepared images, uint8 [B, H, W, C].

    Returns:
        The outputs [B, ...] by name.
    """
    episode = {name: array[None] for name, array in support.items()}
    outputs = model.predict({**episode, 'query': query[None]})
    return {name: array[0] for name, array in outputs.items()}


def _find_classes(folder: Path, out: Path) -> dict[str, list[str]]:
    """The files of each class: {class name: paths}.

    Args:
        folder: with one folder for each class.
        out: the output folder, which is ignored.
    """
    contents = walk.contents_of(folder)
    if contents.error:
        raise UserError(
            f'--support={folder}: expected a folder that can be listed: '
            f'{contents.error}. Check its permissions.'
        )
    if are_splits(contents.folders):
        names = ', '.join(f'{name}/' for name in contents.folders)
        raise UserError(
            f'--support={folder}: expected one folder for each class. {names} are splits. '
            f'Give one of them, such as --support {folder / contents.folders[0]}.'
        )
    for name in contents.unreadable:
        if not os.path.splitext(name)[1]:
            raise UserError(
                f'--support={folder}: expected one folder for each class. {folder / name} '
                'is a broken link. Mend or remove it.'
            )
    paths_by_class: dict[str, list[str]] = {}
    for name in contents.folders:
        if _is_empty(folder / name):
            raise UserError(
                f'--support={folder}: expected images of each class. The folder '
                f'{folder / name} has no files. Add images, or remove the folder.'
            )
        if not _holds_only_written(folder / name):
            paths = files.find([str(folder / name)], str(out))
            paths_by_class.setdefault(class_name(name), []).extend(paths)
    if len(paths_by_class) < 2:
        raise UserError(
            f'--support={folder}: expected at least two folders, one for each class, not '
            f'{len(paths_by_class)}.'
        )
    return paths_by_class


def _check_differ(paths_by_class: dict[str, list[str]]) -> None:
    """Check that no image shows two classes, by the bytes of the files."""
    first: dict[str, tuple[str, str]] = {}
    for name, paths in paths_by_class.items():
        contents = content.identify([Path(path) for path in paths])
        for path, content_id in zip(paths, contents, strict=True):
            other, other_path = first.setdefault(content_id, (name, path))
            if other != name and content.is_digest(content_id):
                raise UserError(
                    f'--support: {other_path} and {path} are equal: expected other images '
                    f'of {other!r} than of {name!r}. Remove one of them.'
                )


def _is_empty(folder: Path) -> bool:
    below = walk.walk(folder)
    return not any(contents.names or contents.written for contents in below)


def _holds_only_written(folder: Path) -> bool:
    """Whether a folder holds only folders that this program wrote, such as runs/."""
    return not any(contents.names for contents in walk.walk(folder))


def _read(model: Model, path: str) -> np.ndarray:
    try:
        return model.prepare(files.read(path))['image']
    except Unreadable as error:
        raise UserError(f'--support: {path}: {error}') from error
