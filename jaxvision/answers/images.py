"""Answers for single images, brought to the run's one size by the rule of its evaluation."""

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from jaxvision import figures
from jaxvision.answers.model import Model
from jaxvision.answers.report import Plan, attempt
from jaxvision.data import decode, files, pipeline

LARGEST_SIDE = 640   # of the image in an annotated picture, pixels
LARGEST_ARRAY = 100  # numbers of an output that JSON lists, of a task without `show`


def plan(model: Model, options: argparse.Namespace, paths: list[str]) -> Plan:
    """An answer for each file and, of a task that shows them, an annotated picture."""
    wanted = model.task.show and not options.no_pictures
    pictures = files.picture_paths(paths, Path(options.out)) if wanted else []
    size = min(options.batch_size, len(paths))
    return Plan('file', paths, pictures,
                _entries(model, paths, pictures or [None] * len(paths), size))


class Item(NamedTuple):
    file: str
    picture: Path | None  # where it goes, if one is wanted
    example: dict | None  # prepared, and with 'original' if a picture is wanted
    reason: str = ''      # why there is no example


def _entries(model: Model, paths: list[str], pictures: list[Path | None], size: int
             ) -> Iterator[list[dict]]:
    """Of all the files only a few images are in memory: a batch, and what the threads have read
    ahead."""
    ahead = pipeline.read_ahead(
        lambda i: _read(model, paths[i], pictures[i]), 0, len(paths), model.threads)
    while batch := list(islice(ahead, size)):
        answers = iter(model.answer_each([item.example for item in batch if item.example], size))
        pairs = [(item, next(answers) if item.example else None) for item in batch]
        yield list(pipeline.read_ahead(
            lambda i: _entry(model, *pairs[i]), 0, len(pairs), model.threads))


def _read(model: Model, file: str, picture: Path | None) -> Item:
    def example() -> dict:
        image = files.read(file)
        if picture and not decode.is_jpeg(image):  # faster twice to parts of its size than whole
            image = decode.decode(image, 3)
        prepared = model.prepare(image)
        if picture:
            prepared['original'] = decode.thumbnail(image, 3, LARGEST_SIDE)
        return prepared
    return Item(file, picture, *attempt(example))


def _entry(model: Model, item: Item, outputs: dict | None) -> dict:
    """What predictions.json says of a file; its picture is drawn and saved."""
    if item.example is None:
        return {'file': item.file, 'error': item.reason}
    show = model.task.show or (lambda inputs, outputs: (_plain(outputs), None))
    answer, picture = show(item.example, outputs)
    if picture is None:
        return {'file': item.file, 'answer': answer}
    figures.save(item.picture, picture)
    return {'file': item.file, 'answer': answer, 'picture': str(item.picture)}


def _plain(outputs: dict) -> dict:
    """Outputs as JSON: large arrays by their shape alone."""
    return {name: array.tolist() if array.size <= LARGEST_ARRAY
            else {'shape': list(array.shape), 'dtype': str(array.dtype)}
            for name, array in outputs.items()}
