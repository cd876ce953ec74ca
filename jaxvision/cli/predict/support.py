"""Answers for images by a few examples of each class: a person's own classifier, without training."""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxvision.cli.export import exported
from jaxvision.cli.predict import images
from jaxvision.cli.predict.model import Model
from jaxvision.cli.predict.report import Plan
from jaxvision.core.errors import UserError
from jaxvision.data import files
from jaxvision.data.protocol import Unreadable

Arrays = dict[str, np.ndarray]


def plan(model: Model, options: argparse.Namespace, paths: list[str]) -> Plan:
    """A class of --support for each file and, unless it is told not to, an annotated picture.

    Raises UserError for a support that is no folder of class folders, or has a damaged image.
    """
    if exported.is_exported(Path(model.name)):
        raise UserError(
            f'{model.name} is exported, for episodes of one form: give the run'
        )
    names, support = read_support(model, Path(options.support), options.out)
    told = dataclasses.replace(
        model,
        answer=answer_by(model, support),
        spec={'inputs': {'image': {'shape': model.spec['image']}}},
    )

    def read(model: Model, file: str, wanted: bool) -> dict:
        return {**images.read(model, file, wanted), 'class_names': names}

    planned = images.plan_each(told, options, paths, read, images.save)
    shots = support['support_mask'].sum(1).tolist()
    return planned._replace(about={'support': dict(zip(names, shots))})


def read_support(model: Model, folder: Path, out: str) -> tuple[list[str], Arrays]:
    """The class names, and 'support' [N, K, H, W, C] with its 'support_mask' [N, K]: classes of
    fewer images are filled up with zeros."""
    if not folder.is_dir():
        raise UserError(f'--support {folder}: there is no such folder')
    classes = sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith('.')
    )
    if len(classes) < 2:
        raise UserError(
            f'--support {folder} has {len(classes)} folders: it needs one for each '
            'class, at least two'
        )
    shown = [
        [_read(model, file) for file in files.find([str(path)], out)]
        for path in classes
    ]
    most = max(map(len, shown))
    support = np.zeros((len(shown), most, *model.spec['image']), np.uint8)
    mask = np.zeros((len(shown), most), np.uint8)
    for i, pixels in enumerate(shown):
        support[i, : len(pixels)], mask[i, : len(pixels)] = pixels, 1
    return [path.name for path in classes], {'support': support, 'support_mask': mask}


def answer_by(model: Model, support: Arrays) -> Callable[[Arrays], Arrays]:
    """The model's answer for images [B, H, W, C] as one episode's queries."""
    whole = {name: array[None] for name, array in support.items()}

    def answer(inputs: Arrays) -> Arrays:
        outputs = model.answer({**whole, 'query': inputs['image'][None]})
        return {name: array[0] for name, array in outputs.items()}

    return answer


def _read(model: Model, file: str) -> np.ndarray:
    try:
        return model.prepare(files.read(file))['image']
    except Unreadable as error:
        raise UserError(f'--support: {file}: {error}') from error
