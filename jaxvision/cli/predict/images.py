"""Answers for single images, brought to the run's one size by the rule of its evaluation."""

import argparse
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from jaxvision.cli.predict.model import Model
from jaxvision.cli.predict.report import Plan, attempt
from jaxvision.data import decode, files, jpeg, pipeline
from jaxvision.data.protocol import Unreadable
from jaxvision.viz import figures

LARGEST_SIDE = 640  # of the image in an annotated picture, pixels
LARGEST_ARRAY = 100  # numbers of an output that JSON lists, of a task without `show`


def plan(model: Model, options: argparse.Namespace, paths: list[str]) -> Plan:
    """An answer for each file and, of a task that shows them, an annotated picture."""
    return plan_each(model, options, paths, read, save)


def plan_each(
    model: Model,
    options: argparse.Namespace,
    paths: list[str],
    read: Callable[[Model, str, bool], dict],
    save: Callable[[Path, Any], dict],
) -> Plan:
    """An answer for each file.

    Args:
        read: makes the example of a file, with 'original' if a picture is wanted.
        save: writes what the task shows, the picture to this path; what an entry tells of it.
    """
    wanted = model.task.show and not options.no_pictures
    pictures = files.picture_paths(paths, Path(options.out)) if wanted else []
    size = min(options.batch_size, len(paths))
    entries = _entries(model, paths, pictures or [None] * len(paths), size, read, save)
    return Plan('file', paths, pictures, entries)


class Item(NamedTuple):
    file: str
    picture: Path | None  # where it goes, if one is wanted
    example: dict | None  # prepared, and with 'original' if a picture is wanted
    reason: str = ''  # why there is no example


def _entries(
    model: Model, paths: list[str], pictures: list[Path | None], size: int, read, save
) -> Iterator[list[dict]]:
    """Of all the files only a few are in memory: a batch, and what the threads have read ahead."""

    def item(i: int) -> Item:
        wanted = pictures[i] is not None
        return Item(
            paths[i], pictures[i], *attempt(lambda: read(model, paths[i], wanted))
        )

    ahead = pipeline.read_ahead(item, 0, len(paths), model.threads)
    while batch := list(islice(ahead, size)):
        answers = iter(
            model.answer_each([item.example for item in batch if item.example], size)
        )
        pairs = [(item, next(answers) if item.example else None) for item in batch]
        yield list(
            pipeline.read_ahead(
                lambda i: _entry(model, *pairs[i], save), 0, len(pairs), model.threads
            )
        )


def _entry(model: Model, item: Item, outputs: dict | None, save) -> dict:
    """What predictions.json says of a file; its picture is drawn and saved."""
    if item.example is None:
        return {'file': item.file, 'error': item.reason}
    show = model.task.show or (lambda inputs, outputs: (_plain(outputs), None))
    try:
        answer, shown = show(item.example, outputs)
        saved = {} if shown is None else save(item.picture, shown)
    except Unreadable as error:  # a film is read again for what is shown of it
        return {'file': item.file, 'error': str(error)}
    return {'file': item.file, 'answer': answer, **saved}


def read(model: Model, file: str, wanted: bool) -> dict:
    """The example of a file, with 'original' if a picture is wanted."""
    image = files.read(file)
    if wanted and not jpeg.is_jpeg(image):
        # A JPEG decodes faster twice to parts of its size than once as a whole.
        image = decode.decode(image, 3)
    prepared = model.prepare(image)
    if wanted:
        prepared['original'] = decode.thumbnail(image, 3, LARGEST_SIDE)
    return prepared


def save(path: Path, picture: figures.Picture) -> dict:
    """Writes the picture; what an entry tells of it."""
    figures.save(path, picture)
    return {'picture': str(path)}


def _plain(outputs: dict) -> dict:
    """Outputs as JSON: large arrays by their shape alone."""
    return {
        name: array.tolist()
        if array.size <= LARGEST_ARRAY
        else {'shape': list(array.shape), 'dtype': str(array.dtype)}
        for name, array in outputs.items()
    }
