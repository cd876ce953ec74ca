"""Answers for films: a picture of each and, if the task has them, single frames and short films."""

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from jaxvision.cli.predict import images, report
from jaxvision.cli.predict.model import Model
from jaxvision.data import video
from jaxvision.viz import figures


def plan(model: Model, options: argparse.Namespace, paths: list[str]) -> report.Plan:
    """An answer for each file and, of a task that shows them, NAME.png and what is in NAME-files/."""
    earlier = report.written(Path(options.out))

    def save(picture: Path, shown) -> dict:
        return _save(picture, shown, earlier)

    planned = images.plan_each(model, options, paths, _read, save)
    return planned._replace(
        pictures=[*planned.pictures, *map(_folder, planned.pictures)]
    )


def _read(model: Model, file: str, wanted: bool) -> dict:
    prepared = model.task.prepare({'video': file}, None)
    return {**prepared, 'original': file} if wanted else prepared


def _save(picture: Path, shown, earlier: Iterable[Path]) -> dict:
    """Writes what `Task.show` gave; the files of an earlier answer make room for these."""
    parts = {'': shown} if isinstance(shown, np.ndarray) else dict(shown)
    figures.save(picture, parts.pop(''))
    folder = _folder(picture)
    for path in earlier:
        if path.parent == folder:
            path.unlink(missing_ok=True)
    if not parts:
        return {'picture': str(picture)}
    folder.mkdir(exist_ok=True)
    saved = [_save_part(folder / name, part) for name, part in parts.items()]
    return {'picture': str(picture), 'saved': list(map(str, saved))}


def _save_part(path: Path, part) -> Path:
    if isinstance(part, tuple):
        return video.write_clip(path, *part)
    figures.save(path, part)
    return path


def _folder(picture: Path) -> Path:
    return picture.with_name(f'{picture.stem}-files')
