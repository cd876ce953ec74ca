"""Predictions for videos: a picture of each and, for some tasks, key frames and clips."""

import argparse
import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from jaxvision.cli.predict import images, report
from jaxvision.cli.predict.file_by_file import FilePredictor
from jaxvision.cli.predict.model import Model
from jaxvision.cli.predict.predictor import Entry, Request
from jaxvision.core.errors import UserError
from jaxvision.core.task import Drawn
from jaxvision.core.types import Example
from jaxvision.data import video
from jaxvision.viz import figures

DOES = 'predicts for videos'
FILES = 'videos'
OWNER = ''


@dataclasses.dataclass(frozen=True)
class Options:
    """The predictor has no arguments of its own."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a description to the help."""
    parser.add_argument_group(
        'runs on videos',
        'Videos have any format that FFmpeg reads. OUT gets one picture for each video.\n'
        'A video summary also writes key frames and a short video, in NAME-files.',
    )


def make(model: Model, request: Request, options: Options) -> FilePredictor:
    """Make the predictor of videos, which draws NAME.png if the task has `show`.

    Further files of a video go into the folder NAME-files.

    Args:
        model: a run on videos.
        request: with the paths of the videos.
        options: no options.

    Raises:
        UserError: The task has no `prepare`.
    """
    prepare = model.task.prepare
    if prepare is None:
        raise UserError(
            f"{model.name}: its task has predictor='video': expected a `prepare` that reads "
            'the video. Add one, or declare another predictor in the task.'
        )
    earlier = report.outputs_of_report(request.out)

    def read(path: str, draws: bool) -> Example:
        example = prepare({'video': path}, None)
        return {**example, 'original': path} if draws else example

    def save_drawn(picture: Path, drawing: Drawn) -> Entry:
        return save(picture, drawing, earlier)

    predictor = images.make_predictor(model, request, read=read, save=save_drawn)
    folders = [_folder(picture) for picture in predictor.pictures]
    return dataclasses.replace(predictor, outputs=[*predictor.pictures, *folders])


def save(picture: Path, drawing: Drawn, earlier: Collection[Path]) -> Entry:
    """Write the drawings of `Task.show` for a video.

    Args:
        picture: path of the picture.
        drawing: the picture, or {'': the picture, FILE: another picture, or the
            arguments of `write_clip` after the path}. The files go into the folder
            NAME-files beside the picture NAME.png.
        earlier: files of an earlier report. Each one in NAME-files is removed first.

    Returns:
        The part of the entry: {'picture': path}, and 'saved': [paths] if there are
        files.
    """
    parts = {'': drawing}
    if not isinstance(drawing, np.ndarray):
        parts = dict(drawing)
    figures.save(picture, parts.pop(''))
    folder = _folder(picture)
    for path in earlier:
        if path.parent == folder:
            path.unlink(missing_ok=True)
    if not parts:
        return {'picture': str(picture)}
    folder.mkdir(exist_ok=True)
    saved = [_save_part(folder / name, part) for name, part in parts.items()]
    return {'picture': str(picture), 'saved': [str(path) for path in saved]}


def _save_part(path: Path, part: Any) -> Path:
    if isinstance(part, tuple):
        return video.write_clip(path, *part)
    figures.save(path, part)
    return path


def _folder(picture: Path) -> Path:
    return picture.with_name(f'{picture.stem}-files')
